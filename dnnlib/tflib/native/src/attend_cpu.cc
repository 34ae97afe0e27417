// Attention of map positions to latents with what surrounds it, CPU, forward.
#include "attend_tile.h"

namespace gansformer {

template <class T>
void attend_cpu(const Attend& p, const AttendIn<T>& in, T* y, int64_t begin, int64_t end) {
  AttendTile<T> tile(p, in);
  while (begin < end) {
    const int64_t sample = begin / p.positions, first = begin % p.positions;
    const int count = int(std::min<int64_t>({kRows, end - begin, p.positions - first}));
    tile.start_sample(sample);
    tile.forward(first, count, y);
    begin += count;
  }
}

template void attend_cpu(const Attend&, const AttendIn<float>&, float*, int64_t, int64_t);
template void attend_cpu(const Attend&, const AttendIn<Half>&, Half*, int64_t, int64_t);
template void attend_cpu(const Attend&, const AttendIn<BFloat16>&, BFloat16*, int64_t, int64_t);

}  // namespace gansformer

// Attention of map positions to latents with what surrounds it, CPU, forward.
#include "attend_tile.h"

namespace gansformer {

void attend_cpu(const Attend& p, const AttendIn<float>& in, float* y, int64_t begin, int64_t end) {
  AttendTile tile(p, in);
  while (begin < end) {
    const int64_t sample = begin / p.positions, first = begin % p.positions;
    const int count = int(std::min<int64_t>({kTileRows, end - begin, p.positions - first}));
    tile.start_sample(sample);
    tile.forward(first, count, y);
    begin += count;
  }
}

}  // namespace gansformer

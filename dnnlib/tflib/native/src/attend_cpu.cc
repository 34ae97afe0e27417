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
    tile.forward(first, count);
    for (int r = 0; r < count; ++r) {
      const float* out = tile.out.row(r);
      const float noise = in.noise ? to_float(in.noise[begin + r]) : 0.0f;
      T* to = y + (begin + r) * p.channels;
      const float* b = tile.act_bias.data();
      for (int64_t c = 0; c < p.channels; ++c) {
        const float t = out[c] + (b[c] + noise);
        to[c] = from_float<T>(p.gain * (t > 0 ? t : t * p.alpha));
      }
    }
    begin += count;
  }
}

template void attend_cpu(const Attend&, const AttendIn<float>&, float*, int64_t, int64_t);
template void attend_cpu(const Attend&, const AttendIn<Half>&, Half*, int64_t, int64_t);
template void attend_cpu(const Attend&, const AttendIn<BFloat16>&, BFloat16*, int64_t, int64_t);

}  // namespace gansformer

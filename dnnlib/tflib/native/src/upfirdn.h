// FIR filter with up- and down-sampling on [N, H, W, C]: what the CPU and CUDA forms share.
//
// Along one axis, f the kernel flipped, n taps:  y[o] = sum_i x[i] f[i * up + pad - o * down].
#pragma once

#include "scalar.h"

namespace gansformer {

constexpr int kMaxTaps = 24;  // along one axis

struct Axis {
  int64_t in, out;  // samples before and after
  int up, down;
  int pad;   // zeros before the first sample; negative crops
  int taps;
};

// The samples [begin, end) that reach output o, and the tap of the first; the tap grows by `up`.
struct Reach { int64_t begin, end; int tap; };

GF_HOST_DEVICE Reach reach(const Axis& axis, int64_t o) {
  const int64_t shift = o * axis.down - axis.pad;  // tap = i * up - shift must lie in [0, taps)
  const int64_t last = shift + axis.taps - 1;
  int64_t begin = shift > 0 ? (shift + axis.up - 1) / axis.up : 0;
  int64_t end = last >= 0 ? last / axis.up + 1 : 0;
  if (end > axis.in) end = axis.in;
  if (begin > end) begin = end;
  return Reach{begin, end, int(begin * axis.up - shift)};
}

struct Upfirdn {
  int64_t samples, channels;
  Axis y, x;
  // Flipped taps: `column` and `row` with kernel = column row^T, or, where it has no such form, null
  // and `kernel` [taps_y, taps_x].
  const float *column, *row, *kernel;
};

}  // namespace gansformer

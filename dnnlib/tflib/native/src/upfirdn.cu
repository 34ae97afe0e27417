// FIR filter with up- and down-sampling on [N, H, W, C], CUDA.
//
// A thread makes a strip of outputs below each other, for a pack of channels: an input row is filtered
// along x once and added to the outputs that it reaches. Neighbouring threads have neighbouring
// channels, then columns.
#include <algorithm>

#include "cuda_common.h"

namespace gansformer {
namespace {

constexpr int kThreads = 128;

// Filters travel in the launch's parameters, of which there may be 4 kB.
struct SeparableFilter {
  static constexpr bool kSeparable = true;
  Axis y, x;
  float column[kMaxTaps], row[kMaxTaps];
  __device__ float at(int tap_y, int) const { return column[tap_y]; }
};

struct FullFilter {
  static constexpr bool kSeparable = false;
  Axis y, x;
  float row[1];  // not used
  float kernel[kMaxTaps * kMaxTaps];
  __device__ float at(int tap_y, int tap_x) const { return kernel[tap_y * x.taps + tap_x]; }
};

// sum[r] += weight of input row i for output row first + r, times value.
template <int STRIP, int PACK, class FILTER>
__device__ inline void spread(const FILTER& f, int64_t i, int64_t first, int tap_x,
                              const float* value, float (*sum)[PACK]) {
  const int shift = int(i * f.y.up + f.y.pad - first * f.y.down);  // small: i reaches the strip
#pragma unroll
  for (int r = 0; r < STRIP; ++r) {
    const int tap = shift - r * f.y.down;
    const float weight = tap >= 0 && tap < f.y.taps ? f.at(tap, tap_x) : 0.0f;
#pragma unroll
    for (int c = 0; c < PACK; ++c) sum[r][c] += weight * value[c];
  }
}

template <class T, int STRIP, int PACK, class FILTER>
__global__ void __launch_bounds__(kThreads)
    upfirdn_kernel(const T* x, T* y, const FILTER f, int64_t channels) {
  const int64_t packs = channels / PACK, index = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= f.x.out * packs) return;
  const int64_t out_x = index / packs, channel = index % packs * PACK, sample = blockIdx.z;
  const int64_t first = int64_t(blockIdx.y) * STRIP;
  const int64_t last = first + STRIP < f.y.out ? first + STRIP - 1 : f.y.out - 1;

  float sum[STRIP][PACK] = {};
  const Reach columns = reach(f.x, out_x);
  const int64_t begin = reach(f.y, first).begin, end = reach(f.y, last).end;
  for (int64_t i = begin; i < end; ++i) {
    const T* in = x + ((sample * f.y.in + i) * f.x.in + columns.begin) * channels + channel;
    float filtered[PACK] = {};
    int tap_x = columns.tap;
    for (int64_t j = columns.begin; j < columns.end; ++j, tap_x += f.x.up, in += channels) {
      float value[PACK];
      load_pack<PACK>(in, value);
      if (FILTER::kSeparable) {
#pragma unroll
        for (int c = 0; c < PACK; ++c) filtered[c] += f.row[tap_x] * value[c];
      } else {
        spread<STRIP, PACK>(f, i, first, tap_x, value, sum);
      }
    }
    if (FILTER::kSeparable) spread<STRIP, PACK>(f, i, first, 0, filtered, sum);
  }
#pragma unroll
  for (int r = 0; r < STRIP; ++r) {
    T* out = y + ((sample * f.y.out + first + r) * f.x.out + out_x) * channels + channel;
    if (first + r < f.y.out) store_pack<PACK>(out, sum[r]);
  }
}

template <class T, int STRIP, int PACK, class FILTER>
const char* run_packed(void* stream, const T* x, T* y, const FILTER& f, int64_t samples,
                       int64_t channels) {
  const int64_t threads = f.x.out * (channels / PACK), strips = divide_up(f.y.out, STRIP);
  if (strips > kMaxGridY) return "too many rows";
  for (int64_t n = 0; n < samples; n += kMaxGridY) {  // the third axis of a grid is short as well
    const dim3 grid(divide_up(threads, kThreads), strips, std::min(kMaxGridY, samples - n));
    const T* from = x + n * f.y.in * f.x.in * channels;
    T* to = y + n * f.y.out * f.x.out * channels;
    const char* error = launch(&upfirdn_kernel<T, STRIP, PACK, FILTER>, grid, dim3(kThreads),
                               stream, from, to, f, channels);
    if (error) return error;
  }
  return nullptr;
}

template <class T, class FILTER>
const char* run(void* stream, const T* x, T* y, const FILTER& f, int64_t samples,
                int64_t channels) {
  constexpr int kPack = 16 / int(sizeof(T)), kStrip = 32 / kPack;  // 32 sums in registers
  if (pack_size<T>(channels, {x, y}) == 1)
    return run_packed<T, 8, 1>(stream, x, y, f, samples, channels);
  return run_packed<T, kStrip, kPack>(stream, x, y, f, samples, channels);
}

}  // namespace
}  // namespace gansformer

const char* gansformer_upfirdn_cuda(void* stream, int type, const void* x, void* y,
                                    const gansformer::Upfirdn* p) {
  using namespace gansformer;
  if (p->y.taps > kMaxTaps || p->x.taps > kMaxTaps) return "too many taps";
  return with_cuda_type(type, [&](auto value) -> const char* {
    using T = decltype(value);
    const T* from = static_cast<const T*>(x);
    T* to = static_cast<T*>(y);
    if (p->row) {
      SeparableFilter f{p->y, p->x, {}, {}};
      std::copy(p->column, p->column + p->y.taps, f.column);
      std::copy(p->row, p->row + p->x.taps, f.row);
      return run(stream, from, to, f, p->samples, p->channels);
    }
    FullFilter f{p->y, p->x, {}, {}};
    std::copy(p->kernel, p->kernel + p->y.taps * p->x.taps, f.kernel);
    return run(stream, from, to, f, p->samples, p->channels);
  });
}

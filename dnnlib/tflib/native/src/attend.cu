// Attention of map positions to latents with what surrounds it, CUDA, forward.
#include "attend_warp.h"

namespace gansformer {
namespace {

template <class T, int CHUNKS, int ROWS>
__global__ void __launch_bounds__(kWarps* kWarp)
    attend_kernel(const Attend p, const AttendIn<T> in, T* y) {
  __shared__ float probs[kWarps][ROWS][kCudaMaxSlots], kept[kWarps][ROWS][kCudaMaxSlots];
  const int warp = threadIdx.x / kWarp;
  AttendWarp<T, CHUNKS, ROWS> rows(p, in, probs[warp], kept[warp]);
  if (!rows.run()) return;
#pragma unroll
  for (int j = 0; j < CHUNKS; ++j) {
    const int64_t c = rows.channel(j);
    const bool active = c < p.channels;
    const float act_bias = in.act_bias && active ? in.act_bias[c] : 0.0f;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      if (!active || !rows.is_inside(r)) continue;
      float out = rows.normal[r][j];
      out = p.integration == kAdd ? out + rows.control[r][j] : out * rows.control[r][j];
      if (p.integration == kBoth) out += rows.second[r][j];
      const float noise = in.noise ? in.noise[rows.place(r)] : 0.0f;
      out += act_bias + noise;
      y[rows.place(r) * p.channels + c] = from_float<T>(p.gain * (out > 0 ? out : out * p.alpha));
    }
  }
}

}  // namespace
}  // namespace gansformer

const char* gansformer_attend_cuda(void* stream, int type, const gansformer::Attend* p,
                                   const gansformer::AttendIn<void>* in, void* y) {
  using namespace gansformer;
  if (const char* error = check_sizes(*p)) return error;
  return with_cuda_type(type, [&](auto value) {
    using T = decltype(value);
    return with_chunks(p->channels, [&](auto chunks, auto rows) {
      const dim3 grid(divide_up(p->positions, kWarps * rows), p->samples);
      return launch(&attend_kernel<T, decltype(chunks)::value, decltype(rows)::value>, grid,
                    dim3(kWarps * kWarp), stream, *p, typed<T>(*in), static_cast<T*>(y));
    });
  });
}

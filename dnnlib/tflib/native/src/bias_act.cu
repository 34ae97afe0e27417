// Scale, noise, bias, activation, gain and clamp in one pass, and its gradient, CUDA.
#include <algorithm>

#include "bias_act.h"
#include "cuda_common.h"

namespace gansformer {
namespace {

constexpr int kThreads = 256;

struct Math {
  __device__ static float exp(float x) { return expf(x); }
  __device__ static float log1p(float x) { return log1pf(x); }
};

template <int PACK, class T>
__device__ inline void load_pack_or(const T* from, int64_t offset, float otherwise, float* to) {
#pragma unroll
  for (int j = 0; j < PACK; ++j) to[j] = otherwise;
  if (from) load_pack<PACK>(from + offset, to);
}

template <class T, int PACK, int ACT>
__global__ void __launch_bounds__(kThreads)
    bias_act_kernel(const BiasAct p, const BiasActIn<T> in, T* y) {
  const int64_t packs = p.channels / PACK, total = p.samples * p.positions * packs;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < total;
       i += int64_t(gridDim.x) * kThreads) {
    const int64_t position = i / packs, channel = i % packs * PACK;
    float x[PACK], bias[PACK], scale[PACK];
    load_pack<PACK>(in.x + i * PACK, x);
    load_pack_or<PACK>(in.bias, channel, 0.0f, bias);
    const int64_t sample = in.scale ? position / p.positions : 0;
    load_pack_or<PACK>(in.scale, sample * p.channels + channel, 1.0f, scale);
    const float noise = in.noise ? in.noise[position] : 0.0f;
#pragma unroll
    for (int c = 0; c < PACK; ++c) {
      float v = p.gain * activate<ACT, Math>(x[c] * scale[c] + (bias[c] + noise), p.alpha);
      v = v > p.clamp ? p.clamp : v;
      x[c] = v < -p.clamp ? -p.clamp : v;
    }
    store_pack<PACK>(y + i * PACK, x);
  }
}

// A block has kCudaBiasBlock positions of a sample and all of their channels, `lanes` packs at a time:
// threads (lane, row), lane = threadIdx.x % lanes. lanes is a power of two, 32 at most.
template <class T, int PACK, int ACT>
__global__ void __launch_bounds__(kThreads)
    bias_act_grad_kernel(const BiasAct p, const BiasActIn<T> in, const BiasActGrad<T> grad,
                         int lanes, float* sums) {
  __shared__ float db_shared[kThreads][PACK + 1], ds_shared[kThreads][PACK + 1];
  __shared__ float noise_sum[kCudaBiasBlock];
  const int lane = threadIdx.x % lanes, row = threadIdx.x / lanes, rows = kThreads / lanes;
  const int64_t first = int64_t(blockIdx.x) * kCudaBiasBlock, sample = blockIdx.y;
  const int64_t unit = sample * gridDim.x + blockIdx.x;
  const int count = int(first + kCudaBiasBlock < p.positions ? kCudaBiasBlock : p.positions - first);
  const float clamp = to_float(from_float<T>(p.clamp));  // as y has it
  const float inverse = p.gain != 0 ? 1.0f / p.gain : 0.0f;
  for (int i = threadIdx.x; i < kCudaBiasBlock; i += kThreads) noise_sum[i] = 0;
  __syncthreads();

  for (int64_t chunk = 0; chunk < p.channels; chunk += int64_t(lanes) * PACK) {
    const int64_t channel = chunk + lane * PACK;
    const bool active = channel < p.channels;
    float bias[PACK], scale[PACK], db[PACK] = {}, ds[PACK] = {};
    load_pack_or<PACK>(active ? in.bias : nullptr, channel, 0.0f, bias);
    load_pack_or<PACK>(active ? in.scale : nullptr, sample * p.channels + channel, 1.0f, scale);
    // All threads stay in the loop: the sums over lanes need them.
    for (int start = 0; start < count; start += rows) {
      const int i = start + row;
      const int64_t position = sample * p.positions + first + i;
      float total = 0;
      if (active && i < count) {
        const int64_t place = position * p.channels + channel;
        const float noise = in.noise ? in.noise[position] : 0.0f;
        float dy[PACK], x[PACK], y[PACK];
        load_pack<PACK>(grad.dy + place, dy);
        load_pack_or<PACK>(in.x, place, 0.0f, x);
        load_pack_or<PACK>(grad.y, place, 0.0f, y);
#pragma unroll
        for (int c = 0; c < PACK; ++c) {
          const float t = ACT == kSwish ? x[c] * scale[c] + (bias[c] + noise) : 0.0f;
          float g = dy[c] * (p.gain * slope<ACT, Math>(y[c] * inverse, t, p.alpha));
          g = y[c] >= clamp || y[c] <= -clamp ? 0.0f : g;
          db[c] += g;
          ds[c] += g * x[c];
          total += g;
          dy[c] = g * scale[c];
        }
        store_pack<PACK>(grad.dx + place, dy);
      }
      if (in.noise) {
        for (int mask = lanes / 2; mask > 0; mask /= 2)
          total += __shfl_xor_sync(kAllLanes, total, mask);
        if (lane == 0 && i < count) noise_sum[i] += total;
      }
    }
#pragma unroll
    for (int c = 0; c < PACK; ++c) {
      db_shared[threadIdx.x][c] = db[c];
      ds_shared[threadIdx.x][c] = ds[c];
    }
    __syncthreads();
    if (row == 0 && active) {
      float* to = sums + unit * 2 * p.channels + channel;
#pragma unroll
      for (int c = 0; c < PACK; ++c) {
        for (int r = 1; r < rows; ++r) {
          db[c] += db_shared[r * lanes + lane][c];
          ds[c] += ds_shared[r * lanes + lane][c];
        }
        to[c] = db[c];
        to[p.channels + c] = ds[c];
      }
    }
    __syncthreads();
  }
  if (in.noise)
    for (int i = threadIdx.x; i < count; i += kThreads)
      grad.dnoise[sample * p.positions + first + i] = noise_sum[i];
}

template <class T>
BiasActIn<T> typed(const BiasActIn<void>& in) {
  return BiasActIn<T>{static_cast<const T*>(in.x), in.scale, in.noise, in.bias};
}

template <class T, int PACK>
const char* run(void* stream, const BiasAct& p, const BiasActIn<T>& in, T* y) {
  const int64_t blocks = divide_up(p.samples * p.positions * (p.channels / PACK), kThreads);
  const dim3 grid(std::min<int64_t>(blocks, 1 << 20));
  return with_act(p.act, [&](auto act) {
    return launch(&bias_act_kernel<T, PACK, decltype(act)::value>, grid, dim3(kThreads), stream, p,
                  in, y);
  });
}

template <class T, int PACK>
const char* run_grad(void* stream, const BiasAct& p, const BiasActIn<T>& in,
                     const BiasActGrad<T>& grad, float* dbias, float* dscale, float* sums) {
  if (p.samples > kMaxGridY) return "too many samples";
  int lanes = 1;
  while (lanes < kWarp && lanes * PACK < p.channels) lanes *= 2;
  const int64_t blocks = divide_up(p.positions, kCudaBiasBlock), stride = 2 * p.channels;
  const char* error = nullptr;
  if (p.samples * blocks)
    error = with_act(p.act, [&](auto act) {
      return launch(&bias_act_grad_kernel<T, PACK, decltype(act)::value>, dim3(blocks, p.samples),
                    dim3(kThreads), stream, p, in, grad, lanes, sums);
    });
  if (!error && dbias)
    error = sum_rows(stream, sums, 1, p.samples * blocks, stride, 0, p.channels, dbias);
  if (!error && dscale)
    error = sum_rows(stream, sums, p.samples, blocks, stride, p.channels, p.channels, dscale);
  return error;
}

}  // namespace
}  // namespace gansformer

const char* gansformer_bias_act_cuda(void* stream, int type, const gansformer::BiasAct* p,
                                     const gansformer::BiasActIn<void>* in, void* y) {
  using namespace gansformer;
  return with_cuda_type(type, [&](auto value) {
    using T = decltype(value);
    const int pack = pack_size<T>(p->channels, {in->x, in->scale, in->bias, y});
    const auto inputs = typed<T>(*in);
    T* out = static_cast<T*>(y);
    return pack == 1 ? run<T, 1>(stream, *p, inputs, out)
                     : run<T, 16 / int(sizeof(T))>(stream, *p, inputs, out);
  });
}

const char* gansformer_bias_act_grad_cuda(void* stream, int type, const gansformer::BiasAct* p,
                                          const gansformer::BiasActIn<void>* in,
                                          const gansformer::BiasActGrad<void>* grad, float* dbias,
                                          float* dscale, float* sums) {
  using namespace gansformer;
  return with_cuda_type(type, [&](auto value) {
    using T = decltype(value);
    const int pack = pack_size<T>(
        p->channels, {in->x, in->scale, in->bias, grad->dy, grad->y, grad->dx});
    const auto inputs = typed<T>(*in);
    const BiasActGrad<T> gradients{static_cast<const T*>(grad->dy), static_cast<const T*>(grad->y),
                                   static_cast<T*>(grad->dx), grad->dnoise};
    return pack == 1
               ? run_grad<T, 1>(stream, *p, inputs, gradients, dbias, dscale, sums)
               : run_grad<T, 16 / int(sizeof(T))>(stream, *p, inputs, gradients, dbias, dscale, sums);
  });
}

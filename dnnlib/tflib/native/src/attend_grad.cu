// Attention of map positions to latents with what surrounds it, CUDA, backward.
//
// Two kernels. The first has a warp for some positions and finds what concerns a whole position: the
// probabilities (times keep), the gradients of the scores, and four numbers of the normalisation. The
// second has a thread for a channel and walks along positions: it makes dx and all sums over
// positions. Nothing else of a map's size is written; both read x, y and dy.
#include <algorithm>

#include "attend_warp.h"

namespace gansformer {
namespace {

// Threads of the second kernel that share a channel. They need many registers: small blocks fill a
// multiprocessor better.
constexpr int kChannelRows = 4;

// What the first kernel tells the second about a position: kept [S4], dscores [S4], then these. S4 is
// S rounded up to a multiple of 4.
enum Number { kMean, kInverse, kProduct, kShift };

__device__ inline int padded_slots(const Attend& p) { return (p.slots() + 3) / 4 * 4; }

template <class T>
__device__ inline float activation_grad(const Attend& p, T dy, T y) {
  return to_float(dy) * (to_float(y) > 0 ? p.gain : p.gain * p.alpha);
}

template <class T, int CHUNKS, int ROWS>
__global__ void __launch_bounds__(kWarps* kWarp)
    position_kernel(const Attend p, const AttendIn<T> in, const AttendGrad<T> grad, float* numbers) {
  __shared__ float probs[kWarps][ROWS][kCudaMaxSlots], kept[kWarps][ROWS][kCudaMaxSlots];
  __shared__ float dprobs[kWarps][ROWS][kCudaMaxSlots];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  AttendWarp<T, CHUNKS, ROWS> rows(p, in, probs[warp], kept[warp]);
  if (!rows.run()) return;

  const int S = p.slots(), K = p.head_slots, S4 = padded_slots(p);
  float dout[ROWS][CHUNKS], dcontrol[ROWS][CHUNKS];
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    float product = 0, total = 0, noise = 0;  // sums of dnormal * normal, of dnormal, of dout
#pragma unroll
    for (int j = 0; j < CHUNKS; ++j) {
      const bool active = rows.channel(j) < p.channels && rows.is_inside(r);
      const int64_t place = rows.place(r) * p.channels + rows.channel(j);
      dout[r][j] = active ? activation_grad(p, grad.dy[place], grad.y[place]) : 0.0f;
      const bool add = p.integration == kAdd;
      dcontrol[r][j] = dout[r][j] * (add ? 1.0f : rows.normal[r][j]);
      const float dnormal = dout[r][j] * (add ? 1.0f : rows.control[r][j]);
      product += dnormal * rows.normal[r][j];
      total += dnormal;
      noise += dout[r][j];
    }
    if (in.noise) {
      noise = sum_lanes(noise);
      if (lane == 0 && rows.is_inside(r)) grad.dnoise[rows.place(r)] = noise;
    }
    const bool scaled = p.normalise && p.integration != kAdd;
    const bool centred = p.normalise && p.integration != kMul;
    product = scaled ? sum_lanes(product) / p.channels : 0.0f;
    // normal sums to zero over channels if it is centred: its part of the shift vanishes.
    const float shift = centred ? rows.inverse[r] * sum_lanes(total) / p.channels : 0.0f;
    if (lane == 0 && rows.is_inside(r)) {
      float* to = numbers + rows.place(r) * attend_row_size(S) + 2 * S4;
      to[kMean] = rows.mean[r];
      to[kInverse] = rows.inverse[r];
      to[kProduct] = product;
      to[kShift] = shift;
    }
  }

  const float* values = in.values + (p.shared_values ? 0 : rows.sample * S * p.width());
  rows.dots(dcontrol, values, p.width(), 0, false, dprobs[warp]);
  if (p.integration == kBoth) rows.dots(dout, values, p.width(), p.channels, true, dprobs[warp]);
  if (in.keep)
    rows.for_slots([&](int r, int s) {
      const int64_t place = rows.place(r) * S + s;
      float& d = dprobs[warp][r][s];
      grad.dkeep[place] = d * probs[warp][r][s];
      d *= in.keep[place];
    });
  rows.for_slots([&](int r, int s) {
    const float *of = probs[warp][r], *d = dprobs[warp][r];
    float mean = 0;
    for (int k = s / K * K; k < s / K * K + K; ++k) mean += of[k] * d[k];
    float* to = numbers + rows.place(r) * attend_row_size(S);
    to[s] = kept[warp][r][s];
    to[S4 + s] = of[s] * (d[s] - mean);
    if (s + 1 == S)
      for (int k = S; k < S4; ++k) to[k] = to[S4 + k] = 0;
  });
}

// A channel's entries of the tables, and its sums.
template <int SLOTS>
struct ChannelSums {
  // In registers if loops over slots are unrolled; of many slots, in local memory.
  static constexpr int kUnroll = SLOTS <= 32 ? SLOTS : 1;
  float key[SLOTS], value[SLOTS];
  float dkey[SLOTS], dvalue[SLOTS], dsecond[SLOTS];
  float dbias, dbias2, dact_bias, dscale;
};

// Adds an entry of all rows of threads and stores it.
__device__ inline void store_sum(float (*shared)[kWarp], float value, bool active, float* to) {
  shared[threadIdx.y][threadIdx.x] = value;
  __syncthreads();
  if (threadIdx.y == 0 && active) {
    for (int r = 1; r < kChannelRows; ++r) value += shared[r][threadIdx.x];
    *to = value;
  }
  __syncthreads();
}

template <class T, int SLOTS>
__global__ void __launch_bounds__(kWarp* kChannelRows)
    channel_kernel(const Attend p, const AttendIn<T> in, const AttendGrad<T> grad,
                   const float* numbers, float* sums) {
  __shared__ float shared[kChannelRows][kWarp];
  const int S = p.slots(), S4 = padded_slots(p);
  const int64_t C = p.channels, sample = blockIdx.y, c = int64_t(blockIdx.z) * kWarp + threadIdx.x;
  const int64_t first = int64_t(blockIdx.x) * kCudaAttendBlock;
  const int64_t last = first + kCudaAttendBlock < p.positions ? first + kCudaAttendBlock : p.positions;
  const bool active = c < C, both = p.integration == kBoth, add = p.integration == kAdd;
  const float* keys = in.keys + (p.shared_keys ? 0 : sample * S * C);
  const float* values = in.values + (p.shared_values ? 0 : sample * S * p.width());
  const float scale = in.scale && active ? in.scale[sample * C + c] : 1.0f;
  const float bias = in.bias && active ? in.bias[c] : 0.0f;
  ChannelSums<SLOTS> t = {};
  constexpr int kUnroll = ChannelSums<SLOTS>::kUnroll;
#pragma unroll kUnroll
  for (int s = 0; s < SLOTS; ++s) {
    const bool exists = s < S && active;
    t.key[s] = exists ? keys[s * C + c] : 0.0f;
    t.value[s] = exists ? values[s * p.width() + c] : 0.0f;
  }

  // The next position's values are on their way while one is worked on.
  T next_x = {}, next_dy = {}, next_y = {};
  const auto fetch = [&](int64_t position) {
    if (!active || position >= last) return;
    const int64_t place = (sample * p.positions + position) * C + c;
    next_x = in.x[place];
    next_dy = grad.dy[place];
    next_y = grad.y[place];
  };
  fetch(first + threadIdx.y);
  for (int64_t position = first + threadIdx.y; active && position < last; position += kChannelRows) {
    const int64_t row = sample * p.positions + position;
    const float* kept = numbers + row * attend_row_size(S);
    const float *dscores = kept + S4, *number = kept + 2 * S4;
    const float raw = to_float(next_x), x = raw * scale;
    const float dout = activation_grad(p, next_dy, next_y);
    fetch(position + kChannelRows);
    const float normal = (x - number[kMean]) * number[kInverse];
    const float dcontrol = add ? dout : dout * normal;
    float control = bias, dx = 0;
#pragma unroll kUnroll
    for (int s = 0; s < SLOTS; s += 4) {
      if (s >= S4) continue;
      float weight[4], dscore[4];
      load_pack<4>(kept + s, weight);
      load_pack<4>(dscores + s, dscore);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        control += weight[j] * t.value[s + j];
        dx += dscore[j] * t.key[s + j];
        t.dkey[s + j] += dscore[j] * x;
        t.dvalue[s + j] += weight[j] * dcontrol;
        if (both) t.dsecond[s + j] += weight[j] * dout;
      }
    }
    const float dnormal = add ? dout : dout * control;
    dx += number[kInverse] * (dnormal - normal * number[kProduct]) - number[kShift];
    grad.dx[row * C + c] = from_float<T>(dx * scale);
    t.dbias += dcontrol;
    t.dbias2 += dout;
    t.dact_bias += dout;
    t.dscale += dx * raw;
  }

  const int64_t O = p.width(), unit = sample * gridDim.x + blockIdx.x;
  float* to = sums + unit * p.sums_size() + c;
#pragma unroll kUnroll
  for (int s = 0; s < SLOTS; ++s) {
    if (s >= S) continue;
    store_sum(shared, t.dkey[s], active, to + s * C);
    store_sum(shared, t.dvalue[s], active, to + S * C + s * O);
    if (both) store_sum(shared, t.dsecond[s], active, to + S * C + s * O + C);
  }
  to += S * (C + O);
  store_sum(shared, t.dbias, active, to);
  if (both) store_sum(shared, t.dbias2, active, to + C);
  store_sum(shared, t.dact_bias, active, to + O);
  store_sum(shared, t.dscale, active, to + O + C);
  if (!in.logits || !p.flat_logits || blockIdx.z) return;  // else sums of dscores
  to += O + 2 * C - c;
  for (int s = threadIdx.x; s - int(threadIdx.x) < S; s += kWarp) {
    float total = 0;
    for (int64_t position = first + threadIdx.y; s < S && position < last; position += kChannelRows)
      total += numbers[(sample * p.positions + position) * attend_row_size(S) + S4 + s];
    store_sum(shared, total, s < S, to + s);
  }
}

// Of logits that are not flat: dlogits [groups, P, S] = sums over the samples of a group of the
// dscores in `numbers`.
__global__ void logits_kernel(const Attend p, const float* numbers, int64_t groups,
                              float* dlogits) {
  const int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, S = p.slots();
  if (index >= groups * p.positions * S) return;
  const int64_t s = index % S, position = index / S % p.positions, group = index / S / p.positions;
  const int64_t samples = p.samples / groups;
  float total = 0;
  for (int64_t n = group * samples; n < (group + 1) * samples; ++n)
    total += numbers[(n * p.positions + position) * attend_row_size(p.slots()) + padded_slots(p) + s];
  dlogits[index] = total;
}

const char* run_sums(void* stream, const Attend& p, void* const* results, const float* numbers,
                     const float* sums, int64_t blocks) {
  const char* error = nullptr;
  for_each_sum(p, [&](int i, int64_t offset, int64_t size, bool per_sample) {
    if (error || !results[i] || (i == kLogits && !p.flat_logits)) return;
    const int64_t groups = per_sample ? p.samples : 1;
    const int64_t rows = per_sample ? blocks : p.samples * blocks;
    error = sum_rows(stream, sums, groups, rows, p.sums_size(), offset, size,
                     static_cast<float*>(results[i]));
  });
  if (error || !results[kLogits] || p.flat_logits) return error;
  const int64_t groups = p.shared_logits ? 1 : p.samples;
  const dim3 grid(divide_up(groups * p.positions * p.slots(), 256));
  if (!grid.x) return nullptr;
  return launch(&logits_kernel, grid, dim3(256), stream, p, numbers, groups,
                static_cast<float*>(results[kLogits]));
}

template <class T>
const char* run(void* stream, const Attend& p, const AttendIn<T>& in, const AttendGrad<T>& grad,
                void* const* results, float* numbers, float* sums) {
  const int64_t blocks = divide_up(p.positions, kCudaAttendBlock);
  if (!(p.samples * blocks)) return run_sums(stream, p, results, numbers, sums, blocks);
  const char* error = with_chunks(p.channels, [&](auto chunks, auto rows) {
    const dim3 grid(divide_up(p.positions, kWarps * rows), p.samples);
    return launch(&position_kernel<T, decltype(chunks)::value, decltype(rows)::value>, grid,
                  dim3(kWarps * kWarp), stream, p, in, grad, numbers);
  });
  if (error) return error;
  const dim3 grid(blocks, p.samples, divide_up(p.channels, kWarp)), block(kWarp, kChannelRows);
  const auto channels = [&](auto kernel) {
    return launch(kernel, grid, block, stream, p, in, grad, static_cast<const float*>(numbers), sums);
  };
  error = p.slots() <= 8    ? channels(&channel_kernel<T, 8>)
          : p.slots() <= 16 ? channels(&channel_kernel<T, 16>)
          : p.slots() <= 32 ? channels(&channel_kernel<T, 32>)
                            : channels(&channel_kernel<T, kCudaMaxSlots>);
  return error ? error : run_sums(stream, p, results, numbers, sums, blocks);
}

}  // namespace
}  // namespace gansformer

const char* gansformer_attend_grad_cuda(void* stream, int type, const gansformer::Attend* p,
                                        const gansformer::AttendIn<void>* in, const void* dy,
                                        const void* y, void* const* results, float* rows,
                                        float* sums) {
  using namespace gansformer;
  if (const char* error = check_sizes(*p)) return error;
  return with_cuda_type(type, [&](auto value) {
    using T = decltype(value);
    const AttendGrad<T> grad{static_cast<const T*>(dy),          static_cast<const T*>(y),
                             static_cast<T*>(results[kX]),       static_cast<float*>(results[kKeep]),
                             static_cast<float*>(results[kNoise]), nullptr};
    return run<T>(stream, *p, typed<T>(*in), grad, results, rows, sums);
  });
}

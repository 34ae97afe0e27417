// A few map positions through the attention by the threads of one warp: what the forward and the
// backward kernel share. CUDA.
//
// A lane has the channels lane, lane + 32, ... of each position: CHUNKS of them, ROWS positions. Dot
// products with the keys are sums over lanes; 16 slots at a time are summed so that each lane ends up
// with one of them.
#pragma once

#include <type_traits>

#include "attend.h"
#include "cuda_common.h"

namespace gansformer {

constexpr int kSlotsAtOnce = 16;
constexpr int kWarps = 4;  // in a block of threads

__device__ inline float sum_lanes(float value) {
#pragma unroll
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value += __shfl_xor_sync(kAllLanes, value, mask);
  return value;
}

// A lane keeps one half of 2 * WIDTH values and gives the other half to its neighbour.
template <int WIDTH>
__device__ inline void exchange(float (&v)[kSlotsAtOnce], int lane) {
  const bool upper = lane & WIDTH;
#pragma unroll
  for (int j = 0; j < WIDTH; ++j) {
    const float give = upper ? v[j] : v[j + WIDTH], keep = upper ? v[j + WIDTH] : v[j];
    v[j] = keep + __shfl_xor_sync(kAllLanes, give, WIDTH);
  }
}

// Sums over lanes of 16 values at once; lane l gets that of value l % 16.
__device__ inline float sum_lanes_16(float (&v)[kSlotsAtOnce], int lane) {
  exchange<8>(v, lane);
  exchange<4>(v, lane);
  exchange<2>(v, lane);
  exchange<1>(v, lane);
  return v[0] + __shfl_xor_sync(kAllLanes, v[0], kSlotsAtOnce);
}

template <class T, int CHUNKS, int ROWS>
struct AttendWarp {
  const Attend& p;
  const AttendIn<T>& in;
  int64_t sample, first;  // ROWS positions of the sample from `first`
  int lane, row_lanes;    // row_lanes: how many lanes share the slots of a row, a power of two
  // In shared memory, this warp's: probabilities, and what comes of them, [ROWS, kCudaMaxSlots].
  float (*probs)[kCudaMaxSlots], (*kept)[kCudaMaxSlots];
  float x[ROWS][CHUNKS], normal[ROWS][CHUNKS], control[ROWS][CHUNKS], second[ROWS][CHUNKS];
  float mean[ROWS], inverse[ROWS];

  // Of the warp that calls.
  __device__ AttendWarp(const Attend& p, const AttendIn<T>& in, float (*probs)[kCudaMaxSlots],
                        float (*kept)[kCudaMaxSlots])
      : p(p),
        in(in),
        sample(blockIdx.y),
        first((int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp) * ROWS),
        lane(threadIdx.x % kWarp),
        row_lanes(kWarp / ROWS),
        probs(probs),
        kept(kept) {
    while (row_lanes < p.slots() && row_lanes < kWarp) row_lanes *= 2;
  }

  // Fills everything in; false if there are no positions for this warp.
  __device__ bool run() {
    if (first >= p.positions) return false;
    load_x();
    attend();
    normalise();
    return true;
  }

  __device__ int64_t channel(int j) const { return lane + int64_t(kWarp) * j; }
  __device__ bool is_inside(int r) const { return first + r < p.positions; }
  __device__ int64_t place(int r) const { return sample * p.positions + first + r; }

  __device__ void load_x() {
#pragma unroll
    for (int j = 0; j < CHUNKS; ++j) {
      const int64_t c = channel(j);
      const bool active = c < p.channels;
      const float scale =
          in.scale && active ? in.scale[sample * p.channels + c] : 1.0f;
#pragma unroll
      for (int r = 0; r < ROWS; ++r)
        x[r][j] = active && is_inside(r) ? to_float(in.x[place(r) * p.channels + c]) * scale : 0.0f;
    }
  }

  // to[r][s] = sum over channels of value[r] * table[s], table [S, stride] from column `offset`.
  __device__ void dots(const float (&value)[ROWS][CHUNKS], const float* table, int64_t stride,
                       int64_t offset, bool add, float (*to)[kCudaMaxSlots]) {
    for (int start = 0; start < p.slots(); start += kSlotsAtOnce) {
      float partial[ROWS][kSlotsAtOnce] = {};
#pragma unroll
      for (int s = 0; s < kSlotsAtOnce; ++s) {
        const bool exists = start + s < p.slots();  // no break: sums must stay in registers
        const float* row = table + (start + s) * stride + offset;
#pragma unroll
        for (int j = 0; j < CHUNKS; ++j) {
          const bool active = exists && channel(j) < p.channels;
          const float factor = active ? row[channel(j)] : 0.0f;
#pragma unroll
          for (int r = 0; r < ROWS; ++r) partial[r][s] += value[r][j] * factor;
        }
      }
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        const float total = sum_lanes_16(partial[r], lane);
        const int s = start + lane;
        if (lane < kSlotsAtOnce && s < p.slots()) to[r][s] = add ? to[r][s] + total : total;
      }
    }
    __syncwarp();
  }

  // f(r, s) for each slot of the rows inside, by one lane each; then all lanes meet.
  template <class F>
  __device__ void for_slots(F f) const {
    for (int r = lane / row_lanes; r < ROWS; r += kWarp / row_lanes)
      for (int s = lane % row_lanes; s < p.slots() && is_inside(r); s += row_lanes) f(r, s);
    __syncwarp();
  }

  // Scores in `kept` => probabilities, and these times keep in `kept`.
  __device__ void softmax() {
    const int K = p.head_slots, S = p.slots();
    if (in.logits)
      for_slots([&](int r, int s) {
        const int64_t row = (p.shared_logits ? 0 : sample * p.logit_rows()) +
                            (p.flat_logits ? 0 : first + r);
        kept[r][s] += in.logits[row * S + s];
      });
    for_slots([&](int r, int s) {
      const float* head = kept[r] + s / K * K;
      float top = head[0];
      for (int k = 1; k < K; ++k) top = head[k] > top ? head[k] : top;
      probs[r][s] = expf(kept[r][s] - top);
    });
    for_slots([&](int r, int s) {
      const float* head = probs[r] + s / K * K;
      float total = 0;
      for (int k = 0; k < K; ++k) total += head[k];
      kept[r][s] = probs[r][s] / total;
    });
    for_slots([&](int r, int s) {
      probs[r][s] = kept[r][s];
      if (in.keep) kept[r][s] *= in.keep[place(r) * S + s];
    });
  }

  __device__ void attend() {
    const int S = p.slots();
    const float* keys = in.keys + (p.shared_keys ? 0 : sample * S * p.channels);
    const float* values = in.values + (p.shared_values ? 0 : sample * S * p.width());
    dots(x, keys, p.channels, 0, false, kept);
    softmax();
    spread(values, control);
    if (p.integration == kBoth) spread(values + p.channels, second, p.channels);
  }

  // to[r] = sum over slots of kept[r][s] * table[s], plus the bias; table [slots, O].
  __device__ void spread(const float* table, float (&to)[ROWS][CHUNKS], int64_t offset = 0) {
#pragma unroll
    for (int j = 0; j < CHUNKS; ++j) {
      const bool active = channel(j) < p.channels;
      const float bias = in.bias && active ? in.bias[offset + channel(j)] : 0.0f;
#pragma unroll
      for (int r = 0; r < ROWS; ++r) to[r][j] = bias;
    }
    for (int s = 0; s < p.slots(); ++s) {
#pragma unroll
      for (int j = 0; j < CHUNKS; ++j) {
        const bool active = channel(j) < p.channels;
        const float factor = active ? table[s * p.width() + channel(j)] : 0.0f;
#pragma unroll
        for (int r = 0; r < ROWS; ++r) to[r][j] += kept[r][s] * factor;
      }
    }
  }

  __device__ void normalise() {
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      mean[r] = 0;
      inverse[r] = 1;
      if (p.normalise && p.integration != kMul) {
        float total = 0;
#pragma unroll
        for (int j = 0; j < CHUNKS; ++j) total += x[r][j];
        mean[r] = sum_lanes(total) / p.channels;
      }
#pragma unroll
      for (int j = 0; j < CHUNKS; ++j)
        normal[r][j] = channel(j) < p.channels ? x[r][j] - mean[r] : 0.0f;
      if (p.normalise && p.integration != kAdd) {
        float total = 0;
#pragma unroll
        for (int j = 0; j < CHUNKS; ++j) total += normal[r][j] * normal[r][j];
        inverse[r] = 1.0f / sqrtf(sum_lanes(total) / p.channels + kNormEpsilon);
#pragma unroll
        for (int j = 0; j < CHUNKS; ++j) normal[r][j] *= inverse[r];
      }
    }
  }
};

// f(CHUNKS, ROWS) as integral constants, for a number of channels.
template <class F>
const char* with_chunks(int64_t channels, F f) {
  using std::integral_constant;
  if (channels <= 64) return f(integral_constant<int, 2>(), integral_constant<int, 4>());
  if (channels <= 128) return f(integral_constant<int, 4>(), integral_constant<int, 2>());
  if (channels <= 256) return f(integral_constant<int, 8>(), integral_constant<int, 2>());
  if (channels <= 512) return f(integral_constant<int, 16>(), integral_constant<int, 1>());
  return f(integral_constant<int, 32>(), integral_constant<int, 1>());
}

template <class T>
AttendIn<T> typed(const AttendIn<void>& in) {
  return AttendIn<T>{static_cast<const T*>(in.x), in.scale, in.keys,  in.logits,  in.keep,
                     in.values,                    in.bias,  in.noise, in.act_bias};
}

inline const char* check_sizes(const Attend& p) {
  if (p.slots() > kCudaMaxSlots) return "too many slots";
  if (p.channels > kCudaMaxChannels) return "too many channels";
  if (p.samples > kMaxGridY) return "too many samples";
  return nullptr;
}

}  // namespace gansformer

// What the CUDA kernels share: launching, packs of values, sums over rows.
#pragma once

#include "kernels_cuda.h"
#ifndef GANSFORMER_EMULATE  // tests run the kernels on a CPU, with stand-ins for what CUDA provides
#include <cuda_runtime.h>
#endif

namespace gansformer {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int64_t kMaxGridY = 65535;

#ifndef GANSFORMER_EMULATE
template <class... Params, class... Args>
const char* launch(void (*kernel)(Params...), dim3 grid, dim3 block, void* stream, Args... args) {
  kernel<<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(Params(args)...);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
#endif

// SIZE values that are read and written together.
template <class T, int SIZE>
struct alignas(sizeof(T) * SIZE < 16 ? sizeof(T) * SIZE : 16) Pack {
  T values[SIZE];
};

template <int SIZE, class T>
__device__ inline void load_pack(const T* from, float* to) {
  const Pack<T, SIZE> pack = *reinterpret_cast<const Pack<T, SIZE>*>(from);
#pragma unroll
  for (int j = 0; j < SIZE; ++j) to[j] = to_float(pack.values[j]);
}

template <int SIZE, class T>
__device__ inline void store_pack(T* to, const float* from) {
  Pack<T, SIZE> pack;
#pragma unroll
  for (int j = 0; j < SIZE; ++j) pack.values[j] = from_float<T>(from[j]);
  *reinterpret_cast<Pack<T, SIZE>*>(to) = pack;
}

// Values of a pack: 16 bytes, if rows of `channels` and all arrays are aligned to them.
template <class T>
inline int pack_size(int64_t channels, std::initializer_list<const void*> arrays) {
  const int size = 16 / int(sizeof(T));
  uintptr_t bits = 0;
  for (const void* array : arrays) bits |= reinterpret_cast<uintptr_t>(array);
  return channels % size == 0 && bits % 16 == 0 ? size : 1;
}

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Threads that share a column below. There may be thousands of rows of a few columns, and each takes
// long to come: many must be on their way at once.
constexpr int kSumThreads = 32;

// Adds the rows of each group: sums [groups, rows, stride], columns [offset, offset + size) => out
// [groups, size]. Blocks of (32, kSumThreads) threads, a column for each x.
static __global__ void __launch_bounds__(kWarp* kSumThreads)
    sum_rows_kernel(const float* sums, int64_t rows, int64_t stride, int64_t offset, int64_t size,
                    float* out) {
  __shared__ float partial[kSumThreads][kWarp + 1];
  const int64_t column = int64_t(blockIdx.x) * kWarp + threadIdx.x, group = blockIdx.y;
  float total = 0;
  if (column < size)
#pragma unroll 8
    for (int64_t r = threadIdx.y; r < rows; r += kSumThreads)
      total += sums[(group * rows + r) * stride + offset + column];
  partial[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y == 0 && column < size) {
    for (int j = 1; j < kSumThreads; ++j) total += partial[j][threadIdx.x];
    out[group * size + column] = total;
  }
}

inline const char* sum_rows(void* stream, const float* sums, int64_t groups, int64_t rows,
                            int64_t stride, int64_t offset, int64_t size, float* out) {
  if (groups > kMaxGridY) return "too many samples";
  if (!groups) return nullptr;
  return launch(&sum_rows_kernel, dim3(divide_up(size, kWarp), groups), dim3(kWarp, kSumThreads),
                stream, sums, rows, stride, offset, size, out);
}

// f(T()) for the type with a number; see kernels_cuda.h.
template <class F>
const char* with_cuda_type(int type, F f) {
  switch (type) {
    case 0: return f(float());
    case 1: return f(Half());
    case 2: return f(BFloat16());
    default: return "unknown type";
  }
}

}  // namespace gansformer

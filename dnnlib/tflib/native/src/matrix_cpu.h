// Products of matrices whose sums stay in registers, CPU.
#pragma once

#include <cstdint>

#include "vector.h"

namespace gansformer {
namespace {

// Lanes of a vector, rows and vectors of the sums that the registers hold.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 6, kVectors = 4;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRows = 6, kVectors = 2;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRows = 6, kVectors = 4;
#else
constexpr int kLanes = 4, kRows = 6, kVectors = 2;
#endif
constexpr int64_t kPanel = kLanes * kVectors;  // columns of a matrix that lie together

typedef Vector<kLanes>::type V;

inline V load(const float* from) { return *reinterpret_cast<const V*>(from); }
inline void store(float* to, V v) { *reinterpret_cast<V*>(to) = v; }

// c[r, :] (+)= sum_k a[r, k] b[k, :], r < ROWS, VECTORS vectors wide.
template <int ROWS, int VECTORS>
inline void multiply_panel(const float* a, int64_t a_row, int64_t a_step, const float* b,
                           int64_t b_step, float* c, int64_t c_row, int64_t depth, bool add) {
  V sums[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; ++v)
      sums[r][v] = add ? load(c + r * c_row + v * kLanes) : V{};
  for (int64_t k = 0; k < depth; ++k) {
    V row[VECTORS];
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; ++v) row[v] = load(b + k * b_step + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      const float factor = a[r * a_row + k * a_step];
#pragma GCC unroll 8
      for (int v = 0; v < VECTORS; ++v) sums[r][v] += factor * row[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; ++v) store(c + r * c_row + v * kLanes, sums[r][v]);
}

struct Factor {
  const float* data;
  int64_t row, step;  // distances of rows and of the summed index
};

template <int ROWS>
inline void multiply_rows(Factor a, const float* b, int64_t b_step, int64_t columns, float* c,
                          int64_t c_row, int64_t depth, bool add) {
  switch (columns / kLanes) {
    case 1: return multiply_panel<ROWS, 1>(a.data, a.row, a.step, b, b_step, c, c_row, depth, add);
    case 2: return multiply_panel<ROWS, 2>(a.data, a.row, a.step, b, b_step, c, c_row, depth, add);
#if defined(__AVX512F__) || defined(__aarch64__)
    case 3: return multiply_panel<ROWS, 3>(a.data, a.row, a.step, b, b_step, c, c_row, depth, add);
    case 4: return multiply_panel<ROWS, 4>(a.data, a.row, a.step, b, b_step, c, c_row, depth, add);
#endif
  }
}

// The same for any number of rows.
inline void multiply(Factor a, int64_t rows, const float* b, int64_t b_step, int64_t columns,
                     float* c, int64_t c_row, int64_t depth, bool add) {
  const auto advance = [&](int64_t done) {
    rows -= done;
    a.data += done * a.row;
    c += done * c_row;
  };
  for (; rows >= kRows; advance(kRows))
    multiply_rows<kRows>(a, b, b_step, columns, c, c_row, depth, add);
  if (rows >= 4) {
    multiply_rows<4>(a, b, b_step, columns, c, c_row, depth, add);
    advance(4);
  }
  for (; rows > 0; advance(1)) multiply_rows<1>(a, b, b_step, columns, c, c_row, depth, add);
}

}  // namespace
}  // namespace gansformer

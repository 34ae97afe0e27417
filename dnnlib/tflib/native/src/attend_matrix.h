// The attention's small matrices on the CPU, which stay in the first-level cache, and their products,
// written with vectors so that any compiler makes good code of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "scalar.h"
#include "vector.h"

namespace gansformer {

#ifdef __AVX512F__
constexpr int kTileRows = 8;  // positions of a tile: as many sums as the registers hold
#else
constexpr int kTileRows = 4;
#endif
constexpr int kAhead = 16;  // positions of a map that are fetched before their turn

inline int64_t padded(int64_t size, int64_t to) { return (size + to - 1) / to * to; }

// `count` floats, at most kLanes, as a vector; zeros beyond them.
inline Vector load_some(const float* from, int64_t count) {
  if (count == kLanes) return load(from);
  float lanes[kLanes] = {};
  std::copy_n(from, count, lanes);
  return load(lanes);
}

inline void store_some(float* to, Vector v, int64_t count) {
  if (count == kLanes) return store(to, v);
  float lanes[kLanes];
  store(lanes, v);
  std::copy_n(lanes, count, to);
}

// A matrix with rows padded to full vectors, the padding zero.
struct Matrix {
  int64_t rows = 0, cols = 0;  // cols: with the padding
  Floats values;

  void resize(int64_t num_rows, int64_t num_cols, int64_t lanes = kLanes) {
    rows = num_rows;
    cols = padded(num_cols, lanes);
    values.assign(rows * cols, 0.0f);
  }
  void clear() { std::fill(values.begin(), values.end(), 0.0f); }
  float* row(int64_t r) { return values.data() + r * cols; }
  const float* row(int64_t r) const { return values.data() + r * cols; }
};

// A matrix of kTileRows rows, stored as [columns / kLanes, kTileRows, kLanes]: what one step needs lies together,
// at distances that the compiler knows. The padding of the columns is zero.
struct Tile {
  int64_t columns = 0;  // with the padding
  Floats values;

  void resize(int64_t num) {
    columns = padded(num, kLanes);
    values.assign(columns * kTileRows, 0.0f);
  }
  const float* block(int64_t column) const { return values.data() + column * kTileRows; }
  Vector at(int64_t column, int row) const { return load(block(column) + row * kLanes); }
  void set(int64_t column, int row, Vector v) {
    store(values.data() + column * kTileRows + row * kLanes, v);
  }
};

// A matrix [n, slots] to multiply tiles with. Few slots would leave half of a vector empty: then two
// rows lie in one, element by element in turns.
struct SlotMatrix {
  bool paired = false;
  Matrix matrix;

  // rows: even.
  void resize(int64_t rows, int slots) {
    paired = slots <= 8;
    matrix.resize(paired ? rows / 2 : rows, paired ? kLanes : slots);
  }
  float& at(int64_t row, int slot) {
    return paired ? matrix.row(row / 2)[2 * slot + row % 2] : matrix.row(row)[slot];
  }
};

// m [S, n] => [n, S]
inline void transpose(const Matrix& m, SlotMatrix* to) {
  for (int64_t s = 0; s < m.rows; ++s)
    for (int64_t c = 0; c < m.cols; ++c) to->at(c, int(s)) = m.row(s)[c];
}

// out[r] = sum_k a[r][k] b[k], columns [begin, begin + BLOCK vectors).
template <int BLOCK>
__attribute__((noinline)) void block_of_slots(const Tile& a, const Matrix& b, int64_t begin,
                                              Matrix* out) {
  Vector sum[kTileRows][BLOCK] = {};
  const float* right = b.row(0) + begin;
  for (int64_t column = 0; column < a.columns; column += kLanes) {
    const float* left = a.block(column);
    for (int k = 0; k < kLanes; ++k, right += b.cols) {
      Vector factor[BLOCK];
      for (int j = 0; j < BLOCK; ++j) factor[j] = load(right + j * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kTileRows; ++r)
        for (int j = 0; j < BLOCK; ++j) sum[r][j] += left[r * kLanes + k] * factor[j];
    }
  }
  for (int r = 0; r < kTileRows; ++r)
    for (int j = 0; j < BLOCK; ++j) store(out->row(r) + begin + j * kLanes, sum[r][j]);
}

// The same for up to 8 columns, b paired.
__attribute__((noinline)) inline void paired_slots(const Tile& a, const Matrix& b, Matrix* out) {
  typedef double Pairs __attribute__((vector_size(64)));
  Vector sum[kTileRows] = {};
  const float* right = b.row(0);
  for (int64_t column = 0; column < a.columns; column += kLanes) {
    const float* left = a.block(column);
    for (int k = 0; k < kLanes; k += 2, right += kLanes) {
      const Vector factor = load(right);
#pragma GCC unroll 8
      for (int r = 0; r < kTileRows; ++r) {
        double pair;  // two floats that are copied, never a number
        std::memcpy(&pair, left + r * kLanes + k, sizeof(pair));
        sum[r] += Vector(Pairs{pair, pair, pair, pair, pair, pair, pair, pair}) * factor;
      }
    }
  }
  for (int r = 0; r < kTileRows; ++r) {
    const Vector both = sum[r] + shuffle<1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14>(sum[r]);
    const Vector first = shuffle<0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14>(both);
    std::memcpy(out->row(r), &first, 8 * sizeof(float));
  }
}

// out [kTileRows, slots] = a b, b [columns of a, slots]
inline void tile_product(const Tile& a, const SlotMatrix& b, Matrix* out) {
  if (b.paired) return paired_slots(a, b.matrix, out);
  int64_t column = 0;
  for (; column + 2 * kLanes <= b.matrix.cols; column += 2 * kLanes)
    block_of_slots<2>(a, b.matrix, column, out);
  if (column < b.matrix.cols) block_of_slots<1>(a, b.matrix, column, out);
}

// out[r] = sum_s weights[r][s] b[s], kLanes columns from `column` on. STRIDE: columns of the weights,
// 0 for any.
template <int STRIDE>
inline void slots_product(const Matrix& weights, const Matrix& b, int64_t column, Vector* out) {
  const int64_t stride = STRIDE ? STRIDE : weights.cols, slots = b.rows, cols = b.cols;
  const float *left = weights.row(0), *right = b.row(0) + column;
  Vector sum[kTileRows] = {};
  for (int64_t s = 0; s < slots; ++s, right += cols) {
    const Vector factor = load(right);
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r) sum[r] += left[r * stride + s] * factor;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kTileRows; ++r) out[r] = sum[r];
}

// sum[s] += sum_r weights[r][s] right[r], the same columns.
template <int STRIDE>
inline void add_outer_product(const Matrix& weights, const Vector* right, int64_t column, Matrix* sum) {
  const int64_t stride = STRIDE ? STRIDE : weights.cols, slots = sum->rows, cols = sum->cols;
  const float* left = weights.row(0);
  float* to = sum->row(0) + column;
  for (int64_t s = 0; s < slots; ++s, to += cols) {
    Vector even = load(to), odd = {};
#pragma GCC unroll 4
    for (int r = 0; r < kTileRows; r += 2) {
      even += left[r * stride + s] * right[r];
      odd += left[(r + 1) * stride + s] * right[r + 1];
    }
    store(to, even + odd);
  }
}

// Adds to kLanes columns of a row.
inline void add_to(Matrix* row, int64_t column, Vector v) {
  store(row->row(0) + column, load(row->row(0) + column) + v);
}

// Calls f(integral_constant) with the STRIDE of weights.
template <class F>
inline void with_stride(const Matrix& weights, F f) {
  if (weights.cols == 8) f(std::integral_constant<int, 8>());
  else if (weights.cols == 16) f(std::integral_constant<int, 16>());
  else f(std::integral_constant<int, 0>());
}

}  // namespace gansformer

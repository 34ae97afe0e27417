// Products of matrices whose sums stay in registers, CPU.
#pragma once

#include <algorithm>
#include <cstdint>

#include "vector.h"

namespace gansformer {
namespace {

// As many floats as a register of the machine holds; rows and registers of the sums that stay there.
#if defined(__AVX512F__)
constexpr int kRegisterLanes = 16, kBlockRows = 6, kBlockRegisters = 4;
#elif defined(__AVX__)
constexpr int kRegisterLanes = 8, kBlockRows = 6, kBlockRegisters = 2;
#elif defined(__aarch64__)
constexpr int kRegisterLanes = 4, kBlockRows = 6, kBlockRegisters = 4;
#else
constexpr int kRegisterLanes = 4, kBlockRows = 6, kBlockRegisters = 2;
#endif
constexpr int64_t kPanel = kRegisterLanes * kBlockRegisters;  // columns of a block of sums

typedef VectorOf<kRegisterLanes>::type Register;

inline Register load_register(const float* from) { return load<kRegisterLanes>(from); }
inline void store_register(float* to, Register v) { store<kRegisterLanes>(to, v); }

// The factor on the left: a[r, k] = data[r * row + k * step]. Other matrices have adjacent columns.
struct Factor {
  const float* data;
  int64_t row, step;
};

// c[r, :] (+)= sum_k a[r, k] b[k, :], r < ROWS, REGISTERS registers wide.
template <int ROWS, int REGISTERS>
inline void block_product(Factor a, const float* b, int64_t b_row, float* c, int64_t c_row,
                          int64_t depth, bool add) {
  Register sums[ROWS][REGISTERS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < REGISTERS; ++v)
      sums[r][v] = add ? load_register(c + r * c_row + v * kRegisterLanes) : Register{};
  for (int64_t k = 0; k < depth; ++k) {
    Register row[REGISTERS];
#pragma GCC unroll 8
    for (int v = 0; v < REGISTERS; ++v) row[v] = load_register(b + k * b_row + v * kRegisterLanes);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      const float factor = a.data[r * a.row + k * a.step];
#pragma GCC unroll 8
      for (int v = 0; v < REGISTERS; ++v) sums[r][v] += factor * row[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < REGISTERS; ++v)
      store_register(c + r * c_row + v * kRegisterLanes, sums[r][v]);
}

// The same for a width that is known late, at most kPanel.
template <int ROWS>
inline void rows_product(Factor a, const float* b, int64_t b_row, int64_t width, float* c,
                         int64_t c_row, int64_t depth, bool add) {
  constexpr int kThree = kBlockRegisters < 3 ? kBlockRegisters : 3;
  switch (width / kRegisterLanes) {
    case 1: return block_product<ROWS, 1>(a, b, b_row, c, c_row, depth, add);
    case 2: return block_product<ROWS, 2>(a, b, b_row, c, c_row, depth, add);
    case 3: return block_product<ROWS, kThree>(a, b, b_row, c, c_row, depth, add);
    default: return block_product<ROWS, kBlockRegisters>(a, b, b_row, c, c_row, depth, add);
  }
}

// And for any number of rows.
inline void panel_product(Factor a, int64_t rows, const float* b, int64_t b_row, int64_t width,
                          float* c, int64_t c_row, int64_t depth, bool add) {
  const auto advance = [&](int64_t done) {
    rows -= done;
    a.data += done * a.row;
    c += done * c_row;
  };
  for (; rows >= kBlockRows; advance(kBlockRows))
    rows_product<kBlockRows>(a, b, b_row, width, c, c_row, depth, add);
  if (rows >= 4) {
    rows_product<4>(a, b, b_row, width, c, c_row, depth, add);
    advance(4);
  }
  for (; rows > 0; advance(1)) rows_product<1>(a, b, b_row, width, c, c_row, depth, add);
}

// And of columns: c [rows, columns] (+)= a [rows, depth] b [depth, columns], columns a multiple of
// kRegisterLanes.
inline void matrix_product(Factor a, int64_t rows, const float* b, int64_t b_row, int64_t columns,
                           float* c, int64_t c_row, int64_t depth, bool add) {
  for (int64_t panel = 0; panel < columns; panel += kPanel)
    panel_product(a, rows, b + panel, b_row, std::min(kPanel, columns - panel), c + panel, c_row,
                  depth, add);
}

}  // namespace
}  // namespace gansformer

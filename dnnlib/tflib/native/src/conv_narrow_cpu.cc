// Convolution to few channels, CPU, row by row of the map.
#include "conv_narrow.h"

#include <algorithm>
#include <type_traits>

#include "kernels_cpu.h"
#include "matrix_product.h"

namespace gansformer {
namespace {

typedef VectorOf<4>::type Four;

int64_t round_up(int64_t size, int64_t unit) { return (size + unit - 1) / unit * unit; }

// Columns of a matrix of taps, with room for the last vector of four.
int64_t stride_of(const ConvNarrow& p) { return round_up(p.columns() + 3, kRegisterLanes); }


struct Part {  // rows [begin, end) of a sample
  int64_t sample, begin, end;

  Part(const ConvNarrow& p, int64_t index)
      : sample(index / p.parts()),
        begin(index % p.parts() * p.rows()),
        end(std::min(begin + p.rows(), p.height)) {}
};

// Calls f with the number of results if the compiler may know it, that of images; else with 0.
template <class F>
void with_out(const ConvNarrow& p, F f) {
  if (p.out == 3) f(std::integral_constant<int, 3>());
  else f(std::integral_constant<int, 0>());
}

// What the positions of a row give to the rows around: [W, stride], and zeros on both sides.
struct TapRows {
  const ConvNarrow& p;
  const float *x, *filter;
  int64_t stride, size;
  Floats memory;

  TapRows(const ConvNarrow& p, const float* x, const float* filter)
      : p(p), x(x), filter(filter), stride(stride_of(p)), size((p.width + 2) * stride),
        memory(3 * size) {}

  float* at(int64_t row) { return memory.data() + (row + 3) % 3 * size + stride; }

  void compute(int64_t row) {
    if (row < 0 || row >= p.height) return void(std::fill_n(at(row), p.width * stride, 0.0f));
    matrix_product({x + row * p.width * p.channels, p.channels, 1}, p.width, filter, stride, stride,
                   at(row), stride, p.channels, false);
  }
};

// A row of results: y[w, r] = sum_ij taps[i][w + j - 1, i, j, r]. Three floats after y may change.
template <int OUT>
void sum_taps(const ConvNarrow& p, const float* const* taps, float* y) {
  const int64_t stride = stride_of(p), out = OUT ? OUT : p.out;
  for (int64_t w = 0; w < p.width; ++w)
    for (int64_t r = 0; r < out; r += 4) {
      Four total{};
#pragma GCC unroll 3
      for (int i = 0; i < 3; ++i)
#pragma GCC unroll 3
        for (int j = 0; j < 3; ++j)
          total += load<4>(taps[i] + (w + j - 1) * stride + (3 * i + j) * out + r);
      store<4>(y + w * out + r, total);
    }
}

// The results around each position of a row, for its taps: [W, stride] from dy of one sample.
// Along a row of taps they stand in the order of the map, which is against that of the filter.
template <int OUT>
void gather(const ConvNarrow& p, const float* dy, int64_t row, float* margin, float* to) {
  const int64_t out = OUT ? OUT : p.out, run = 3 * out, line = p.width * out;
  const int64_t stride = stride_of(p);
  float* const inside = margin + out;
  for (int i = 0; i < 3; ++i) {
    const int64_t from = row + 1 - i;
    if (from < 0 || from >= p.height) std::fill_n(inside, line, 0.0f);
    else std::copy_n(dy + from * line, line, inside);
    for (int64_t w = 0; w < p.width; ++w)
      for (int64_t k = 0; k < run; k += 4)
        store<4>(to + w * stride + i * run + k, load<4>(margin + w * out + k));
  }
}

// gather() for as many rows at once as make a long product.
struct Gathered {
  const ConvNarrow& p;
  int64_t stride, most;
  Floats memory, margin;

  explicit Gathered(const ConvNarrow& p)
      : p(p), stride(stride_of(p)), most(std::max<int64_t>(1, 64 / p.width)),
        memory(most * p.width * stride), margin((p.width + 2) * p.out + 4) {}

  // Calls f(first position of the map, number of positions, matrix).
  template <class F>
  void each(const float* dy, const Part& part, F f) {
    for (int64_t row = part.begin; row < part.end; row += most) {
      const int64_t count = std::min(most, part.end - row);
      with_out(p, [&](auto out) {
        for (int64_t i = 0; i < count; ++i)
          gather<out()>(p, dy, row + i, margin.data(), memory.data() + i * p.width * stride);
      });
      f(row * p.width, count * p.width, memory.data());
    }
  }
};

// Row of the filter, (result, tap), that belongs to a column of taps: (row, column, result).
int64_t row_of(const ConvNarrow& p, int64_t column) {
  return column % p.out * 9 + column / p.out;
}

// The same for a column of gather().
int64_t turned_row_of(const ConvNarrow& p, int64_t column) {
  const int64_t i = column / p.run(), j = column % p.run() / p.out, r = column % p.out;
  return row_of(p, (3 * i + 2 - j) * p.out + r);
}

}  // namespace

void conv_narrow_cpu(const ConvNarrow& p, const float* x, const float* w, int64_t begin, int64_t end,
                     float* y) {
  const int64_t stride = stride_of(p), line = p.width * p.out;
  Floats filter(p.channels * stride), results(line + 3);
  for (int64_t index = begin; index < end; ++index) {
    const Part part(p, index);
    const float* of_sample = w + part.sample * p.channels * p.columns();
    for (int64_t k = 0; k < p.columns(); ++k) {
      const float* row = of_sample + row_of(p, k) * p.channels;
      for (int64_t c = 0; c < p.channels; ++c) filter[c * stride + k] = row[c];
    }
    const int64_t first = part.sample * p.height;
    TapRows taps(p, x + first * p.width * p.channels, filter.data());
    taps.compute(part.begin - 1);
    taps.compute(part.begin);
    for (int64_t row = part.begin; row < part.end; ++row) {
      taps.compute(row + 1);
      const float* around[3] = {taps.at(row - 1), taps.at(row), taps.at(row + 1)};
      with_out(p, [&](auto out) { sum_taps<out()>(p, around, results.data()); });
      std::copy_n(results.data(), line, y + (first + row) * line);
    }
  }
}

void conv_narrow_dx_cpu(const ConvNarrow& p, const float* dy, const float* w, int64_t begin,
                          int64_t end, float* dx) {
  Floats filter(p.columns() * p.channels);
  Gathered results(p);
  for (int64_t index = begin; index < end; ++index) {
    const Part part(p, index);
    const float* of_sample = w + part.sample * p.channels * p.columns();
    for (int64_t k = 0; k < p.columns(); ++k)
      std::copy_n(of_sample + turned_row_of(p, k) * p.channels, p.channels,
                  filter.data() + k * p.channels);
    const int64_t map = part.sample * p.height * p.width;
    results.each(dy + map * p.out, part, [&](int64_t first, int64_t count, const float* matrix) {
      matrix_product({matrix, results.stride, 1}, count, filter.data(), p.channels, p.channels,
                     dx + (map + first) * p.channels, p.channels, p.columns(), false);
    });
  }
}

void conv_narrow_dw_cpu(const ConvNarrow& p, const float* x, const float* dy, int64_t begin,
                            int64_t end, float* sums) {
  Gathered results(p);
  const int64_t size = p.channels * results.stride;
  for (int64_t index = begin; index < end; ++index) {
    const Part part(p, index);
    const int64_t map = part.sample * p.height * p.width;
    bool add = false;
    results.each(dy + map * p.out, part, [&](int64_t first, int64_t count, const float* matrix) {
      matrix_product({x + (map + first) * p.channels, 1, p.channels}, p.channels, matrix,
                     results.stride, results.stride, sums + index * size, results.stride, count, add);
      add = true;
    });
  }
}

int64_t conv_narrow_sums(const ConvNarrow& p) { return p.channels * stride_of(p); }

void conv_narrow_add_sums_cpu(const ConvNarrow& p, const float* sums, int64_t sample, float* dw) {
  const int64_t stride = stride_of(p), size = p.channels * stride;
  for (int64_t k = 0; k < p.columns(); ++k) {
    float* row = dw + (sample * p.columns() + turned_row_of(p, k)) * p.channels;
    for (int64_t c = 0; c < p.channels; ++c) {
      float total = 0.0f;
      for (int64_t part = 0; part < p.parts(); ++part)
        total += sums[(sample * p.parts() + part) * size + c * stride + k];
      row[c] = total;
    }
  }
}

}  // namespace gansformer

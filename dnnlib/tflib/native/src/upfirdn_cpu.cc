// FIR filter with up- and down-sampling on [N, H, W, C], CPU.
//
// A kernel of rank one is applied along the rows into a ring of row buffers that stays in the cache,
// then along the columns: x is read once and y is written once. Wide rows are done in parts.
#include <algorithm>
#include <vector>

#include "kernels_cpu.h"
#include "scalar.h"
#include "upfirdn.h"
#include "vector.h"

namespace gansformer {
namespace {

constexpr int kMaxTerms = kMaxTaps * kMaxTaps;  // samples that may reach one output
constexpr int64_t kRingFloats = 4096;           // half of a first-level cache

// out = sum_t coef[t] * in[t], element by element; TERMS known to the compiler.
template <int TERMS>
void combine_n(float* __restrict out, const float* const* in, const float* coef, int64_t length) {
  const float* p[TERMS];
  float k[TERMS];
  for (int t = 0; t < TERMS; ++t) { p[t] = in[t]; k[t] = coef[t]; }
#pragma GCC ivdep
  for (int64_t j = 0; j < length; ++j) {
    float sum = 0;
    for (int t = 0; t < TERMS; ++t) sum += k[t] * p[t][j];
    out[j] = sum;
  }
}

void combine_any(float* out, const float* const* in, const float* coef, int terms, int64_t length) {
  constexpr int64_t kChunk = 256;
  float sum[kChunk];
  for (int64_t begin = 0; begin < length; begin += kChunk) {
    const int64_t size = std::min(kChunk, length - begin);
    std::fill(sum, sum + size, 0.0f);
    for (int t = 0; t < terms; ++t) {
      const float* source = in[t] + begin;
      for (int64_t j = 0; j < size; ++j) sum[j] += coef[t] * source[j];
    }
    for (int64_t j = 0; j < size; ++j) out[begin + j] = sum[j];
  }
}

// The same with four terms, the weights of which read the same backwards: two products for four.
bool is_symmetric(const float* coef) { return coef[0] == coef[3] && coef[1] == coef[2]; }

void combine_symmetric(float* __restrict out, const float* const* in, const float* coef, int64_t length) {
  const float *a = in[0], *b = in[1], *c = in[2], *d = in[3];
  const float outer = coef[0], inner = coef[1];
#pragma GCC ivdep
  for (int64_t j = 0; j < length; ++j) {
    const float sum = outer * (a[j] + d[j]);
    out[j] = sum + inner * (b[j] + c[j]);
  }
}

void combine(float* out, const float* const* in, const float* coef, int terms, int64_t length) {
  switch (terms) {
    case 1: return combine_n<1>(out, in, coef, length);
    case 2: return combine_n<2>(out, in, coef, length);
    case 3: return combine_n<3>(out, in, coef, length);
    case 4:
      if (is_symmetric(coef)) return combine_symmetric(out, in, coef, length);
      return combine_n<4>(out, in, coef, length);
    default: return combine_any(out, in, coef, terms, length);
  }
}

// out[o] = sum_t coef[t] in[o + t] with four taps, where in[o] and out[o] are positions of `channels`
// floats, of which VECTORS at a time: each is loaded once, and goes on in registers.
template <int VECTORS>
void slide(float* __restrict out, const float* __restrict in, const float* coef, int64_t channels,
           int64_t length) {
  const auto at = [&](int64_t i, int v) {
    return load(in + i * channels + kLanes * v);
  };
  Vector a[VECTORS], b[VECTORS], c[VECTORS];
  for (int v = 0; v < VECTORS; ++v) {
    a[v] = at(0, v);
    b[v] = at(1, v);
    c[v] = at(2, v);
  }
  const float k0 = coef[0], k1 = coef[1], k2 = coef[2], k3 = coef[3];
  for (int64_t o = 0; o < length; ++o)
    for (int v = 0; v < VECTORS; ++v) {
      const Vector d = at(o + 3, v), sum = (k0 * a[v] + k1 * b[v]) + (k2 * c[v] + k3 * d);
      store(out + o * channels + kLanes * v, sum);
      a[v] = b[v];
      b[v] = c[v];
      c[v] = d;
    }
}

// The run of a row where neighbours need neighbours: false if it is not one for slide().
bool slide_run(float* out, const float* in, const float* coef, int terms, int64_t channels,
               int64_t length) {
  if (terms != 4 || channels % 16 || length < 4) return false;
  int64_t c = 0;
  for (; c + 64 <= channels; c += 64) slide<4>(out + c, in + c, coef, channels, length);
  for (; c < channels; c += 16) slide<1>(out + c, in + c, coef, channels, length);
  return true;
}

// Outputs [begin, end) of a row. rows[a]: an input row [W, C] that takes part, weights[a]: [taps_x] for it.
void filter_row(float* out, const float* const* rows, const float* const* weights, int num_rows,
                const Axis& axis, int64_t channels, int64_t begin, int64_t end) {
  const float* in[kMaxTerms];
  float coef[kMaxTerms];
  // Where neighbours need neighbours (no up- or down-sampling) the inside of the row is one long run.
  const bool plain = axis.up == 1 && axis.down == 1;
  const int64_t inside_begin = std::max<int64_t>(axis.pad, 0);
  const int64_t inside_end = std::min(axis.out, axis.in + axis.pad - axis.taps + 1);
  for (int64_t o = begin; o < end;) {
    const Reach r = reach(axis, o);
    int64_t run = 1;
    if (plain && o >= inside_begin && o < inside_end) run = std::min(inside_end, end) - o;
    int terms = 0;
    for (int a = 0; a < num_rows; ++a) {
      int tap = r.tap;
      for (int64_t i = r.begin; i < r.end; ++i, tap += axis.up) {
        in[terms] = rows[a] + i * channels;
        coef[terms++] = weights[a][tap];
      }
    }
    float* to = out + (o - begin) * channels;
    if (num_rows > 1 || !slide_run(to, in[0], coef, terms, channels, run))
      combine(to, in, coef, terms, run * channels);
    o += run;
  }
}

void separable(const float* x, float* y, const Upfirdn& p, int64_t sample, int64_t begin, int64_t end) {
  const int64_t in_row = p.x.in * p.channels, out_row = p.x.out * p.channels;
  const int slots = (p.y.taps - 1) / p.y.up + 1;
  const int64_t columns = std::max<int64_t>(1, kRingFloats / slots / p.channels);
  Floats ring(slots * std::min(columns, p.x.out) * p.channels);
  const float* source = x + sample * p.y.in * in_row;
  for (int64_t left = 0; left < p.x.out; left += columns) {
    const int64_t right = std::min(left + columns, p.x.out), width = (right - left) * p.channels;
    float* target = y + sample * p.y.out * out_row + left * p.channels;
    int64_t next = reach(p.y, begin).begin;  // the first input row that is not in the ring
    for (int64_t o = begin; o < end; ++o) {
      const Reach r = reach(p.y, o);
      next = std::max(next, r.begin);
      for (; next < r.end; ++next) {
        const float* row = source + next * in_row;
        filter_row(ring.data() + next % slots * width, &row, &p.row, 1, p.x, p.channels, left, right);
      }
      const float* in[kMaxTerms];
      float coef[kMaxTerms];
      int terms = 0, tap = r.tap;
      for (int64_t i = r.begin; i < r.end; ++i, tap += p.y.up) {
        in[terms] = ring.data() + i % slots * width;
        coef[terms++] = p.column[tap];
      }
      combine(target + o * out_row, in, coef, terms, width);
    }
  }
}

void direct(const float* x, float* y, const Upfirdn& p, int64_t sample, int64_t begin, int64_t end) {
  const int64_t in_row = p.x.in * p.channels, out_row = p.x.out * p.channels;
  const float* source = x + sample * p.y.in * in_row;
  for (int64_t o = begin; o < end; ++o) {
    const Reach r = reach(p.y, o);
    const float* rows[kMaxTerms];
    const float* weights[kMaxTerms];
    int num_rows = 0, tap = r.tap;
    for (int64_t i = r.begin; i < r.end; ++i, tap += p.y.up) {
      rows[num_rows] = source + i * in_row;
      weights[num_rows++] = p.kernel + tap * p.x.taps;
    }
    float* out = y + (sample * p.y.out + o) * out_row;
    filter_row(out, rows, weights, num_rows, p.x, p.channels, 0, p.x.out);
  }
}

}  // namespace

void upfirdn_cpu(const float* x, float* y, const Upfirdn& p, int64_t begin, int64_t end) {
  while (begin < end) {
    const int64_t sample = begin / p.y.out, first = begin % p.y.out;
    const int64_t last = std::min(p.y.out, first + end - begin);
    if (p.row) separable(x, y, p, sample, first, last);
    else direct(x, y, p, sample, first, last);
    begin += last - first;
  }
}

}  // namespace gansformer

// FIR filter with up- and down-sampling on [N, H, W, C], CPU.
//
// A kernel of rank one is applied along the rows into a ring of row buffers that stays in the cache,
// then along the columns: x is read once and y is written once.
#include <algorithm>
#include <vector>

#include "kernels_cpu.h"
#include "scalar.h"
#include "upfirdn.h"

namespace gansformer {
namespace {

constexpr int kMaxTerms = kMaxTaps * kMaxTaps;  // samples that may reach one output

// out = sum_t coef[t] * in[t], element by element; TERMS known to the compiler.
template <int TERMS, class In, class Out>
void combine_n(Out* __restrict out, const In* const* in, const float* coef, int64_t length) {
  const In* p[TERMS];
  float k[TERMS];
  for (int t = 0; t < TERMS; ++t) { p[t] = in[t]; k[t] = coef[t]; }
#pragma GCC ivdep
  for (int64_t j = 0; j < length; ++j) {
    float sum = 0;
    for (int t = 0; t < TERMS; ++t) sum += k[t] * to_float(p[t][j]);
    out[j] = from_float<Out>(sum);
  }
}

template <class In, class Out>
void combine_any(Out* out, const In* const* in, const float* coef, int terms, int64_t length) {
  constexpr int64_t kChunk = 256;
  float sum[kChunk];
  for (int64_t begin = 0; begin < length; begin += kChunk) {
    const int64_t size = std::min(kChunk, length - begin);
    std::fill(sum, sum + size, 0.0f);
    for (int t = 0; t < terms; ++t) {
      const In* source = in[t] + begin;
      for (int64_t j = 0; j < size; ++j) sum[j] += coef[t] * to_float(source[j]);
    }
    for (int64_t j = 0; j < size; ++j) out[begin + j] = from_float<Out>(sum[j]);
  }
}

template <class In, class Out>
void combine(Out* out, const In* const* in, const float* coef, int terms, int64_t length) {
  switch (terms) {
    case 1: return combine_n<1>(out, in, coef, length);
    case 2: return combine_n<2>(out, in, coef, length);
    case 3: return combine_n<3>(out, in, coef, length);
    case 4: return combine_n<4>(out, in, coef, length);
    default: return combine_any(out, in, coef, terms, length);
  }
}

// One output row. rows[a]: an input row [W, C] that takes part, weights[a]: [taps_x] for it.
template <class In, class Out>
void filter_row(Out* out, const In* const* rows, const float* const* weights, int num_rows,
                const Axis& axis, int64_t channels) {
  const In* in[kMaxTerms];
  float coef[kMaxTerms];
  // Where neighbours need neighbours (no up- or down-sampling) the inside of the row is one long run.
  const bool plain = axis.up == 1 && axis.down == 1;
  const int64_t inside_begin = std::max<int64_t>(axis.pad, 0);
  const int64_t inside_end = std::min(axis.out, axis.in + axis.pad - axis.taps + 1);
  for (int64_t o = 0; o < axis.out;) {
    const Reach r = reach(axis, o);
    int64_t run = 1;
    if (plain && o >= inside_begin && o < inside_end) run = inside_end - o;
    int terms = 0;
    for (int a = 0; a < num_rows; ++a) {
      int tap = r.tap;
      for (int64_t i = r.begin; i < r.end; ++i, tap += axis.up) {
        in[terms] = rows[a] + i * channels;
        coef[terms++] = weights[a][tap];
      }
    }
    combine(out + o * channels, in, coef, terms, run * channels);
    o += run;
  }
}

template <class T>
void separable(const T* x, T* y, const Upfirdn& p, int64_t sample, int64_t begin, int64_t end) {
  const int64_t in_row = p.x.in * p.channels, out_row = p.x.out * p.channels;
  const int slots = (p.y.taps - 1) / p.y.up + 1;
  std::vector<float> ring(slots * out_row);
  const T* source = x + sample * p.y.in * in_row;
  T* target = y + sample * p.y.out * out_row;
  int64_t next = reach(p.y, begin).begin;  // the first input row that is not in the ring
  for (int64_t o = begin; o < end; ++o) {
    const Reach r = reach(p.y, o);
    next = std::max(next, r.begin);
    for (; next < r.end; ++next) {
      const T* row = source + next * in_row;
      filter_row(ring.data() + next % slots * out_row, &row, &p.row, 1, p.x, p.channels);
    }
    const float* in[kMaxTerms];
    float coef[kMaxTerms];
    int terms = 0, tap = r.tap;
    for (int64_t i = r.begin; i < r.end; ++i, tap += p.y.up) {
      in[terms] = ring.data() + i % slots * out_row;
      coef[terms++] = p.column[tap];
    }
    combine(target + o * out_row, in, coef, terms, out_row);
  }
}

template <class T>
void direct(const T* x, T* y, const Upfirdn& p, int64_t sample, int64_t begin, int64_t end) {
  const int64_t in_row = p.x.in * p.channels, out_row = p.x.out * p.channels;
  const T* source = x + sample * p.y.in * in_row;
  for (int64_t o = begin; o < end; ++o) {
    const Reach r = reach(p.y, o);
    const T* rows[kMaxTerms];
    const float* weights[kMaxTerms];
    int num_rows = 0, tap = r.tap;
    for (int64_t i = r.begin; i < r.end; ++i, tap += p.y.up) {
      rows[num_rows] = source + i * in_row;
      weights[num_rows++] = p.kernel + tap * p.x.taps;
    }
    T* out = y + (sample * p.y.out + o) * out_row;
    filter_row(out, rows, weights, num_rows, p.x, p.channels);
  }
}

}  // namespace

template <class T>
void upfirdn_cpu(const T* x, T* y, const Upfirdn& p, int64_t begin, int64_t end) {
  while (begin < end) {
    const int64_t sample = begin / p.y.out, first = begin % p.y.out;
    const int64_t last = std::min(p.y.out, first + end - begin);
    if (p.row) separable(x, y, p, sample, first, last);
    else direct(x, y, p, sample, first, last);
    begin += last - first;
  }
}

template void upfirdn_cpu(const float*, float*, const Upfirdn&, int64_t, int64_t);
template void upfirdn_cpu(const Half*, Half*, const Upfirdn&, int64_t, int64_t);
template void upfirdn_cpu(const BFloat16*, BFloat16*, const Upfirdn&, int64_t, int64_t);

}  // namespace gansformer

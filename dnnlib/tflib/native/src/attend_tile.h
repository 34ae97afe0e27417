// A few map positions at a time through the attention, on the CPU: small matrix products on tiles
// that stay in the first-level cache, written with vectors so that any compiler makes good code of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "attend.h"
#include "kernels_cpu.h"
#include "scalar.h"
#include "vector.h"

namespace gansformer {

#ifdef __AVX512F__
constexpr int kRows = 8;  // positions of a tile: as many sums as the registers hold
#else
constexpr int kRows = 4;
#endif

constexpr float kHidden = -1e30f;  // score of padding: its exponential is zero

inline int64_t padded(int64_t size, int64_t to) { return (size + to - 1) / to * to; }

// The steps of a softmax before and after the exponential, of a row of LANES values.
template <int LANES>
inline void subtract_largest(float* row) {
  typedef typename Vector<LANES>::type V;
  V& v = *reinterpret_cast<V*>(row);
  v -= across(V(v), Larger());
}

template <int LANES>
inline void divide_by_sum(float* row) {
  typedef typename Vector<LANES>::type V;
  V& v = *reinterpret_cast<V*>(row);
  v /= across(V(v), Plus());
}

// A matrix with rows padded to full vectors, the padding zero.
struct Matrix {
  int64_t rows = 0, cols = 0;  // cols: with the padding
  Floats values;

  void resize(int64_t num_rows, int64_t num_cols, int64_t lanes = 16) {
    rows = num_rows;
    cols = padded(num_cols, lanes);
    values.assign(rows * cols, 0.0f);
  }
  float* row(int64_t r) { return values.data() + r * cols; }
  const float* row(int64_t r) const { return values.data() + r * cols; }
};

// out[r] = sum_k a[r][k] b[k] for the kRows rows of a tile, columns [begin, begin + BLOCK vectors).
template <int BLOCK>
__attribute__((noinline)) void multiply_block(const Matrix& a, const Matrix& b, int64_t inner,
                                              int64_t begin, Matrix* out) {
  typedef Vector<16>::type V;
  V sum[kRows][BLOCK] = {};
  const float* left[kRows];
  for (int r = 0; r < kRows; ++r) left[r] = a.row(r);
  const float* right = b.row(0) + begin;
  for (int64_t k = 0; k < inner; ++k, right += b.cols) {
    V factor[BLOCK];
    for (int j = 0; j < BLOCK; ++j) factor[j] = reinterpret_cast<const V*>(right)[j];
    for (int r = 0; r < kRows; ++r)
      for (int j = 0; j < BLOCK; ++j) sum[r][j] += left[r][k] * factor[j];
  }
  for (int r = 0; r < kRows; ++r) {
    V* to = reinterpret_cast<V*>(out->row(r) + begin);
    for (int j = 0; j < BLOCK; ++j) to[j] = sum[r][j];
  }
}

// out [kRows, n] = a [kRows, inner] b [inner, n]
inline void multiply(const Matrix& a, const Matrix& b, int64_t inner, Matrix* out) {
  int64_t column = 0;
  for (; column + 32 <= b.cols; column += 32) multiply_block<2>(a, b, inner, column, out);
  if (column < b.cols) multiply_block<1>(a, b, inner, column, out);
}

// A matrix [n, slots] to multiply tiles with. Few slots would leave half of a vector empty: then two
// rows lie in one, element by element in turns.
struct SlotMatrix {
  bool paired = false;
  Matrix matrix;

  void resize(int64_t rows, int slots) {
    paired = slots <= 8;
    matrix.resize(paired ? (rows + 1) / 2 : rows, paired ? 16 : slots);
  }
  float& at(int64_t row, int slot) {
    return paired ? matrix.row(row / 2)[2 * slot + row % 2] : matrix.row(row)[slot];
  }
};

// out [kRows, 8] = a [kRows, inner] b [inner, 8], b paired. The columns of a are padded with zeros.
__attribute__((noinline)) inline void multiply_pairs(const Matrix& a, const Matrix& b, int64_t inner,
                                                     Matrix* out) {
  typedef Vector<16>::type V;
  typedef double Pairs __attribute__((vector_size(64)));
  typedef int I __attribute__((vector_size(64), unused));
  V sum[kRows] = {};
  const float* left[kRows];
  for (int r = 0; r < kRows; ++r) left[r] = a.row(r);
  const float* right = b.row(0);
  for (int64_t k = 0; k < inner; k += 2, right += 16) {
    const V factor = *reinterpret_cast<const V*>(right);
    for (int r = 0; r < kRows; ++r) {
      double pair;  // two floats that are copied, never a number
      std::memcpy(&pair, left[r] + k, sizeof(pair));
      sum[r] += V(Pairs{pair, pair, pair, pair, pair, pair, pair, pair}) * factor;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    const V both = sum[r] + GF_SHUFFLE(sum[r], 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    const V first = GF_SHUFFLE(both, 0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14);
    std::memcpy(out->row(r), &first, 8 * sizeof(float));
  }
}

inline void multiply(const Matrix& a, const SlotMatrix& b, int64_t inner, Matrix* out) {
  if (b.paired) multiply_pairs(a, b.matrix, inner, out);
  else multiply(a, b.matrix, inner, out);
}

// sum [s, n] += a [kRows, s]^T b [kRows, n]
__attribute__((noinline)) inline void accumulate_outer(const Matrix& a, const Matrix& b,
                                                       int64_t slots, Matrix* sum) {
  typedef Vector<16>::type V;
  for (int64_t column = 0; column < b.cols; column += 16) {
    V right[kRows];
    for (int r = 0; r < kRows; ++r) right[r] = *reinterpret_cast<const V*>(b.row(r) + column);
    for (int64_t s = 0; s < slots; ++s) {
      V* to = reinterpret_cast<V*>(sum->row(s) + column);
      V total = *to;
      for (int r = 0; r < kRows; ++r) total += a.row(r)[s] * right[r];
      *to = total;
    }
  }
}

// Of padded rows: `size` is a multiple of 16.
inline float dot(const float* a, const float* b, float shift_of_b, int64_t size) {
  typedef Vector<16>::type V;
  V lanes = {};
  for (int64_t j = 0; j < size; j += 16)
    lanes += *reinterpret_cast<const V*>(a + j) * (*reinterpret_cast<const V*>(b + j) - shift_of_b);
  return total(lanes);
}

inline float sum(const float* a, int64_t size) {
  typedef Vector<16>::type V;
  V lanes = {};
  for (int64_t j = 0; j < size; j += 16) lanes += *reinterpret_cast<const V*>(a + j);
  return total(lanes);
}

// The state of one tile. Its steps are used by the forward and by the backward pass.
template <class T>
struct AttendTile {
  const Attend& p;
  const AttendIn<T>& in;
  int64_t sample = -1;
  Floats scale, bias, act_bias;
  Matrix keys, values;                    // [S, C], [S, V] of the sample
  SlotMatrix keys_t;                      // [C, S]
  Matrix x, probs, kept, control;  // of the tile; kept: probs * keep
  float mean[kRows], inverse_rms[kRows];

  AttendTile(const Attend& params, const AttendIn<T>& inputs) : p(params), in(inputs) {
    const int slots = p.slots();
    keys.resize(slots, p.channels);
    keys_t.resize(p.channels, slots);
    values.resize(slots, p.width());
    x.resize(kRows, p.channels);
    probs.resize(kRows, slots, slot_lanes());
    kept.resize(kRows, slots, slot_lanes());
    control.resize(kRows, p.width());
    scale.assign(x.cols, 1.0f);
    bias.assign(control.cols, 0.0f);
    act_bias.assign(x.cols, 0.0f);
    for (int64_t v = 0; v < p.width(); ++v) bias[v] = in.bias ? to_float(in.bias[v]) : 0.0f;
    for (int64_t c = 0; c < p.channels; ++c)
      act_bias[c] = in.act_bias ? to_float(in.act_bias[c]) : 0.0f;
  }

  // Whether the elements of the only head are one vector; what pads it is hidden.
  bool is_one_vector() const { return p.heads == 1 && probs.cols <= 16; }

  int slot_lanes() const { return p.slots() <= 8 ? 8 : 16; }

  void start_sample(int64_t next) {
    if (next == sample) return;
    const bool first = sample < 0;
    sample = next;
    const int slots = p.slots();
    if (in.scale)
      for (int64_t c = 0; c < p.channels; ++c)
        scale[c] = to_float(in.scale[sample * p.channels + c]);
    if (first || !p.shared_keys) {
      const T* from = in.keys + (p.shared_keys ? 0 : sample * slots * p.channels);
      for (int s = 0; s < slots; ++s)
        for (int64_t c = 0; c < p.channels; ++c)
          keys_t.at(c, s) = keys.row(s)[c] = to_float(from[s * p.channels + c]);
    }
    if (first || !p.shared_values) {
      const T* from = in.values + (p.shared_values ? 0 : sample * slots * p.width());
      for (int s = 0; s < slots; ++s)
        for (int64_t v = 0; v < p.width(); ++v)
          values.row(s)[v] = to_float(from[s * p.width() + v]);
    }
  }

  // Positions [first, first + count) of the sample.
  void forward(int64_t first, int count, T* y) {
    load_x(first, count);
    attend(first, count);
    find_norms();
    if (p.integration == kAdd) store<kAdd>(first, count, y);
    else if (p.integration == kMul) store<kMul>(first, count, y);
    else store<kBoth>(first, count, y);
  }

  void load_x(int64_t first, int count) {
    const T* from = in.x + (sample * p.positions + first) * p.channels;
    for (int r = 0; r < kRows; ++r) {
      float* to = x.row(r);
      if (r >= count) std::fill(to, to + p.channels, 0.0f);
      else
#pragma GCC ivdep
        for (int64_t c = 0; c < p.channels; ++c)
          to[c] = to_float(from[r * p.channels + c]) * scale[c];
    }
  }

  void attend(int64_t first, int count) {
    if (in.keep && count < kRows) std::fill(kept.values.begin(), kept.values.end(), 0.0f);
    multiply(x, keys_t, p.channels, &probs);
    if (in.logits) add_logits(first, count);
    softmax();
    for (int r = 0; r < count && in.keep; ++r) {
      const T* keep = in.keep + (sample * p.positions + first + r) * p.slots();
      for (int s = 0; s < p.slots(); ++s) kept.row(r)[s] = probs.row(r)[s] * to_float(keep[s]);
    }
    multiply(weights(), values, p.slots(), &control);
  }

  const Matrix& weights() const { return in.keep ? kept : probs; }

  void add_logits(int64_t first, int count) {
    for (int r = 0; r < count; ++r) {
      const int64_t batch = p.shared_logits ? 0 : sample, place = p.flat_logits ? 0 : first + r;
      const T* add = in.logits + (batch * p.logit_rows() + place) * p.slots();
      for (int s = 0; s < p.slots(); ++s) probs.row(r)[s] += to_float(add[s]);
    }
  }

  // Of all rows; the exponentials, which take most of the time, of all their values together.
  void softmax() {
    const int K = p.elements;
    for (int r = 0; r < kRows; ++r) {
      float* row = probs.row(r);
      if (is_one_vector()) {
        std::fill(row + K, row + probs.cols, kHidden);
        probs.cols == 8 ? subtract_largest<8>(row) : subtract_largest<16>(row);
        continue;
      }
      for (float* score = row; score < row + p.slots(); score += K) {
        const float top = *std::max_element(score, score + K);
        for (int k = 0; k < K; ++k) score[k] -= top;
      }
      std::fill(row + p.slots(), row + probs.cols, kHidden);
    }
    float* all = probs.row(0);
    for (int64_t j = 0; j < kRows * probs.cols; ++j) all[j] = fast_exp(all[j]);
    for (int r = 0; r < kRows; ++r) {
      float* row = probs.row(r);
      if (is_one_vector()) {
        probs.cols == 8 ? divide_by_sum<8>(row) : divide_by_sum<16>(row);
        continue;
      }
      for (float* e = row; e < row + p.slots(); e += K) {
        float total = 0;
        for (int k = 0; k < K; ++k) total += e[k];
        const float inverse = 1.0f / total;
        for (int k = 0; k < K; ++k) e[k] *= inverse;
      }
    }
  }

  // Mean and 1 / root mean square of all rows, 0 and 1 where the normalisation does without.
  void find_norms() {
    const int64_t C = p.channels;
    const bool centre = p.normalise && p.integration != kMul;
    const bool divide = p.normalise && p.integration != kAdd;
    for (int r = 0; r < kRows; ++r) mean[r] = centre ? sum(x.row(r), x.cols) / C : 0.0f;
    for (int r = 0; r < kRows; ++r) {
      const float* from = x.row(r);
      float square = 0;
      if (divide && !centre) square = dot(from, from, 0.0f, x.cols);
      else if (divide)
        for (int64_t c = 0; c < C; ++c) square += (from[c] - mean[r]) * (from[c] - mean[r]);
      inverse_rms[r] = square;
    }
    for (int r = 0; r < kRows; ++r)
      inverse_rms[r] = divide ? 1.0f / std::sqrt(inverse_rms[r] / C + kNormEpsilon) : 1.0f;
  }

  // Normalises, takes in what was gathered, and ends the layer, in one pass.
  template <int INTEGRATION>
  void store(int64_t first, int count, T* y) {
    const int64_t C = p.channels, start = sample * p.positions + first;
    const float *b = bias.data(), *b2 = b + C, *last = act_bias.data(), alpha = p.alpha, gain = p.gain;
    for (int r = 0; r < count; ++r) {
      const float *from = x.row(r), *gathered = control.row(r), *second = gathered + C;
      const float shift = mean[r], factor = inverse_rms[r];
      const float noise = in.noise ? to_float(in.noise[start + r]) : 0.0f;
      T* to = y + (start + r) * C;
#pragma GCC ivdep
      for (int64_t c = 0; c < C; ++c) {
        const float normal = (from[c] - shift) * factor, message = gathered[c] + b[c];
        float t = INTEGRATION == kAdd ? normal + message : normal * message;
        if (INTEGRATION == kBoth) t += second[c] + b2[c];
        t += last[c] + noise;
        to[c] = from_float<T>(gain * (t > 0 ? t : t * alpha));
      }
    }
  }
};

}  // namespace gansformer

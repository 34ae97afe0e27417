// A few map positions at a time through the attention, on the CPU: forward, and what the backward pass
// recomputes of it.
#pragma once

#include <cmath>

#include "attend.h"
#include "attend_matrix.h"
#include "kernels_cpu.h"

namespace gansformer {

constexpr float kHidden = -1e30f;  // score of padding: its exponential is zero

// The state of one tile. A map of 2C channels has its halves padded each.
template <class T>
struct AttendTile {
  const Attend& p;
  const AttendIn<T>& in;
  int64_t sample = -1;
  Matrix scale, bias, act_bias;  // one row each
  Matrix keys, values;           // [S, C], [S, V] of the sample
  SlotMatrix keys_t;             // [C, S]
  Tile x;
  Matrix probs, kept;            // of the tile; kept: probs * keep
  float mean[kRows], inverse_rms[kRows], noise[kRows];

  AttendTile(const Attend& params, const AttendIn<T>& inputs) : p(params), in(inputs) {
    const int slots = p.slots();
    x.resize(p.channels);
    keys.resize(slots, p.channels);
    keys_t.resize(x.columns, slots);
    values.resize(slots, width());
    probs.resize(kRows, slots, slot_lanes());
    kept.resize(kRows, slots, slot_lanes());
    scale.resize(1, p.channels);
    bias.resize(1, width());
    act_bias.resize(1, p.channels);
    std::fill_n(scale.row(0), p.channels, 1.0f);
    if (in.bias) unpack(in.bias, bias.row(0));
    if (in.act_bias) convert(in.act_bias, p.channels, act_bias.row(0));
    std::fill_n(noise, kRows, 0.0f);
  }

  int64_t width() const { return p.width() / p.channels * x.columns; }

  // Whether the elements of the only head are one vector; what pads it is hidden.
  bool is_one_vector() const { return p.heads == 1 && probs.cols <= kLanes; }

  int slot_lanes() const { return p.slots() <= 8 ? 8 : kLanes; }

  static void convert(const T* from, int64_t count, float* to) {
    for (int64_t c = 0; c < count; ++c) to[c] = to_float(from[c]);
  }

  // A row of [V], with its halves padded.
  void unpack(const T* from, float* to) const {
    for (int64_t v = 0; v < p.width(); v += p.channels, to += x.columns)
      convert(from + v, p.channels, to);
  }

  void start_sample(int64_t next) {
    if (next == sample) return;
    const bool first = sample < 0;
    sample = next;
    const int slots = p.slots();
    if (in.scale) convert(in.scale + sample * p.channels, p.channels, scale.row(0));
    if (first || !p.shared_keys) {
      const T* from = in.keys + (p.shared_keys ? 0 : sample * slots * p.channels);
      for (int s = 0; s < slots; ++s) convert(from + s * p.channels, p.channels, keys.row(s));
      transpose(keys, &keys_t);
    }
    if (first || !p.shared_values) {
      const T* from = in.values + (p.shared_values ? 0 : sample * slots * p.width());
      for (int s = 0; s < slots; ++s) unpack(from + s * p.width(), values.row(s));
    }
  }

  // Calls f(integration, STRIDE of the weights), numbers that the compiler knows.
  template <class F>
  void with_integration(F f) const {
    with_stride(probs, [&](auto stride) {
      if (p.integration == kAdd) f(std::integral_constant<int, kAdd>(), stride);
      else if (p.integration == kMul) f(std::integral_constant<int, kMul>(), stride);
      else f(std::integral_constant<int, kBoth>(), stride);
    });
  }

  // Positions [first, first + count) of the sample.
  void forward(int64_t first, int count, T* y) {
    with_integration([&](auto integration, auto stride) {
      read<integration()>(first, count);
      attend(first, count);
      finish<integration(), stride()>(first, count, y);
    });
  }

  // x of all rows, and what it is normalised by: mean and 1 / root mean square, 0 and 1 where the
  // normalisation does without. Rows beyond `count` repeat the last one.
  template <int INTEGRATION>
  void read(int64_t first, int count) {
    const int64_t C = p.channels, start = sample * p.positions + first;
    const T* from[kRows];
    for (int r = 0; r < kRows; ++r) from[r] = in.x + (start + std::min(r, count - 1)) * C;
    V sums[kRows] = {};  // kMul: of squares
    for (int64_t c = 0; c < C; c += kLanes) {
      const int64_t lanes = std::min<int64_t>(kLanes, C - c);
      const V factor = load(scale.row(0) + c);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const V v = load_lanes(from[r] + c, lanes) * factor;
        __builtin_prefetch(from[r] + kAhead * C + c);
        x.set(c, r, v);
        sums[r] += INTEGRATION == kMul ? v * v : v;
      }
    }
    std::fill_n(mean, kRows, 0.0f);
    std::fill_n(inverse_rms, kRows, 1.0f);
    const float share = 1.0f / C;
    if (p.normalise) {
      float* const found = INTEGRATION == kMul ? inverse_rms : mean;
      totals(sums, found);
      for (int r = 0; r < kRows; ++r) found[r] *= share;
      for (int r = 0; r < kRows && INTEGRATION == kBoth; ++r)
        inverse_rms[r] = square_around(mean[r], r) * share;
      for (int r = 0; r < kRows && INTEGRATION != kAdd; ++r)
        inverse_rms[r] = 1.0f / std::sqrt(inverse_rms[r] + kNormEpsilon);
    }
    for (int r = 0; r < count && in.noise; ++r) noise[r] = to_float(in.noise[start + r]);
  }

  float square_around(float centre, int row) const {
    V squares = {};
    for (int64_t c = 0; c < p.channels; c += kLanes) {
      const V v = x.at(c, row) - centre;
      const int64_t lanes = std::min<int64_t>(kLanes, p.channels - c);
      squares += load_lanes(reinterpret_cast<const float*>(&v), lanes) * v;
    }
    return total(squares);
  }

  void attend(int64_t first, int count) {
    if (in.keep && count < kRows) kept.clear();
    multiply(x, keys_t, &probs);
    if (in.logits) add_logits(first, count);
    softmax();
    for (int r = 0; r < count && in.keep; ++r) {
      const T* keep = in.keep + (sample * p.positions + first + r) * p.slots();
      for (int s = 0; s < p.slots(); ++s) kept.row(r)[s] = probs.row(r)[s] * to_float(keep[s]);
    }
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
    const int K = p.elements, S = p.slots();
    float* const all = probs.row(0);
    const int64_t size = kRows * probs.cols;
    for (int r = 0; r < kRows; ++r) std::fill(probs.row(r) + S, probs.row(r) + probs.cols, kHidden);
    if (is_one_vector()) {
      for (int64_t j = 0; j < size; j += kLanes) {
        const V v = load(all + j);
        store(all + j, v - in_rows(v, Larger()));
      }
    } else {
      each_head([&](float* score) {
        const float top = *std::max_element(score, score + K);
        for (int k = 0; k < K; ++k) score[k] -= top;
      });
    }
    for (int64_t j = 0; j < size; ++j) all[j] = fast_exp(all[j]);
    if (is_one_vector()) {
      for (int64_t j = 0; j < size; j += kLanes) {
        const V v = load(all + j);
        store(all + j, v / in_rows(v, Plus()));
      }
    } else {
      each_head([&](float* e) {
        float total = 0;
        for (int k = 0; k < K; ++k) total += e[k];
        const float inverse = 1.0f / total;
        for (int k = 0; k < K; ++k) e[k] *= inverse;
      });
    }
  }

  // Combines the lanes of each row: a vector holds one row, or two.
  template <class F>
  V in_rows(V v, F f) const { return probs.cols == 8 ? across<8>(v, f) : across<16>(v, f); }

  template <class F>
  void each_head(F f) {
    for (int r = 0; r < kRows; ++r)
      for (int s = 0; s < p.slots(); s += p.elements) f(probs.row(r) + s);
  }

  // kLanes channels of all rows: what is gathered, and with x, normalised, the argument of the activation.
  template <int INTEGRATION, int STRIDE>
  struct Column {
    const AttendTile& tile;
    const int64_t c;
    V message[kRows], second[kRows];  // second: kBoth
    V bias, last;

    Column(const AttendTile& tile, int64_t c) : tile(tile), c(c) {
      const int64_t half = tile.x.columns;
      product_column<STRIDE>(tile.weights(), tile.values, c, message);
      if (INTEGRATION == kBoth) product_column<STRIDE>(tile.weights(), tile.values, half + c, second);
      bias = load(tile.bias.row(0) + c);
      last = load(tile.act_bias.row(0) + c);
      if (INTEGRATION == kBoth) last += load(tile.bias.row(0) + half + c);
    }

    V normal(int r) const {
      const V centred = INTEGRATION == kMul ? tile.x.at(c, r) : tile.x.at(c, r) - tile.mean[r];
      return INTEGRATION == kAdd ? centred : centred * tile.inverse_rms[r];
    }
    V argument(int r, V normal, V gathered) const {
      const V rest = last + tile.noise[r];
      if (INTEGRATION == kAdd) return normal + gathered + rest;
      return normal * gathered + (INTEGRATION == kBoth ? second[r] + rest : rest);
    }
  };

  template <int INTEGRATION, int STRIDE>
  void finish(int64_t first, int count, T* y) const {
    const int64_t C = p.channels;
    const V positive = V{} + p.gain, negative = V{} + p.gain * p.alpha;
    T* const to = y + (sample * p.positions + first) * C;
    for (int64_t c = 0; c < C; c += kLanes) {
      const int64_t lanes = std::min<int64_t>(kLanes, C - c);
      const Column<INTEGRATION, STRIDE> column(*this, c);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const V t = column.argument(r, column.normal(r), column.message[r] + column.bias);
        __builtin_prefetch(to + (kAhead + r) * C + c, 1);
        if (r < count) store_lanes(to + r * C + c, t * (t > 0 ? positive : negative), lanes);
      }
    }
  }
};

}  // namespace gansformer

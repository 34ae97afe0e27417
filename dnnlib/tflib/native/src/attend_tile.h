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
struct AttendTile {
  const Attend& p;
  const AttendIn<float>& in;
  int64_t sample = -1;
  Matrix scale, bias, act_bias;  // one row each
  Matrix keys, values;           // [slots, C], [slots, width] of the sample
  SlotMatrix keys_t;             // [C, slots]
  Tile x;
  Matrix probs, kept;            // of the tile; kept: probs * keep
  float mean[kTileRows], inverse_rms[kTileRows], noise[kTileRows];

  AttendTile(const Attend& params, const AttendIn<float>& inputs) : p(params), in(inputs) {
    const int slots = p.slots();
    x.resize(p.channels);
    keys.resize(slots, p.channels);
    keys_t.resize(x.columns, slots);
    values.resize(slots, width());
    probs.resize(kTileRows, slots, slot_lanes());
    kept.resize(kTileRows, slots, slot_lanes());
    scale.resize(1, p.channels);
    bias.resize(1, width());
    act_bias.resize(1, p.channels);
    std::fill_n(scale.row(0), p.channels, 1.0f);
    if (in.bias) unpack(in.bias, bias.row(0));
    if (in.act_bias) std::copy_n(in.act_bias, p.channels, act_bias.row(0));
    std::fill_n(noise, kTileRows, 0.0f);
  }

  int64_t width() const { return p.width() / p.channels * x.columns; }

  // Whether the slots of the only head are one vector; what pads it is hidden.
  bool is_one_vector() const { return p.heads == 1 && probs.cols <= kLanes; }

  int slot_lanes() const { return p.slots() <= 8 ? 8 : kLanes; }

  // A row of control, with its halves padded.
  void unpack(const float* from, float* to) const {
    for (int64_t v = 0; v < p.width(); v += p.channels, to += x.columns)
      std::copy_n(from + v, p.channels, to);
  }

  void start_sample(int64_t next) {
    if (next == sample) return;
    const bool first = sample < 0;
    sample = next;
    const int slots = p.slots();
    if (in.scale) std::copy_n(in.scale + sample * p.channels, p.channels, scale.row(0));
    if (first || !p.shared_keys) {
      const float* from = in.keys + (p.shared_keys ? 0 : sample * slots * p.channels);
      for (int s = 0; s < slots; ++s) std::copy_n(from + s * p.channels, p.channels, keys.row(s));
      transpose(keys, &keys_t);
    }
    if (first || !p.shared_values) {
      const float* from = in.values + (p.shared_values ? 0 : sample * slots * p.width());
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
  void forward(int64_t first, int count, float* y) {
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
    const float* from[kTileRows];
    for (int r = 0; r < kTileRows; ++r) from[r] = in.x + (start + std::min(r, count - 1)) * C;
    Vector sums[kTileRows] = {};  // kMul: of squares
    for (int64_t c = 0; c < C; c += kLanes) {
      const int64_t lanes = std::min<int64_t>(kLanes, C - c);
      const Vector factor = load(scale.row(0) + c);
#pragma GCC unroll 8
      for (int r = 0; r < kTileRows; ++r) {
        const Vector v = load_some(from[r] + c, lanes) * factor;
        __builtin_prefetch(from[r] + kAhead * C + c);
        x.set(c, r, v);
        sums[r] += INTEGRATION == kMul ? v * v : v;
      }
    }
    std::fill_n(mean, kTileRows, 0.0f);
    std::fill_n(inverse_rms, kTileRows, 1.0f);
    const float share = 1.0f / C;
    if (p.normalise) {
      float* const found = INTEGRATION == kMul ? inverse_rms : mean;
      totals(sums, found);
      for (int r = 0; r < kTileRows; ++r) found[r] *= share;
      for (int r = 0; r < kTileRows && INTEGRATION == kBoth; ++r)
        inverse_rms[r] = square_around(mean[r], r) * share;
      for (int r = 0; r < kTileRows && INTEGRATION != kAdd; ++r)
        inverse_rms[r] = 1.0f / std::sqrt(inverse_rms[r] + kNormEpsilon);
    }
    for (int r = 0; r < count && in.noise; ++r) noise[r] = in.noise[start + r];
  }

  float square_around(float centre, int row) const {
    Vector squares = {};
    for (int64_t c = 0; c < p.channels; c += kLanes) {
      const Vector v = x.at(c, row) - centre;
      const int64_t lanes = std::min<int64_t>(kLanes, p.channels - c);
      squares += load_some(reinterpret_cast<const float*>(&v), lanes) * v;
    }
    return total(squares);
  }

  void attend(int64_t first, int count) {
    if (in.keep && count < kTileRows) kept.clear();
    tile_product(x, keys_t, &probs);
    if (in.logits) add_logits(first, count);
    softmax();
    for (int r = 0; r < count && in.keep; ++r) {
      const float* keep = in.keep + (sample * p.positions + first + r) * p.slots();
      for (int s = 0; s < p.slots(); ++s) kept.row(r)[s] = probs.row(r)[s] * keep[s];
    }
  }

  const Matrix& weights() const { return in.keep ? kept : probs; }

  void add_logits(int64_t first, int count) {
    for (int r = 0; r < count; ++r) {
      const int64_t batch = p.shared_logits ? 0 : sample, place = p.flat_logits ? 0 : first + r;
      const float* add = in.logits + (batch * p.logit_rows() + place) * p.slots();
      for (int s = 0; s < p.slots(); ++s) probs.row(r)[s] += add[s];
    }
  }

  // Of all rows; the exponentials, which take most of the time, of all their values together.
  void softmax() {
    const int K = p.head_slots, S = p.slots();
    float* const all = probs.row(0);
    const int64_t size = kTileRows * probs.cols;
    for (int r = 0; r < kTileRows; ++r) std::fill(probs.row(r) + S, probs.row(r) + probs.cols, kHidden);
    if (is_one_vector()) {
      for (int64_t j = 0; j < size; j += kLanes) {
        const Vector v = load(all + j);
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
        const Vector v = load(all + j);
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
  Vector in_rows(Vector v, F f) const { return probs.cols == 8 ? across<8>(v, f) : across<16>(v, f); }

  template <class F>
  void each_head(F f) {
    for (int r = 0; r < kTileRows; ++r)
      for (int s = 0; s < p.slots(); s += p.head_slots) f(probs.row(r) + s);
  }

  // kLanes channels of all rows: what is gathered, and with x, normalised, the argument of the activation.
  template <int INTEGRATION, int STRIDE>
  struct Column {
    const AttendTile& tile;
    const int64_t c;
    Vector message[kTileRows], second[kTileRows];  // second: kBoth
    Vector bias, last;

    Column(const AttendTile& tile, int64_t c) : tile(tile), c(c) {
      const int64_t half = tile.x.columns;
      slots_product<STRIDE>(tile.weights(), tile.values, c, message);
      if (INTEGRATION == kBoth) slots_product<STRIDE>(tile.weights(), tile.values, half + c, second);
      bias = load(tile.bias.row(0) + c);
      last = load(tile.act_bias.row(0) + c);
      if (INTEGRATION == kBoth) last += load(tile.bias.row(0) + half + c);
    }

    Vector normal(int r) const {
      const Vector centred = INTEGRATION == kMul ? tile.x.at(c, r) : tile.x.at(c, r) - tile.mean[r];
      return INTEGRATION == kAdd ? centred : centred * tile.inverse_rms[r];
    }
    Vector argument(int r, Vector normal, Vector gathered) const {
      const Vector rest = last + tile.noise[r];
      if (INTEGRATION == kAdd) return normal + gathered + rest;
      return normal * gathered + (INTEGRATION == kBoth ? second[r] + rest : rest);
    }
  };

  template <int INTEGRATION, int STRIDE>
  void finish(int64_t first, int count, float* y) const {
    const int64_t C = p.channels;
    const Vector positive = Vector{} + p.gain, negative = Vector{} + p.gain * p.alpha;
    float* const to = y + (sample * p.positions + first) * C;
    for (int64_t c = 0; c < C; c += kLanes) {
      const int64_t lanes = std::min<int64_t>(kLanes, C - c);
      const Column<INTEGRATION, STRIDE> column(*this, c);
#pragma GCC unroll 8
      for (int r = 0; r < kTileRows; ++r) {
        const Vector t = column.argument(r, column.normal(r), column.message[r] + column.bias);
        __builtin_prefetch(to + (kAhead + r) * C + c, 1);
        if (r < count) store_some(to + r * C + c, t * (t > 0 ? positive : negative), lanes);
      }
    }
  }
};

}  // namespace gansformer

// Attention of map positions to latents with what surrounds it, CPU, backward: recomputes the tile and
// keeps nothing but x from the forward pass. (To read y would cost more than its sign does.)
#include "attend_tile.h"

namespace gansformer {
namespace {

struct GradTile {
  const Attend& p;
  const AttendIn<float>& in;
  const AttendGrad<float>& grad;
  AttendTile tile;
  SlotMatrix values_t;                                       // [width, slots]
  Tile dcontrol, dnormal;                                    // of the tile
  Matrix dprobs;                                             // of the tile
  float along[kTileRows], shift[kTileRows];                          // what comes through the normalisation
  Matrix dkeys, dvalues, dbias, dact_bias, dscale, dlogits;  // sums over the positions

  GradTile(const Attend& params, const AttendIn<float>& inputs, const AttendGrad<float>& gradients)
      : p(params), in(inputs), grad(gradients), tile(params, inputs) {
    dnormal.resize(p.channels);
    dcontrol.resize(tile.width());
    values_t.resize(tile.width(), p.slots());
    dprobs.resize(kTileRows, p.slots(), tile.slot_lanes());
    dkeys.resize(p.slots(), p.channels);
    dvalues.resize(p.slots(), tile.width());
    dbias.resize(1, tile.width());
    dact_bias.resize(1, p.channels);
    dscale.resize(1, p.channels);
    dlogits.resize(1, p.slots());
  }

  void start(int64_t sample) {
    for (Matrix* sum : {&dkeys, &dvalues, &dbias, &dact_bias, &dscale, &dlogits}) sum->clear();
    if (sample == tile.sample) return;
    tile.start_sample(sample);
    transpose(tile.values, &values_t);
  }

  void run(int64_t first, int count) {
    tile.with_integration([&](auto integration, auto stride) {
      tile.read<integration()>(first, count);
      tile.attend(first, count);
      enter<integration(), stride()>(first, count);
      tile_product(dcontrol, values_t, &dprobs);
      softmax_grad(first, count);
      leave<stride()>(first, count);
    });
  }

  // From dy to dcontrol, dnormal, and the sums that need no more, in one pass.
  template <int INTEGRATION, int STRIDE>
  void enter(int64_t first, int count) {
    const int64_t start = tile.sample * p.positions + first, C = p.channels, half = tile.x.columns;
    const float* dy[kTileRows];
    float positive[kTileRows], negative[kTileRows];  // slopes; zero for rows beyond `count`
    for (int r = 0; r < kTileRows; ++r) {
      dy[r] = grad.dy + (start + std::min(r, count - 1)) * C;
      positive[r] = r < count ? p.gain : 0.0f;
      negative[r] = positive[r] * p.alpha;
    }
    Vector noises[kTileRows] = {}, products[kTileRows] = {}, sums[kTileRows] = {};
    for (int64_t c = 0; c < C; c += kLanes) {
      const int64_t lanes = std::min<int64_t>(kLanes, C - c);
      const AttendTile::Column<INTEGRATION, STRIDE> column(tile, c);
      Vector g[kTileRows], d[kTileRows], total = {}, total_d = {};
#pragma GCC unroll 8
      for (int r = 0; r < kTileRows; ++r) {
        const Vector normal = column.normal(r), message = column.message[r] + column.bias;
        const Vector slope =
            column.argument(r, normal, message) > 0 ? Vector{} + positive[r] : Vector{} + negative[r];
        g[r] = load_some(dy[r] + c, lanes) * slope;
        __builtin_prefetch(dy[r] + kAhead * C + c);
        d[r] = INTEGRATION == kAdd ? g[r] : g[r] * normal;
        const Vector dn = INTEGRATION == kAdd ? g[r] : g[r] * message;
        total += g[r];
        total_d += d[r];
        noises[r] += g[r];
        if (INTEGRATION == kBoth) sums[r] += dn;
        if (INTEGRATION != kAdd) products[r] += dn * normal;
        dnormal.set(c, r, dn);
        dcontrol.set(c, r, d[r]);
        if (INTEGRATION == kBoth) dcontrol.set(half + c, r, g[r]);
      }
      add_to(&dact_bias, c, total);
      add_to(&dbias, c, total_d);
      add_outer_product<STRIDE>(tile.weights(), d, c, &dvalues);
      if (INTEGRATION == kBoth) {
        add_to(&dbias, half + c, total);
        add_outer_product<STRIDE>(tile.weights(), g, half + c, &dvalues);
      }
    }
    float dnoise[kTileRows];
    totals(noises, dnoise);
    for (int r = 0; r < count && in.noise; ++r)
      grad.dnoise[start + r] = dnoise[r];
    std::fill_n(along, kTileRows, 0.0f);
    std::fill_n(shift, kTileRows, 0.0f);
    if (p.normalise && INTEGRATION != kAdd) totals(products, along);
    if (p.normalise && INTEGRATION == kAdd) std::copy_n(dnoise, kTileRows, shift);
    if (p.normalise && INTEGRATION == kBoth) totals(sums, shift);
    for (float* of_rows : {along, shift})
      for (int r = 0; r < kTileRows; ++r) of_rows[r] *= 1.0f / C;
  }

  // dprobs => derivatives of the scores, in place.
  void softmax_grad(int64_t first, int count) {
    const int K = p.head_slots, S = p.slots();
    const int64_t place = (tile.sample * p.positions + first) * S;
    for (int r = 0; r < count && in.keep; ++r) {
      const float* probs = tile.probs.row(r);
      float* d = dprobs.row(r);
      for (int s = 0; s < S; ++s) {
        grad.dkeep[place + r * S + s] = d[s] * probs[s];
        d[s] *= in.keep[place + r * S + s];
      }
    }
    if (tile.is_one_vector()) {
      for (int64_t j = 0; j < kTileRows * dprobs.cols; j += kLanes) {
        const Vector e = load(tile.probs.row(0) + j), d = load(dprobs.row(0) + j);
        store(dprobs.row(0) + j, e * (d - tile.in_rows(e * d, Plus())));
      }
    } else {
      for (int r = 0; r < kTileRows; ++r)
        for (int m = 0; m < S; m += K) {
          const float* probs = tile.probs.row(r);
          float mean = 0, *d = dprobs.row(r);
          for (int k = m; k < m + K; ++k) mean += probs[k] * d[k];
          for (int k = m; k < m + K; ++k) d[k] = probs[k] * (d[k] - mean);
        }
    }
    for (int r = 0; r < count && in.logits; ++r) {
      const float* d = dprobs.row(r);
      float* total = dlogits.row(0);
      if (p.flat_logits)
        for (int s = 0; s < S; ++s) total[s] += d[s];
      else
        std::copy(d, d + S, grad.dlogits + place + r * S);
    }
  }

  // From the scores and the normalisation to dx, and the sums over x.
  template <int STRIDE>
  void leave(int64_t first, int count) {
    const int64_t C = p.channels, place = (tile.sample * p.positions + first) * C;
    const float* const unscaled = in.x + place;
    float* const to = grad.dx + place;
    for (int64_t c = 0; c < C; c += kLanes) {
      const int64_t lanes = std::min<int64_t>(kLanes, C - c);
      const Vector scale = load(tile.scale.row(0) + c);
      Vector dx[kTileRows], x[kTileRows], total = {};
      slots_product<STRIDE>(dprobs, tile.keys, c, dx);
#pragma GCC unroll 8
      for (int r = 0; r < kTileRows; ++r) {
        x[r] = tile.x.at(c, r);
        const Vector normal = (x[r] - tile.mean[r]) * tile.inverse_rms[r];
        dx[r] += tile.inverse_rms[r] * (dnormal.at(c, r) - normal * along[r] - shift[r]);
        __builtin_prefetch(to + (kAhead + r) * C + c, 1);
        if (r >= count) continue;
        store_some(to + r * C + c, dx[r] * scale, lanes);
        if (in.scale) total += dx[r] * load_some(unscaled + r * C + c, lanes);
      }
      if (in.scale) add_to(&dscale, c, total);
      add_outer_product<STRIDE>(dprobs, x, c, &dkeys);
    }
  }

  // The sums one after the other, without padding.
  void store_sums(float* to) const {
    const auto add = [&](const Matrix& m, int64_t size) {
      for (int64_t r = 0; r < m.rows; ++r)
        for (int64_t half = 0; half < m.cols; half += padded(size, kLanes))
          to = std::copy_n(m.row(r) + half, size, to);
    };
    for (const Matrix* m : {&dkeys, &dvalues, &dbias, &dact_bias, &dscale}) add(*m, p.channels);
    add(dlogits, p.slots());
  }
};

}  // namespace

void attend_grad_cpu(const Attend& p, const AttendIn<float>& in, const AttendGrad<float>& grad,
                     int64_t block, int64_t begin, int64_t end, float* sums) {
  GradTile tile(p, in, grad);
  const int64_t blocks = (p.positions + block - 1) / block;
  for (int64_t index = begin; index < end; ++index) {
    const int64_t first = index % blocks * block, last = std::min(first + block, p.positions);
    tile.start(index / blocks);
    for (int64_t position = first; position < last; position += kTileRows)
      tile.run(position, int(std::min<int64_t>(kTileRows, last - position)));
    tile.store_sums(sums + index * p.sums_size());
  }
}

}  // namespace gansformer

// Attention of map positions to latents with what surrounds it, CPU, backward: recomputes the tile and
// keeps nothing but x from the forward pass. (To read y would cost more than its sign does.)
#include "attend_tile.h"

namespace gansformer {
namespace {

template <class T>
struct GradTile {
  const Attend& p;
  const AttendIn<T>& in;
  const AttendGrad<T>& grad;
  AttendTile<T> tile;
  SlotMatrix values_t;                                       // [V, S]
  Matrix dcontrol, dnormal, dprobs, dx;                      // of the tile
  Matrix dout;                                               // of one of its rows
  Matrix dkeys, dvalues, dbias, dact_bias, dscale, dlogits;  // sums over the positions

  GradTile(const Attend& params, const AttendIn<T>& inputs, const AttendGrad<T>& gradients)
      : p(params), in(inputs), grad(gradients), tile(params, inputs) {
    for (Matrix* m : {&dnormal, &dx}) m->resize(kRows, p.channels);
    dout.resize(1, p.channels);
    dcontrol.resize(kRows, p.width());
    dprobs.resize(kRows, p.slots(), tile.slot_lanes());
    dkeys.resize(p.slots(), p.channels);
    dvalues.resize(p.slots(), p.width());
    dbias.resize(1, p.width());
    dact_bias.resize(1, p.channels);
    dscale.resize(1, p.channels);
    dlogits.resize(1, p.slots());
  }

  void start_sample(int64_t sample) {
    tile.start_sample(sample);
    values_t.resize(p.width(), p.slots());
    for (int s = 0; s < p.slots(); ++s)
      for (int64_t v = 0; v < p.width(); ++v) values_t.at(v, s) = tile.values.row(s)[v];
  }

  void run(int64_t first, int count) {
    tile.load_x(first, count);
    tile.attend(first, count);
    tile.find_norms();
    if (p.integration == kAdd) enter<kAdd>(first, count);
    else if (p.integration == kMul) enter<kMul>(first, count);
    else enter<kBoth>(first, count);
    accumulate_outer(tile.weights(), dcontrol, p.slots(), &dvalues);
    multiply(dcontrol, values_t, p.width(), &dprobs);
    softmax_grad(first, count);
    accumulate_outer(dprobs, tile.x, p.slots(), &dkeys);
    multiply(dprobs, tile.keys, p.slots(), &dx);
    store_dx(first, count);
  }

  // From dy to dcontrol, dnormal, and the sums that need no more, in one pass.
  template <int INTEGRATION>
  void enter(int64_t first, int count) {
    const int64_t start = tile.sample * p.positions + first, C = p.channels;
    const float positive = p.gain, negative = p.gain * p.alpha;
    const float *b = tile.bias.data(), *b2 = b + C, *last = tile.act_bias.data();
    float *total = dact_bias.row(0), *d = dout.row(0);
    for (int r = 0; r < kRows; ++r) {
      float *dc = dcontrol.row(r), *dn = dnormal.row(r);
      if (r >= count) {
        std::fill(dc, dc + p.width(), 0.0f);
        std::fill(dn, dn + C, 0.0f);
        continue;
      }
      const T* dy = grad.dy + (start + r) * C;
      const float *x = tile.x.row(r), *control = tile.control.row(r), *second = control + C;
      const float noise = in.noise ? to_float(in.noise[start + r]) : 0.0f;
      const float shift = tile.mean[r], factor = tile.inverse_rms[r];
#pragma GCC ivdep
      for (int64_t c = 0; c < C; ++c) {
        const float normal = (x[c] - shift) * factor, message = control[c] + b[c];
        float t = INTEGRATION == kAdd ? normal + message : normal * message;  // as in store()
        if (INTEGRATION == kBoth) t += second[c] + b2[c];
        t += last[c] + noise;
        const float g = to_float(dy[c]) * (t > 0 ? positive : negative);
        d[c] = g;
        total[c] += g;
        dc[c] = INTEGRATION == kAdd ? g : g * normal;
        dn[c] = INTEGRATION == kAdd ? g : g * message;
      }
      if (INTEGRATION == kBoth) std::copy(d, d + C, dc + C);
      if (in.noise) grad.dnoise[start + r] = from_float<T>(sum(d, dout.cols));
      for (int64_t v = 0; v < p.width() && in.bias; ++v) dbias.row(0)[v] += dc[v];
    }
  }

  // dprobs => derivatives of the scores, in place.
  void softmax_grad(int64_t first, int count) {
    const int K = p.elements, S = p.slots();
    const int64_t place = (tile.sample * p.positions + first) * S;
    for (int r = 0; r < count && in.keep; ++r) {
      const float* probs = tile.probs.row(r);
      float* d = dprobs.row(r);
      for (int s = 0; s < S; ++s) {
        grad.dkeep[place + r * S + s] = from_float<T>(d[s] * probs[s]);
        d[s] *= to_float(in.keep[place + r * S + s]);
      }
    }
    for (int r = 0; r < count; ++r) {
      const float* probs = tile.probs.row(r);
      float* d = dprobs.row(r);
      if (tile.is_one_vector()) {
        dprobs.cols == 8 ? through_softmax<8>(probs, d) : through_softmax<16>(probs, d);
        continue;
      }
      for (int m = 0; m < S; m += K) {
        float mean = 0;
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

  template <int LANES>
  static void through_softmax(const float* probs, float* d) {
    typedef typename Vector<LANES>::type V;
    const V& e = *reinterpret_cast<const V*>(probs);
    V& v = *reinterpret_cast<V*>(d);
    v = e * (v - across(V(e * v), Plus()));
  }

  // Adds what comes through the normalisation to dx, scales and stores it.
  void store_dx(int64_t first, int count) {
    const int64_t C = p.channels;
    const bool centre = p.normalise && p.integration != kMul;
    const bool divide = p.normalise && p.integration != kAdd;
    float along[kRows], shift[kRows];  // share of the normalised row itself, and of a constant
    for (int r = 0; r < kRows; ++r) {
      const float *d = dnormal.row(r), *x = tile.x.row(r), inverse = tile.inverse_rms[r];
      along[r] = divide ? dot(d, x, tile.mean[r], dnormal.cols) * inverse / C : 0.0f;
      shift[r] = centre ? sum(d, dnormal.cols) / C : 0.0f;
    }
    for (int r = 0; r < count; ++r) {
      const int64_t place = (tile.sample * p.positions + first + r) * C;
      const float *d = dnormal.row(r), *x = tile.x.row(r), *s = tile.scale.data();
      const float *through_scores = dx.row(r), inverse = tile.inverse_rms[r], mean = tile.mean[r];
      const float share = along[r] * inverse, constant = shift[r];
      const T* unscaled = in.x + place;
      T* to = grad.dx + place;
      float* total = dscale.row(0);
      const auto at = [&](int64_t c) {
        return through_scores[c] + inverse * (d[c] - (x[c] - mean) * share - constant);
      };
      if (in.scale) {
#pragma GCC ivdep
        for (int64_t c = 0; c < C; ++c) {
          const float sum = at(c);
          to[c] = from_float<T>(sum * s[c]);
          total[c] += sum * to_float(unscaled[c]);
        }
      } else {
#pragma GCC ivdep
        for (int64_t c = 0; c < C; ++c) to[c] = from_float<T>(at(c));
      }
    }
  }

  // The sums one after the other, without padding.
  void store_sums(float* to) const {
    for (const Matrix* m : {&dkeys, &dvalues, &dbias, &dact_bias, &dscale, &dlogits}) {
      const int64_t width = m == &dvalues || m == &dbias ? p.width()
                            : m == &dlogits              ? p.slots()
                                                         : p.channels;
      for (int64_t r = 0; r < m->rows; ++r) to = std::copy(m->row(r), m->row(r) + width, to);
    }
  }
};

}  // namespace

template <class T>
void attend_grad_cpu(const Attend& p, const AttendIn<T>& in, const AttendGrad<T>& grad,
                     int64_t begin, int64_t end, float* sums) {
  GradTile<T> tile(p, in, grad);
  tile.start_sample(begin / p.positions);
  const int64_t first = begin % p.positions, last = first + end - begin;
  for (int64_t position = first; position < last; position += kRows)
    tile.run(position, int(std::min<int64_t>(kRows, last - position)));
  tile.store_sums(sums);
}

#define GF_INSTANTIATE(T)                                                                        \
  template void attend_grad_cpu(const Attend&, const AttendIn<T>&, const AttendGrad<T>&, int64_t, \
                                int64_t, float*);
GF_INSTANTIATE(float)
GF_INSTANTIATE(Half)
GF_INSTANTIATE(BFloat16)

}  // namespace gansformer

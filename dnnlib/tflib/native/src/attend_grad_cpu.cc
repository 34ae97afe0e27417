// Attention of map positions to latents with what surrounds it, CPU, backward: recomputes the tile and
// keeps nothing but x and y from the forward pass.
#include "attend_tile.h"

namespace gansformer {
namespace {

template <class T>
struct GradTile {
  const Attend& p;
  const AttendIn<T>& in;
  const AttendGrad<T>& grad;
  AttendTile<T> tile;
  Matrix values_t;                                           // [V, S]
  Matrix dout, dcontrol, dnormal, dprobs, dx;                // of the tile
  Matrix dkeys, dvalues, dbias, dact_bias, dscale, dlogits;  // sums over the positions

  GradTile(const Attend& params, const AttendIn<T>& inputs, const AttendGrad<T>& gradients)
      : p(params), in(inputs), grad(gradients), tile(params, inputs) {
    for (Matrix* m : {&dout, &dnormal, &dx}) m->resize(kRows, p.channels);
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
    values_t.resize(p.width(), p.slots(), tile.slot_lanes());
    for (int s = 0; s < p.slots(); ++s)
      for (int64_t v = 0; v < p.width(); ++v) values_t.row(v)[s] = tile.values.row(s)[v];
  }

  void run(int64_t first, int count) {
    tile.load_x(first, count);
    tile.attend(first, count);
    tile.normalise_rows(count);
    load_dout(first, count);
    split_dout();
    accumulate_outer(tile.weights(), dcontrol, p.slots(), &dvalues);
    multiply(dcontrol, values_t, p.width(), &dprobs);
    for (int r = 0; r < count; ++r) softmax_grad(first + r, tile.probs.row(r), dprobs.row(r));
    accumulate_outer(dprobs, tile.x, p.slots(), &dkeys);
    multiply(dprobs, tile.keys, p.slots(), &dx);
    store_dx(first, count);
  }

  void load_dout(int64_t first, int count) {
    const int64_t start = tile.sample * p.positions + first, C = p.channels;
    const float positive = p.gain, negative = p.gain * p.alpha;
    float* __restrict total = dact_bias.row(0);
    for (int r = 0; r < kRows; ++r) {
      float* __restrict to = dout.row(r);
      if (r >= count) {
        std::fill(to, to + C, 0.0f);
        continue;
      }
      const T *dy = grad.dy + (start + r) * C, *y = grad.y + (start + r) * C;
#pragma GCC ivdep
      for (int64_t c = 0; c < C; ++c) {
        to[c] = to_float(dy[c]) * (to_float(y[c]) > 0 ? positive : negative);
        total[c] += to[c];
      }
      if (in.noise) grad.dnoise[start + r] = from_float<T>(sum(to, dout.cols));
    }
  }

  // dout => dcontrol, dnormal, and the sum of dnormal * normal. Rows beyond count of `normal` and
  // `control` hold what an earlier tile has left there, finite numbers; dout is zero there.
  void split_dout() {
    const int64_t C = p.channels;
    for (int r = 0; r < kRows; ++r) {
      const float *d = dout.row(r), *n = tile.normal.row(r), *control = tile.control.row(r);
      const float* b = tile.bias.data();
      float *__restrict dc = dcontrol.row(r), *__restrict dn = dnormal.row(r);
      if (p.integration == kAdd) {
#pragma GCC ivdep
        for (int64_t c = 0; c < C; ++c) dc[c] = dn[c] = d[c];
      } else {
#pragma GCC ivdep
        for (int64_t c = 0; c < C; ++c) {
          dc[c] = d[c] * n[c];
          dn[c] = d[c] * (control[c] + b[c]);
        }
      }
      if (p.integration == kBoth) std::copy(d, d + C, dc + C);
      if (!in.bias) continue;
      float* __restrict total = dbias.row(0);
      for (int64_t v = 0; v < p.width(); ++v) total[v] += dc[v];
    }
  }

  void softmax_grad(int64_t position, const float* probs, float* d) {
    const int K = p.elements, S = p.slots();
    const int64_t place = tile.sample * p.positions + position;
    if (in.keep) {
      const T* keep = in.keep + place * S;
      for (int s = 0; s < S; ++s) grad.dkeep[place * S + s] = from_float<T>(d[s] * probs[s]);
      for (int s = 0; s < S; ++s) d[s] *= to_float(keep[s]);
    }
    for (int m = 0; m < p.heads; ++m) {
      const float* e = probs + m * K;
      float* row = d + m * K;
      float mean = 0;
      for (int k = 0; k < K; ++k) mean += e[k] * row[k];
      for (int k = 0; k < K; ++k) row[k] = e[k] * (row[k] - mean);
    }
    if (!in.logits) return;
    float* total = dlogits.row(0);
    if (p.flat_logits)
      for (int s = 0; s < S; ++s) total[s] += d[s];
    else
      std::copy(d, d + S, grad.dlogits + place * S);
  }

  // Adds what comes through the normalisation to dx, scales and stores it.
  void store_dx(int64_t first, int count) {
    const int64_t C = p.channels;
    const bool centre = p.normalise && p.integration != kMul;
    const bool divide = p.normalise && p.integration != kAdd;
    float along[kRows], shift[kRows];  // share of the row itself, and of a constant
    for (int r = 0; r < kRows; ++r) {
      const float* d = dnormal.row(r);
      along[r] = divide ? dot(d, tile.normal.row(r), dnormal.cols) / C : 0.0f;
      shift[r] = centre ? sum(d, dnormal.cols) / C : 0.0f;
    }
    for (int r = 0; r < count; ++r) {
      const int64_t place = (tile.sample * p.positions + first + r) * C;
      const float *d = dnormal.row(r), *n = tile.normal.row(r), *s = tile.scale.data();
      const float *through_scores = dx.row(r), inverse = tile.inverse_rms[r];
      const T* x = in.x + place;
      T* __restrict to = grad.dx + place;
      float* __restrict total = dscale.row(0);
      const auto at = [&](int64_t c) {
        return through_scores[c] + inverse * (d[c] - n[c] * along[r] - shift[r]);
      };
      if (in.scale) {
#pragma GCC ivdep
        for (int64_t c = 0; c < C; ++c) {
          const float sum = at(c);
          to[c] = from_float<T>(sum * s[c]);
          total[c] += sum * to_float(x[c]);
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

// Scale, noise, bias, activation, gain and clamp in one pass, and its gradient, CPU.
#include <algorithm>
#include <vector>

#include "bias_act.h"
#include "kernels_cpu.h"
#include "scalar.h"

namespace gansformer {
namespace {

struct Math {
  static float exp(float x) { return fast_exp(x); }
  static float log1p(float x) { return std::log1p(x); }
};

template <class T>
void load_row(std::vector<float>* out, const T* source, float otherwise, int64_t channels) {
  for (size_t j = 0; j < out->size(); ++j)
    (*out)[j] = source ? to_float(source[j % channels]) : otherwise;
}

// In 16 lanes: the compiler may not change the order of a sum by itself.
float sum(const float* values, int64_t size) {
  float lanes[16] = {};
  int64_t j = 0;
  for (; j + 16 <= size; j += 16)
    for (int lane = 0; lane < 16; ++lane) lanes[lane] += values[j + lane];
  for (; j < size; ++j) lanes[j % 16] += values[j];
  float total = 0;
  for (float lane : lanes) total += lane;
  return total;
}

template <int ACT, class T>
void forward(const BiasAct& p, const BiasActIn<T>& in, T* y, int64_t begin, int64_t end) {
  const float alpha = p.alpha, gain = p.gain, clamp = p.clamp;
  // Few channels: several positions make one row, so that there is something to vectorise over.
  const int64_t merged = in.noise ? 1 : std::max<int64_t>(1, 64 / p.channels);
  std::vector<float> bias(merged * p.channels), scale(merged * p.channels);
  load_row(&bias, in.bias, 0.0f, p.channels);
  int64_t loaded = -1;
  for (int64_t position = begin; position < end;) {
    const int64_t sample = position / p.positions, next = (sample + 1) * p.positions;
    if (sample != loaded) {
      load_row(&scale, in.scale ? in.scale + sample * p.channels : nullptr, 1.0f, p.channels);
      loaded = sample;
    }
    const int64_t count = std::min({merged, end - position, next - position});
    const int64_t length = count * p.channels;
    const float noise = in.noise ? to_float(in.noise[position]) : 0.0f;
    const T* from = in.x + position * p.channels;
    T* to = y + position * p.channels;  // may be x itself
    const float *b = bias.data(), *s = scale.data();
#pragma GCC ivdep
    for (int64_t c = 0; c < length; ++c) {
      const float t = to_float(from[c]) * s[c] + (b[c] + noise);
      float v = gain * activate<ACT, Math>(t, alpha);
      v = v > clamp ? clamp : v;
      v = v < -clamp ? -clamp : v;
      to[c] = from_float<T>(v);
    }
    position += count;
  }
}

// One block of positions of one sample; sums over the block go to db and ds [channels].
template <int ACT, class T>
void backward(const BiasAct& p, const BiasActIn<T>& in, const BiasActGrad<T>& grad, int64_t begin,
              int64_t end, float* __restrict db, float* __restrict ds) {
  const int64_t channels = p.channels, sample = begin / p.positions;
  const float alpha = p.alpha, gain = p.gain;
  const float clamp = to_float(from_float<T>(p.clamp));  // as y has it
  const float inverse = gain != 0 ? 1.0f / gain : 0.0f;
  std::vector<float> bias(channels), scale(channels);
  load_row(&bias, in.bias, 0.0f, channels);
  load_row(&scale, in.scale ? in.scale + sample * channels : nullptr, 1.0f, channels);
  const float *b = bias.data(), *s = scale.data();
  std::vector<float> row(channels);
  for (int64_t position = begin; position < end; ++position) {
    const float noise = in.noise ? to_float(in.noise[position]) : 0.0f;
    const T* dy = grad.dy + position * channels;
    // What is not needed may be absent; then any array of the right size will do.
    const T* x = in.x ? in.x + position * channels : dy;
    const T* y = grad.y ? grad.y + position * channels : dy;
    T* dx = grad.dx + position * channels;
    const auto g_at = [&](int64_t c) {
      const float t = ACT == kSwish ? to_float(x[c]) * s[c] + (b[c] + noise) : 0.0f;
      const float v = to_float(y[c]);
      const float g = to_float(dy[c]) * (gain * slope<ACT, Math>(v * inverse, t, alpha));
      return v >= clamp || v <= -clamp ? 0.0f : g;
    };
    float* __restrict g_row = row.data();
    if (in.scale) {
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) {
        const float g = g_row[c] = g_at(c);
        db[c] += g;
        ds[c] += g * to_float(x[c]);
        dx[c] = from_float<T>(g * s[c]);
      }
    } else {
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) {
        const float g = g_row[c] = g_at(c);
        db[c] += g;
        dx[c] = from_float<T>(g);
      }
    }
    if (in.noise) grad.dnoise[position] = from_float<T>(sum(g_row, channels));
  }
}

}  // namespace

#define GF_EACH_ACT(CASE)                                                                        \
  CASE(kLinear) CASE(kRelu) CASE(kLrelu) CASE(kTanh) CASE(kSigmoid) CASE(kElu) CASE(kSelu)       \
  CASE(kSoftplus) CASE(kSwish)

template <class T>
void bias_act_cpu(const BiasAct& p, const BiasActIn<T>& in, T* y, int64_t begin, int64_t end) {
  switch (p.act) {
#define GF_CASE(ACT) case ACT: return forward<ACT>(p, in, y, begin, end);
    GF_EACH_ACT(GF_CASE)
#undef GF_CASE
  }
}

template <class T>
void bias_act_grad_cpu(const BiasAct& p, const BiasActIn<T>& in, const BiasActGrad<T>& grad,
                       int64_t begin, int64_t end, float* db, float* ds) {
  switch (p.act) {
#define GF_CASE(ACT) case ACT: return backward<ACT>(p, in, grad, begin, end, db, ds);
    GF_EACH_ACT(GF_CASE)
#undef GF_CASE
  }
}

#define GF_INSTANTIATE(T)                                                                        \
  template void bias_act_cpu(const BiasAct&, const BiasActIn<T>&, T*, int64_t, int64_t);         \
  template void bias_act_grad_cpu(const BiasAct&, const BiasActIn<T>&, const BiasActGrad<T>&,    \
                                  int64_t, int64_t, float*, float*);
GF_INSTANTIATE(float)
GF_INSTANTIATE(Half)
GF_INSTANTIATE(BFloat16)

}  // namespace gansformer

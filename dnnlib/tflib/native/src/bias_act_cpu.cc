// Scale, noise, bias, activation, gain and clamp in one pass, and its gradient, CPU.
#include <algorithm>
#include <vector>

#include "bias_act.h"
#include "kernels_cpu.h"
#include "scalar.h"
#include "vector.h"

namespace gansformer {
namespace {

struct Math {
  static float exp(float x) { return fast_exp(x); }
  static float log1p(float x) { return std::log1p(x); }
};

void fill_row(Floats* out, const float* source, float otherwise, int64_t channels) {
  for (size_t j = 0; j < out->size(); ++j) (*out)[j] = source ? source[j % channels] : otherwise;
}

// In lanes: the compiler may not change the order of a sum by itself.
float sum(const float* values, int64_t size) {
  int64_t j = 0;
  float rest = 0;
  if (size >= kLanes) {
    Vector lanes = {};
    for (; j + kLanes <= size; j += kLanes) lanes += load(values + j);
    rest = total(lanes);
  }
  for (; j < size; ++j) rest += values[j];
  return rest;
}

template <int ACT>
void forward(const BiasAct& p, const BiasActIn<float>& in, float* y, int64_t begin, int64_t end) {
  const float alpha = p.alpha, gain = p.gain, clamp = p.clamp;
  // Few channels: several positions make one row, so that there is something to vectorise over.
  const int64_t merged = std::max<int64_t>(1, 64 / p.channels);
  Floats bias(merged * p.channels), scale(merged * p.channels), add(merged * p.channels);
  fill_row(&bias, in.bias, 0.0f, p.channels);
  int64_t loaded = -1;
  for (int64_t position = begin; position < end;) {
    const int64_t sample = position / p.positions, next = (sample + 1) * p.positions;
    if (sample != loaded) {
      fill_row(&scale, in.scale ? in.scale + sample * p.channels : nullptr, 1.0f, p.channels);
      loaded = sample;
    }
    const int64_t count = std::min({merged, end - position, next - position});
    const int64_t length = count * p.channels;
    const float* from = in.x + position * p.channels;
    float* to = y + position * p.channels;  // may be x itself
    const float *b = bias.data(), *s = scale.data();
    float noise = 0.0f;
    if (in.noise && merged == 1) noise = in.noise[position];
    if (in.noise && merged > 1) {
      for (int64_t r = 0, j = 0; r < count; ++r)
        for (int64_t c = 0; c < p.channels; ++c, ++j) add[j] = b[j] + in.noise[position + r];
      b = add.data();
    }
#pragma GCC ivdep
    for (int64_t c = 0; c < length; ++c) {
      const float t = from[c] * s[c] + (b[c] + noise);
      float v = gain * activate<ACT, Math>(t, alpha);
      v = v > clamp ? clamp : v;
      v = v < -clamp ? -clamp : v;
      to[c] = v;
    }
    position += count;
  }
}

// One block of positions of one sample; sums over the block go to db and ds [channels].
template <int ACT>
void backward(const BiasAct& p, const BiasActIn<float>& in, const BiasActGrad<float>& grad,
              int64_t begin, int64_t end, float* db, float* ds) {
  const int64_t channels = p.channels, sample = begin / p.positions;
  const float alpha = p.alpha, gain = p.gain, clamp = p.clamp;
  const float inverse = gain != 0 ? 1.0f / gain : 0.0f;
  // As in forward(), several positions of few channels make one row.
  const bool noise_matters = ACT == kSwish && in.noise;
  const int64_t merged = noise_matters ? 1 : std::max<int64_t>(1, 64 / channels);
  Floats bias(merged * channels), scale(merged * channels), row(merged * channels);
  fill_row(&bias, in.bias, 0.0f, channels);
  fill_row(&scale, in.scale ? in.scale + sample * channels : nullptr, 1.0f, channels);
  Floats sums(2 * merged * channels, 0.0f);
  float *__restrict bias_sums = sums.data(), *__restrict scale_sums = bias_sums + merged * channels;
  const float *b = bias.data(), *s = scale.data();
  for (int64_t position = begin; position < end; position += merged) {
    const int64_t count = std::min(merged, end - position), length = count * channels;
    const float noise = noise_matters ? in.noise[position] : 0.0f;
    const float* dy = grad.dy + position * channels;
    // What is not needed may be absent; then any array of the right size will do.
    const float* x = in.x ? in.x + position * channels : dy;
    const float* y = grad.y ? grad.y + position * channels : dy;
    float* dx = grad.dx + position * channels;
    const auto g_at = [&](int64_t c) {
      const float t = ACT == kSwish ? x[c] * s[c] + (b[c] + noise) : 0.0f;
      const float v = y[c];
      const float g = dy[c] * (gain * slope<ACT, Math>(v * inverse, t, alpha));
      return v >= clamp || v <= -clamp ? 0.0f : g;
    };
    float* __restrict g_row = row.data();
    if (in.scale) {
#pragma GCC ivdep
      for (int64_t c = 0; c < length; ++c) {
        const float g = g_row[c] = g_at(c);
        bias_sums[c] += g;
        scale_sums[c] += g * x[c];
        dx[c] = g * s[c];
      }
    } else {
#pragma GCC ivdep
      for (int64_t c = 0; c < length; ++c) {
        const float g = g_row[c] = g_at(c);
        bias_sums[c] += g;
        dx[c] = g;
      }
    }
    for (int64_t r = 0; r < count && in.noise; ++r)
      grad.dnoise[position + r] = sum(g_row + r * channels, channels);
  }
  for (int64_t c = 0; c < merged * channels; ++c) {
    db[c % channels] += bias_sums[c];
    ds[c % channels] += scale_sums[c];
  }
}

}  // namespace

void bias_act_cpu(const BiasAct& p, const BiasActIn<float>& in, float* y, int64_t begin, int64_t end) {
  with_act(p.act, [&](auto act) { forward<act()>(p, in, y, begin, end); });
}

void bias_act_grad_cpu(const BiasAct& p, const BiasActIn<float>& in, const BiasActGrad<float>& grad,
                       int64_t begin, int64_t end, float* db, float* ds) {
  with_act(p.act, [&](auto act) { backward<act()>(p, in, grad, begin, end, db, ds); });
}

}  // namespace gansformer

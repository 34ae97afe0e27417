// Scale, noise, bias, activation, gain and clamp in one pass: what the CPU and CUDA forms share.
//
//   y[n, p, c] = clip(gain * act(x[n, p, c] * scale[n, c] + noise[n, p] + bias[c]))
//
// The derivative of the activation is computed from y (`swish`: from its argument).
#pragma once

#include <type_traits>

#include "scalar.h"

namespace gansformer {

enum Act { kLinear, kRelu, kLrelu, kTanh, kSigmoid, kElu, kSelu, kSoftplus, kSwish };
constexpr const char* kActNames[] = {"linear", "relu", "lrelu",    "tanh", "sigmoid",
                                     "elu",    "selu", "softplus", "swish"};

// Calls f(integral constant) with the number of an activation.
template <class F>
auto with_act(Act act, F f) -> decltype(f(std::integral_constant<int, kLinear>())) {
  switch (act) {
    case kRelu: return f(std::integral_constant<int, kRelu>());
    case kLrelu: return f(std::integral_constant<int, kLrelu>());
    case kTanh: return f(std::integral_constant<int, kTanh>());
    case kSigmoid: return f(std::integral_constant<int, kSigmoid>());
    case kElu: return f(std::integral_constant<int, kElu>());
    case kSelu: return f(std::integral_constant<int, kSelu>());
    case kSoftplus: return f(std::integral_constant<int, kSoftplus>());
    case kSwish: return f(std::integral_constant<int, kSwish>());
    default: return f(std::integral_constant<int, kLinear>());
  }
}

struct BiasAct {
  int64_t samples, positions, channels;
  Act act;
  float alpha, gain;
  float clamp;  // NaN: none (every comparison with it is false)
};

constexpr float kSeluScale = 1.05070098735548f;
constexpr float kSeluAlpha = 1.67326324235438f;

// MATH has exp(float) and log1p(float), as the device has them.
template <int ACT, class MATH>
GF_HOST_DEVICE float activate(float t, float alpha) {
  switch (ACT) {
    case kRelu: return t <= 0 ? 0.0f : t;  // NaN stays NaN
    case kLrelu: return t > 0 ? t : t * alpha;
    case kTanh: {
      const float e = MATH::exp(-2.0f * (t < 0 ? -t : t)), far = (1.0f - e) / (1.0f + e);
      const float s = t * t, near = t * (1.0f - s * (1.0f / 3.0f - s * (2.0f / 15.0f)));
      return s < 0.01f ? near : (t < 0 ? -far : far);
    }
    case kSigmoid: return 1.0f / (1.0f + MATH::exp(-t));
    case kElu: return t > 0 ? t : MATH::exp(t > 0 ? 0.0f : t) - 1.0f;
    case kSelu:
      return kSeluScale * (t > 0 ? t : kSeluAlpha * (MATH::exp(t > 0 ? 0.0f : t) - 1.0f));
    case kSoftplus: return (t > 0 ? t : 0.0f) + MATH::log1p(MATH::exp(t > 0 ? -t : t));
    case kSwish: return t / (1.0f + MATH::exp(-t));
    default: return t;
  }
}

// d act / dt; u = act(t). `t` is used by swish alone.
template <int ACT, class MATH>
GF_HOST_DEVICE float slope(float u, float t, float alpha) {
  switch (ACT) {
    case kRelu: return u > 0 ? 1.0f : 0.0f;
    case kLrelu: return u > 0 ? 1.0f : alpha;
    case kTanh: return 1.0f - u * u;
    case kSigmoid: return u * (1.0f - u);
    case kElu: return u > 0 ? 1.0f : u + 1.0f;
    case kSelu: return u > 0 ? kSeluScale : u + kSeluScale * kSeluAlpha;
    case kSoftplus: return 1.0f - MATH::exp(-u);
    case kSwish: {
      const float s = 1.0f / (1.0f + MATH::exp(-t));
      return s * (1.0f + t * (1.0f - s));
    }
    default: return 1.0f;
  }
}

}  // namespace gansformer

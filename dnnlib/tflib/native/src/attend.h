// What follows a convolution of the generator, as one pass: demodulation, attention to the latents,
// normalisation and modulation, noise, bias, activation. What the CPU and CUDA forms share.
//
//   x' = x * scale
//   probs = softmax over the elements of each head of (x' keys^T + logits)
//   control = (probs * keep) values + bias                                [C], or [2C] for kBoth
//   out = normalise(x') + control, or normalise(x') * control, or normalise(x') * first half + second
//   y = gain * leaky_relu(out + noise + act_bias, alpha)
//
// S = heads * elements is the number of slots; softmax runs over the elements of one head.
//
// Projections are folded into keys, logits and values before (docs: attention at linear cost).
#pragma once

#include "scalar.h"

namespace gansformer {

enum Integration { kAdd, kMul, kBoth };

// Each map position is normalised over its channels: add needs the mean, mul the root mean square,
// both the mean and the deviation.
constexpr float kNormEpsilon = 1e-8f;

struct Attend {
  int64_t samples, positions, channels;
  int heads, elements;
  int integration;
  bool normalise;
  // Which inputs are the same for all samples, and logits for all positions.
  bool shared_keys, shared_logits, flat_logits, shared_values;
  float alpha, gain;         // of the leaky ReLU; 1, 1: none

  GF_HOST_DEVICE int slots() const { return heads * elements; }
  GF_HOST_DEVICE int64_t width() const { return integration == kBoth ? 2 * channels : channels; }  // of control
  // Sums over positions, one after the other: keys [S, C], values [S, V], bias [V], act_bias [C],
  // scale [C], flat logits [S].
  GF_HOST_DEVICE int64_t sums_size() const {
    return slots() * (channels + width()) + width() + 2 * channels + slots();
  }
  GF_HOST_DEVICE int64_t logit_rows() const { return flat_logits ? 1 : positions; }
};

}  // namespace gansformer

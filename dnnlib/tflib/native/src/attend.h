// What follows a convolution of the generator, as one pass: demodulation, attention to the latents,
// normalisation and modulation, noise, bias, activation. What the CPU and CUDA forms share.
//
//   x' = x * scale
//   probs = softmax over the slots of each head of (x' keys^T + logits)
//   control = (probs * keep) values + bias
//   out = normalise(x') + control, or normalise(x') * control, or normalise(x') * first half + second
//   y = gain * leaky_relu(out + noise + act_bias, alpha)
//
// A slot is one key with its value: heads * head_slots of them, those of the first head, then those of
// the second, ... Axes: N samples, P positions, C channels, O = C, or 2C for kBoth.
//
// Projections are folded into keys, logits and values before (docs: attention at linear cost).
#pragma once

#include "scalar.h"

namespace gansformer {

enum Integration { kAdd, kMul, kBoth };
constexpr const char* kIntegrationNames[] = {"add", "mul", "both"};

// Inputs in order, as those of the op and as results of its gradient.
enum AttendInput {
  kX, kScale, kKeys, kLogits, kKeep, kValues, kBias, kNoise, kActBias, kNumAttendInputs
};

// Each map position is normalised over its channels: add needs the mean, mul the root mean square,
// both the mean and the deviation.
constexpr float kNormEpsilon = 1e-8f;

struct Attend {
  int64_t samples, positions, channels;
  int heads, head_slots;
  Integration integration;
  bool normalise;
  // Which inputs are the same for all samples, and logits for all positions.
  bool shared_keys, shared_logits, flat_logits, shared_values;
  float alpha, gain;         // of the leaky ReLU; 1, 1: none

  GF_HOST_DEVICE int slots() const { return heads * head_slots; }
  // O, columns of values and control.
  GF_HOST_DEVICE int64_t width() const { return integration == kBoth ? 2 * channels : channels; }
  // Sums over positions, one after the other; see for_each_sum().
  GF_HOST_DEVICE int64_t sums_size() const {
    return slots() * (channels + width()) + width() + 2 * channels + slots();
  }
  GF_HOST_DEVICE int64_t logit_rows() const { return flat_logits ? 1 : positions; }
};

// Calls f(input, offset, size, per_sample) for what is summed over positions: where an input's
// gradient lies among the sums of a block, and whether each sample has its own.
template <class F>
void for_each_sum(const Attend& p, F f) {
  const int64_t slots = p.slots(), C = p.channels, O = p.width();
  const struct { AttendInput input; int64_t size; bool per_sample; } sums[] = {
      {kKeys, slots * C, !p.shared_keys}, {kValues, slots * O, !p.shared_values},
      {kBias, O, false},                  {kActBias, C, false},
      {kScale, C, true},                  {kLogits, slots, !p.shared_logits}};
  int64_t offset = 0;
  for (const auto& sum : sums) {
    f(sum.input, offset, sum.size, sum.per_sample);
    offset += sum.size;
  }
}

}  // namespace gansformer

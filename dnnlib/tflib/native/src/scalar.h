// Scalar types and elementary functions. No TensorFlow here.
//
// Kernels are templates over the type in memory and compute in float. The functions below are written
// without branches and calls, so that the compiler vectorises loops over them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#include <cuda_fp16.h>
#define GF_HOST_DEVICE __host__ __device__ inline
#else
#define GF_HOST_DEVICE inline
#endif

namespace gansformer {

struct Half { uint16_t bits; };      // IEEE 754 binary16
struct BFloat16 { uint16_t bits; };  // the upper half of a float

GF_HOST_DEVICE float bits_to_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

GF_HOST_DEVICE uint32_t float_to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

GF_HOST_DEVICE float to_float(float value) { return value; }

GF_HOST_DEVICE float to_float(BFloat16 value) { return bits_to_float(uint32_t(value.bits) << 16); }

GF_HOST_DEVICE float to_float(Half value) {
#ifdef __CUDA_ARCH__
  return __half2float(__ushort_as_half(value.bits));
#else
  // TensorFlow's threads flush subnormal floats to zero, so no such float may occur on the way.
  const uint32_t magnitude = value.bits & 0x7fff, sign = uint32_t(value.bits & 0x8000) << 16;
  const uint32_t normal = (magnitude << 13) + (112u << 23);
  const uint32_t subnormal = float_to_bits(float(int32_t(magnitude)) * 5.9604644775390625e-8f);
  const uint32_t infinite = 0x7f800000u | (magnitude << 13);
  return bits_to_float(
      (magnitude < 0x400 ? subnormal : magnitude < 0x7c00 ? normal : infinite) | sign);
#endif
}

template <class T> GF_HOST_DEVICE T from_float(float value);

template <> GF_HOST_DEVICE float from_float<float>(float value) { return value; }

template <> GF_HOST_DEVICE BFloat16 from_float<BFloat16>(float value) {
  const uint32_t bits = float_to_bits(value);
  if (value != value) return BFloat16{uint16_t((bits >> 16) | 0x40)};  // NaN stays NaN
  return BFloat16{uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};  // to nearest even
}

template <> GF_HOST_DEVICE Half from_float<Half>(float value) {
#ifdef __CUDA_ARCH__
  return Half{__half_as_ushort(__float2half_rn(value))};
#else
  const uint32_t bits = float_to_bits(value);
  const uint32_t sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return Half{uint16_t(sign | 0x7e00)};   // NaN
  if (magnitude >= 0x477ff000) return Half{uint16_t(sign | 0x7c00)};  // rounds to infinity
  if (magnitude < 0x38800000) {  // subnormal: let the float addition round at the right place
    const float shifted = bits_to_float(magnitude) + 0.5f;
    return Half{uint16_t(sign | (float_to_bits(shifted) - 0x3f000000u))};
  }
  const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1) - (112u << 23);
  return Half{uint16_t(sign | (rounded >> 13))};
#endif
}

// exp(x) to about 1e-7 relative (degree 6 on [-ln2/2, ln2/2]); saturates at exp(88); NaN stays NaN.
// Exactly 0 below -87: what a mask hides has no weight at all.
inline float fast_exp(float x) {
  const float seen = x < -87.0f ? 0.0f : 1.0f;
  x = x > 88.0f ? 88.0f : x;
  x = x < -87.0f ? -87.0f : x;
  const float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: rounds to an integer
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const uint32_t exponent = (float_to_bits(shifted) - 0x4b400000u + 127u) << 23;
  return p * bits_to_float(exponent) * seen;
}

}  // namespace gansformer

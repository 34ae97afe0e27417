// The CPU kernels as the op glue calls them, each on a range of its work, in float32. No TensorFlow
// here. What has a type T, the maps, has other types in the CUDA kernels; all else is float there too.
#pragma once

#include <cstdint>

#include "attend.h"
#include "bias_act.h"
#include "conv_narrow.h"
#include "scalar.h"
#include "upfirdn.h"
#include "winograd.h"

namespace gansformer {

// Output rows [begin, end), counted over all samples.
void upfirdn_cpu(const float* x, float* y, const Upfirdn& p, int64_t begin, int64_t end);

template <class T>
struct BiasActIn {
  const T *x;          // [samples, positions, channels]
  const float *scale;  // [samples, channels] or null
  const float *noise;  // [samples, positions] or null
  const float *bias;   // [channels] or null
};

template <class T>
struct BiasActGrad {
  const T *dy, *y;  // y: the output, or null if the derivative does not need it
  T *dx;
  float *dnoise;    // used if there is noise
};

// Positions [begin, end), counted over all samples; y may be x.
void bias_act_cpu(const BiasAct& p, const BiasActIn<float>& in, float* y, int64_t begin, int64_t end);

// Positions [begin, end) of one sample; adds to db and ds [channels].
void bias_act_grad_cpu(const BiasAct& p, const BiasActIn<float>& in, const BiasActGrad<float>& grad,
                       int64_t begin, int64_t end, float* db, float* ds);

template <class T>
struct AttendIn {
  const T *x;             // [samples, positions, channels]
  const float *scale;     // [samples, channels] or null
  const float *keys;      // [samples or 1, slots, channels]
  const float *logits;    // [samples or 1, positions or 1, slots] or null
  const float *keep;      // [samples, positions, slots] or null
  const float *values;    // [samples or 1, slots, width]
  const float *bias;      // [width] or null
  const float *noise;     // [samples, positions] or null
  const float *act_bias;  // [channels] or null
};

template <class T>
struct AttendGrad {
  const T *dy, *y;         // y: on the GPU
  T *dx;
  float *dkeep, *dnoise;   // used if there is keep, noise
  float* dlogits;          // [samples, positions, slots]; used for logits that are not flat
};

// Positions [begin, end), counted over all samples.
void attend_cpu(const Attend& p, const AttendIn<float>& in, float* y, int64_t begin, int64_t end);

// Blocks [begin, end) of `block` positions, counted over all samples; the last of each sample may be
// shorter. The sums over a block go to a row of `sums`: see Attend::sums_size().
void attend_grad_cpu(const Attend& p, const AttendIn<float>& in, const AttendGrad<float>& grad,
                     int64_t block, int64_t begin, int64_t end, float* sums);

// Floats of a register: the unit of ranges of channels below.
int64_t winograd_lanes();

// Tiles that are transformed at a time: best given in multiples of it.
int64_t winograd_block(const Conv3x3& p);
int64_t winograd_filter_block(const Conv3x3& p);  // for the gradient of the filter

// Transforms a filter, input channels [begin, end) in registers. w: [3, 3, I, O]; kUp, and `turned`:
// [3, 3, O, I]. `turned`: by 180 degrees, as for the gradient of x. u: [filters(), panels of O, I, panel].
void winograd_filter_cpu(const Conv3x3& p, const float* w, bool turned, int64_t begin, int64_t end,
                         float* u);

// Tiles [begin, end). scale: [samples, I] or null, factors of x.
void winograd_cpu(const Conv3x3& p, const float* x, const float* scale, const float* u, float* y,
                  int64_t begin, int64_t end);

// Input channels of a slice of the gradient of the filter.
int64_t winograd_slice(const Conv3x3& p);

// What the tiles [begin, end) give to a slice of the input channels of dw [3, 3, I, O]. Not for kUp.
void winograd_filter_grad_cpu(const Conv3x3& p, const float* x, const float* scale, const float* dy,
                              int64_t slice, int64_t begin, int64_t end, float* dw);

// Parts [begin, end) of the maps, counted over all samples.
void conv_narrow_cpu(const ConvNarrow& p, const float* x, const float* w, int64_t begin, int64_t end,
                     float* y);
void conv_narrow_dx_cpu(const ConvNarrow& p, const float* dy, const float* w, int64_t begin,
                          int64_t end, float* dx);

// Parts [begin, end), each to sums of its own, of conv_narrow_sums() floats.
void conv_narrow_dw_cpu(const ConvNarrow& p, const float* x, const float* dy, int64_t begin,
                        int64_t end, float* sums);
int64_t conv_narrow_sums(const ConvNarrow& p);

// Adds the sums of a sample's parts: dw [samples, R * 9, C].
void conv_narrow_add_sums_cpu(const ConvNarrow& p, const float* sums, int64_t sample, float* dw);

}  // namespace gansformer

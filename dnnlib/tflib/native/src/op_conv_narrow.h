// Op glue of the convolution to few channels, for CPUs.
#pragma once

#include "conv_narrow.h"
#include "op_common.h"

// One of x [N, H, W, C], w [N, R * 9, C] and y [N, H, W, R] from the other two, in this order: "y" is
// the convolution, "x" and "w" are its gradients. The sum of y times the convolution of x with w is
// linear in all three, so that the gradients of each are the others.
REGISTER_OP("GansformerConvNarrow")
    .Input("first: float")
    .Input("second: float")
    .Output("output: float")
    .Attr("result: {'x', 'w', 'y'}")
    .SetShapeFn([](gansformer::InferenceContext* c) {
      std::string result;
      TF_RETURN_IF_ERROR(c->GetAttr("result", &result));
      gansformer::ShapeHandle first, second, output;
      gansformer::DimensionHandle channels;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), result == "x" ? 3 : 4, &first));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), result == "y" ? 3 : 4, &second));
      if (result == "w") {
        TF_RETURN_IF_ERROR(c->Multiply(c->Dim(second, 3), 9, &channels));
        output = c->MakeShape({c->Dim(first, 0), channels, c->Dim(first, 3)});
      } else if (result == "x") {
        TF_RETURN_IF_ERROR(c->ReplaceDim(second, 3, c->Dim(first, 2), &output));
      } else {
        TF_RETURN_IF_ERROR(c->Divide(c->Dim(second, 1), 9, true, &channels));
        TF_RETURN_IF_ERROR(c->ReplaceDim(first, 3, channels, &output));
      }
      c->set_output(0, output);
      return gansformer::ok_status();
    });

namespace gansformer {

class ConvNarrowOp : public OpKernel {
 public:
  explicit ConvNarrowOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("result", &result_));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor &first = ctx->input(0), &second = ctx->input(1);
    const Tensor *x = &first, *w = &second, *y = &second;
    if (result_ == "x") w = &first;
    const Tensor& map = result_ == "x" ? *y : *x;
    const bool has_w = result_ != "w", has_x = result_ != "x", has_y = result_ != "y";
    bool fits = map.dims() == 4;
    if (fits && has_w)
      fits = w->dims() == 3 && w->dim_size(0) == map.dim_size(0) && w->dim_size(1) % 9 == 0 &&
             (has_x ? w->dim_size(2) == x->dim_size(3) : w->dim_size(1) == y->dim_size(3) * 9);
    for (int axis = 0; fits && !has_w && axis < 3; ++axis)
      fits = y->dims() == 4 && x->dim_size(axis) == y->dim_size(axis);
    OP_REQUIRES(ctx, fits, tensorflow::errors::InvalidArgument(
                               "native convolution to few channels: ", first.shape().DebugString(),
                               " does not fit ", second.shape().DebugString()));
    const ConvNarrow p{map.dim_size(0), map.dim_size(1), map.dim_size(2),
                       has_x ? x->dim_size(3) : w->dim_size(2),
                       has_y ? y->dim_size(3) : w->dim_size(1) / 9};
    OP_REQUIRES(ctx, p.channels % kNarrowLanes == 0,
                tensorflow::errors::InvalidArgument(
                    "native convolution to few channels: the others must be a multiple of ",
                    kNarrowLanes));
    TensorShape shape({p.samples, p.height, p.width, has_y ? p.channels : p.out});
    if (!has_w) shape = TensorShape({p.samples, p.columns(), p.channels});
    Tensor* output = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, shape, &output));
    if (!map.NumElements() || !output->NumElements()) return clear(output);
    if (!has_w) return filter_gradient(ctx, p, data<float>(*x), data<float>(*y), data<float>(output));
    each_part(ctx, p, [&](int64_t begin, int64_t end) {
      const auto convolve = has_x ? conv_narrow_cpu : conv_narrow_dx_cpu;
      convolve(p, data<float>(map), data<float>(*w), begin, end, data<float>(output));
    });
  }

 private:
  static void filter_gradient(OpKernelContext* ctx, const ConvNarrow& p, const float* x,
                              const float* dy, float* dw) {
    Tensor sums;
    const TensorShape parts({p.samples * p.parts(), conv_narrow_sums(p)});
    OP_REQUIRES_OK(ctx, ctx->allocate_temp(tensorflow::DT_FLOAT, parts, &sums));
    each_part(ctx, p, [&](int64_t begin, int64_t end) {
      conv_narrow_dw_cpu(p, x, dy, begin, end, data<float>(&sums));
    });
    for (int64_t sample = 0; sample < p.samples; ++sample)
      conv_narrow_add_sums_cpu(p, data<float>(&sums), sample, dw);
  }

  // Calls f(begin, end) for parts of maps.
  template <class F>
  static void each_part(OpKernelContext* ctx, const ConvNarrow& p, F f) {
    parallel(ctx, p.samples * p.parts(), 0.1 * p.rows() * p.width * p.channels * p.columns(), f);
  }

  std::string result_;
};

REGISTER_KERNEL_BUILDER(Name("GansformerConvNarrow").Device(tensorflow::DEVICE_CPU), ConvNarrowOp);

}  // namespace gansformer

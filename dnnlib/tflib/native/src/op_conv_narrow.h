// Op glue of the convolution to few channels, for CPUs.
#pragma once

#include "conv_narrow.h"
#include "op_common.h"

// x: [N, H, W, C], w: [N, R * 9, C], y: [N, H, W, R]
REGISTER_OP("GansformerConvNarrow")
    .Input("x: float")
    .Input("w: float")
    .Output("y: float")
    .SetShapeFn([](gansformer::InferenceContext* c) {
      gansformer::ShapeHandle x, w, y;
      gansformer::DimensionHandle out;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 3, &w));
      TF_RETURN_IF_ERROR(c->Divide(c->Dim(w, 1), 9, true, &out));
      TF_RETURN_IF_ERROR(c->ReplaceDim(x, 3, out, &y));
      c->set_output(0, y);
      return gansformer::ok_status();
    });

REGISTER_OP("GansformerConvNarrowBack")
    .Input("dy: float")
    .Input("w: float")
    .Output("dx: float")
    .SetShapeFn([](gansformer::InferenceContext* c) {
      gansformer::ShapeHandle dy, w, dx;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &dy));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 3, &w));
      TF_RETURN_IF_ERROR(c->ReplaceDim(dy, 3, c->Dim(w, 2), &dx));
      c->set_output(0, dx);
      return gansformer::ok_status();
    });

REGISTER_OP("GansformerConvNarrowFilter")
    .Input("x: float")
    .Input("dy: float")
    .Output("dw: float")
    .SetShapeFn([](gansformer::InferenceContext* c) {
      gansformer::ShapeHandle x, dy;
      gansformer::DimensionHandle columns;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &dy));
      TF_RETURN_IF_ERROR(c->Multiply(c->Dim(dy, 3), 9, &columns));
      c->set_output(0, c->MakeShape({c->Dim(x, 0), columns, c->Dim(x, 3)}));
      return gansformer::ok_status();
    });

namespace gansformer {

class ConvNarrowKernel : public OpKernel {
 protected:
  using OpKernel::OpKernel;

  static Status misfit(const Tensor& map) {  // map: x or dy
    return tensorflow::errors::InvalidArgument("native convolution to few channels: ",
                                               map.shape().DebugString(),
                                               " does not fit the other factor");
  }

  static Status sizes(const Tensor& map, int64_t channels, int64_t out, ConvNarrow* p) {
    if (channels % kNarrowLanes)
      return tensorflow::errors::InvalidArgument(
          "native convolution to few channels: the others must be a multiple of ", kNarrowLanes);
    *p = ConvNarrow{map.dim_size(0), map.dim_size(1), map.dim_size(2), channels, out};
    return ok_status();
  }

  // Calls f(begin, end) for parts of maps.
  template <class F>
  static void each_part(OpKernelContext* ctx, const ConvNarrow& p, F f) {
    parallel(ctx, p.samples * p.parts(), 0.1 * p.rows() * p.width * p.channels * p.columns(), f);
  }
};

class ConvNarrowOp : public ConvNarrowKernel {
 public:
  using ConvNarrowKernel::ConvNarrowKernel;

  void Compute(OpKernelContext* ctx) override {
    const Tensor &x = ctx->input(0), &w = ctx->input(1);
    const bool fits = x.dims() == 4 && w.dims() == 3 && w.dim_size(0) == x.dim_size(0) &&
                      w.dim_size(2) == x.dim_size(3) && w.dim_size(1) % 9 == 0;
    OP_REQUIRES(ctx, fits, misfit(x));
    ConvNarrow p;
    OP_REQUIRES_OK(ctx, sizes(x, x.dim_size(3), w.dim_size(1) / 9, &p));
    Tensor* y = nullptr;
    const TensorShape shape({p.samples, p.height, p.width, p.out});
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, shape, &y));
    if (!y->NumElements()) return;
    each_part(ctx, p, [&](int64_t begin, int64_t end) {
      conv_narrow_cpu(p, data<float>(x), data<float>(w), begin, end, data<float>(y));
    });
  }
};

class ConvNarrowBackOp : public ConvNarrowKernel {
 public:
  using ConvNarrowKernel::ConvNarrowKernel;

  void Compute(OpKernelContext* ctx) override {
    const Tensor &dy = ctx->input(0), &w = ctx->input(1);
    const bool fits = dy.dims() == 4 && w.dims() == 3 && w.dim_size(0) == dy.dim_size(0) &&
                      w.dim_size(1) == dy.dim_size(3) * 9;
    OP_REQUIRES(ctx, fits, misfit(dy));
    ConvNarrow p;
    OP_REQUIRES_OK(ctx, sizes(dy, w.dim_size(2), dy.dim_size(3), &p));
    Tensor* dx = nullptr;
    const TensorShape shape({p.samples, p.height, p.width, p.channels});
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, shape, &dx));
    if (!dx->NumElements()) return;
    each_part(ctx, p, [&](int64_t begin, int64_t end) {
      conv_narrow_back_cpu(p, data<float>(dy), data<float>(w), begin, end, data<float>(dx));
    });
  }
};

class ConvNarrowFilterOp : public ConvNarrowKernel {
 public:
  using ConvNarrowKernel::ConvNarrowKernel;

  void Compute(OpKernelContext* ctx) override {
    const Tensor &x = ctx->input(0), &dy = ctx->input(1);
    const bool fits = x.dims() == 4 && dy.dims() == 4 && x.dim_size(0) == dy.dim_size(0) &&
                      x.dim_size(1) == dy.dim_size(1) && x.dim_size(2) == dy.dim_size(2);
    OP_REQUIRES(ctx, fits, misfit(x));
    ConvNarrow p;
    OP_REQUIRES_OK(ctx, sizes(x, x.dim_size(3), dy.dim_size(3), &p));
    Tensor* dw = nullptr;
    const TensorShape shape({p.samples, p.columns(), p.channels});
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, shape, &dw));
    if (!dw->NumElements()) return;
    if (!x.NumElements()) {
      std::fill_n(data<float>(dw), dw->NumElements(), 0.0f);
      return;
    }
    Tensor sums;
    const TensorShape parts({p.samples * p.parts(), conv_narrow_sums(p)});
    OP_REQUIRES_OK(ctx, ctx->allocate_temp(tensorflow::DT_FLOAT, parts, &sums));
    each_part(ctx, p, [&](int64_t begin, int64_t end) {
      conv_narrow_filter_cpu(p, data<float>(x), data<float>(dy), begin, end, data<float>(&sums));
    });
    for (int64_t sample = 0; sample < p.samples; ++sample)
      conv_narrow_from_sums_cpu(p, data<float>(&sums), sample, data<float>(dw));
  }
};

REGISTER_KERNEL_BUILDER(Name("GansformerConvNarrow").Device(tensorflow::DEVICE_CPU), ConvNarrowOp);
REGISTER_KERNEL_BUILDER(Name("GansformerConvNarrowBack").Device(tensorflow::DEVICE_CPU),
                        ConvNarrowBackOp);
REGISTER_KERNEL_BUILDER(Name("GansformerConvNarrowFilter").Device(tensorflow::DEVICE_CPU),
                        ConvNarrowFilterOp);

}  // namespace gansformer

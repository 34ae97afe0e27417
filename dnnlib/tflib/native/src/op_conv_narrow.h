// Op glue of the convolution to few channels, for CPUs.
#pragma once

#include "conv_narrow.h"
#include "op_common.h"

// x: [N, H, W, C], w: [N, R * side^2, C], y: [N, H, W, R]
REGISTER_OP("GansformerConvNarrow")
    .Input("x: float")
    .Input("w: float")
    .Output("y: float")
    .Attr("side: int")
    .SetShapeFn([](gansformer::InferenceContext* c) {
      gansformer::ShapeHandle x, w, y;
      int side;
      gansformer::DimensionHandle out;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 3, &w));
      TF_RETURN_IF_ERROR(c->GetAttr("side", &side));
      TF_RETURN_IF_ERROR(c->Divide(c->Dim(w, 1), side * side, true, &out));
      TF_RETURN_IF_ERROR(c->ReplaceDim(x, 3, out, &y));
      c->set_output(0, y);
      return gansformer::ok_status();
    });

REGISTER_OP("GansformerConvNarrowBack")
    .Input("dy: float")
    .Input("w: float")
    .Output("dx: float")
    .Attr("side: int")
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
    .Attr("side: int")
    .SetShapeFn([](gansformer::InferenceContext* c) {
      gansformer::ShapeHandle x, dy;
      int side;
      gansformer::DimensionHandle columns;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &dy));
      TF_RETURN_IF_ERROR(c->GetAttr("side", &side));
      TF_RETURN_IF_ERROR(c->Multiply(c->Dim(dy, 3), side * side, &columns));
      c->set_output(0, c->MakeShape({c->Dim(x, 0), columns, c->Dim(x, 3)}));
      return gansformer::ok_status();
    });

namespace gansformer {

// Construction, and the sizes of a call.
class ConvNarrowKernel : public OpKernel {
 protected:
  explicit ConvNarrowKernel(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("side", &side_));
    OP_REQUIRES(ctx, side_ == 1 || side_ == 3,
                tensorflow::errors::InvalidArgument("native convolution to few channels: side ",
                                                    side_, " is neither 1 nor 3"));
  }

  // `map`: x or dy; `fits`: the other factor does.
  Status sizes(const Tensor& map, int64_t channels, int64_t out, bool fits, ConvNarrow* p) const {
    if (!fits)
      return tensorflow::errors::InvalidArgument("native convolution to few channels: ",
                                                 map.shape().DebugString(),
                                                 " does not fit the other factor");
    if (channels % kNarrowLanes)
      return tensorflow::errors::InvalidArgument(
          "native convolution to few channels: the others must be a multiple of ", kNarrowLanes);
    *p = ConvNarrow{map.dim_size(0), map.dim_size(1), map.dim_size(2), channels, out, side_};
    return ok_status();
  }

  // Calls f(begin, end) for parts of maps.
  template <class F>
  static void each_part(OpKernelContext* ctx, const ConvNarrow& p, F f) {
    parallel(ctx, p.samples * p.parts(), 0.1 * p.rows() * p.width * p.channels * p.columns(), f);
  }

  int64_t taps() const { return side_ * side_; }

 private:
  int side_;
};

class ConvNarrowOp : public ConvNarrowKernel {
 public:
  explicit ConvNarrowOp(OpKernelConstruction* ctx) : ConvNarrowKernel(ctx) {}

  void Compute(OpKernelContext* ctx) override {
    const Tensor &x = ctx->input(0), &w = ctx->input(1);
    const bool fits = x.dims() == 4 && w.dims() == 3 && w.dim_size(0) == x.dim_size(0) &&
                      w.dim_size(2) == x.dim_size(3) && w.dim_size(1) % taps() == 0;
    ConvNarrow p;
    OP_REQUIRES_OK(ctx, sizes(x, x.dim_size(3), w.dim_size(1) / taps(), fits, &p));
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
  explicit ConvNarrowBackOp(OpKernelConstruction* ctx) : ConvNarrowKernel(ctx) {}

  void Compute(OpKernelContext* ctx) override {
    const Tensor &dy = ctx->input(0), &w = ctx->input(1);
    const bool fits = dy.dims() == 4 && w.dims() == 3 && w.dim_size(0) == dy.dim_size(0) &&
                      w.dim_size(1) == dy.dim_size(3) * taps();
    ConvNarrow p;
    OP_REQUIRES_OK(ctx, sizes(dy, w.dim_size(2), dy.dim_size(3), fits, &p));
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
  explicit ConvNarrowFilterOp(OpKernelConstruction* ctx) : ConvNarrowKernel(ctx) {}

  void Compute(OpKernelContext* ctx) override {
    const Tensor &x = ctx->input(0), &dy = ctx->input(1);
    const bool fits = x.dims() == 4 && dy.dims() == 4 && x.dim_size(0) == dy.dim_size(0) &&
                      x.dim_size(1) == dy.dim_size(1) && x.dim_size(2) == dy.dim_size(2);
    ConvNarrow p;
    OP_REQUIRES_OK(ctx, sizes(x, x.dim_size(3), dy.dim_size(3), fits, &p));
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

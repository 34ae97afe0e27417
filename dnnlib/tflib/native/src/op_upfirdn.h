// Op glue of upfirdn_2d.
#pragma once

#include "op_common.h"
#include "upfirdn.h"

REGISTER_OP("GansformerUpfirdn")
    .Input("x: T")
    .Output("y: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("kernel: list(float)")  // flipped, [taps_y * taps_x]; or empty, and then kernel = column row^T
    .Attr("column: list(float)")
    .Attr("row: list(float)")
    .Attr("taps: list(int)")   // y, x
    .Attr("rates: list(int)")  // up_y, up_x, down_y, down_x
    .Attr("pads: list(int)")   // y before, y after, x before, x after
    .SetShapeFn([](gansformer::InferenceContext* c) {
      gansformer::ShapeHandle x;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      std::vector<tensorflow::int32> taps, rates, pads;
      TF_RETURN_IF_ERROR(c->GetAttr("taps", &taps));
      TF_RETURN_IF_ERROR(c->GetAttr("rates", &rates));
      TF_RETURN_IF_ERROR(c->GetAttr("pads", &pads));
      gansformer::ShapeHandle y = x;
      for (int axis = 0; axis < 2; ++axis) {
        gansformer::DimensionHandle out = c->UnknownDim();
        if (c->ValueKnown(c->Dim(x, axis + 1))) {
          const int64_t in = c->Value(c->Dim(x, axis + 1)) * rates[axis];
          out = c->MakeDim((in + pads[axis * 2] + pads[axis * 2 + 1] - taps[axis]) / rates[axis + 2] + 1);
        }
        TF_RETURN_IF_ERROR(c->ReplaceDim(y, axis + 1, out, &y));
      }
      c->set_output(0, y);
      return gansformer::ok_status();
    });

namespace gansformer {

class UpfirdnBase : public OpKernel {
 public:
  explicit UpfirdnBase(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("kernel", &kernel_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("column", &column_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("row", &row_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("taps", &taps_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("rates", &rates_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("pads", &pads_));
    OP_REQUIRES(ctx, taps_[0] <= kMaxTaps && taps_[1] <= kMaxTaps,
                tensorflow::errors::InvalidArgument("native upfirdn: too many taps"));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor& x = ctx->input(0);
    OP_REQUIRES(ctx, x.dims() == 4,
                tensorflow::errors::InvalidArgument("native upfirdn: x is not [N, H, W, C]"));
    Upfirdn p;
    p.samples = x.dim_size(0);
    p.channels = x.dim_size(3);
    p.y = axis(0, x.dim_size(1));
    p.x = axis(1, x.dim_size(2));
    p.column = column_.empty() ? nullptr : column_.data();
    p.row = row_.empty() ? nullptr : row_.data();
    p.kernel = kernel_.empty() ? nullptr : kernel_.data();
    OP_REQUIRES(ctx, p.y.out > 0 && p.x.out > 0,
                tensorflow::errors::InvalidArgument("native upfirdn: filter longer than input"));
    Tensor* y = nullptr;
    const TensorShape shape({p.samples, p.y.out, p.x.out, p.channels});
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, shape, &y));
    if (y->NumElements()) apply(ctx, p, x, y);
  }

  virtual void apply(OpKernelContext* ctx, const Upfirdn& p, const Tensor& x, Tensor* y) = 0;

 private:
  Axis axis(int i, int64_t in) const {
    const int up = rates_[i], down = rates_[i + 2], taps = taps_[i];
    const int64_t left = in * up + pads_[2 * i] + pads_[2 * i + 1] - taps;
    return Axis{in, left < 0 ? 0 : left / down + 1, up, down, pads_[2 * i], taps};
  }

  std::vector<float> kernel_, column_, row_;
  std::vector<tensorflow::int32> taps_, rates_, pads_;
};

class UpfirdnCpu : public UpfirdnBase {
 public:
  using UpfirdnBase::UpfirdnBase;

  void apply(OpKernelContext* ctx, const Upfirdn& p, const Tensor& x, Tensor* y) override {
    // Not fewer than 8 rows at a time: neighbouring blocks filter some input rows twice.
    const int64_t rows = std::min<int64_t>(8, p.y.out), total = p.samples * p.y.out;
    const double cost = double(rows) * p.x.out * p.channels * (p.row ? 1.0 : p.x.taps * 0.5);
    parallel(ctx, (total + rows - 1) / rows, cost, [&](int64_t begin, int64_t end) {
      upfirdn_cpu(data<float>(x), data<float>(y), p, begin * rows, std::min(end * rows, total));
    });
  }
};

GF_REGISTER_CPU("GansformerUpfirdn", UpfirdnCpu);

#ifdef GANSFORMER_CUDA
class UpfirdnCuda : public UpfirdnBase {
 public:
  using UpfirdnBase::UpfirdnBase;

  void apply(OpKernelContext* ctx, const Upfirdn& p, const Tensor& x, Tensor* y) override {
    GF_CUDA_CHECK(ctx, gansformer_upfirdn_cuda(cuda_stream(ctx), cuda_type(x.dtype()),
                                               x.tensor_data().data(), data<char>(y), &p));
  }
};

GF_REGISTER_CUDA("GansformerUpfirdn", UpfirdnCuda);
#endif

}  // namespace gansformer

// Op glue of the 3x3 convolution by minimal filtering, for CPUs. The scale, absent when it has no elements, multiplies x.
#pragma once

#include "op_common.h"
#include "winograd.h"

REGISTER_OP("GansformerConv3x3")
    .Input("x: float")      // [N, H, W, I]
    .Input("scale: float")  // [N, I]
    .Input("w: float")      // [3, 3, I, O]; kUp and turned: [3, 3, O, I]
    .Output("y: float")     // [N, H', W', O]
    .Attr("form: string")   // of kConvFormNames
    .Attr("turned: bool")   // of kSame: the filter is used turned by 180 degrees
    .SetShapeFn([](gansformer::InferenceContext* c) {
      gansformer::ShapeHandle x, w, y;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 4, &w));
      gansformer::Conv3x3 p{};
      bool turned;
      TF_RETURN_IF_ERROR(gansformer::get_enum(c, "form", gansformer::kConvFormNames, &p.form));
      TF_RETURN_IF_ERROR(c->GetAttr("turned", &turned));
      const bool swapped = turned || p.form == gansformer::kUp;
      TF_RETURN_IF_ERROR(c->ReplaceDim(x, 3, c->Dim(w, swapped ? 2 : 3), &y));
      for (int axis = 1; axis <= 2; ++axis) {
        const auto size = c->Dim(x, axis);
        const auto after = c->ValueKnown(size) ? c->MakeDim(p.size_after(c->Value(size)))
                                               : c->UnknownDim();
        TF_RETURN_IF_ERROR(c->ReplaceDim(y, axis, after, &y));
      }
      c->set_output(0, y);
      return gansformer::ok_status();
    });

REGISTER_OP("GansformerConv3x3Filter")
    .Input("x: float")
    .Input("scale: float")
    .Input("dy: float")  // [N, H', W', O]
    .Output("dw: float")
    .Attr("form: string")  // not kUp, which is kDown with x and dy exchanged
    .SetShapeFn([](gansformer::InferenceContext* c) {
      gansformer::ShapeHandle x, dy;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 4, &dy));
      const auto three = c->MakeDim(3);
      c->set_output(0, c->MakeShape({three, three, c->Dim(x, 3), c->Dim(dy, 3)}));
      return gansformer::ok_status();
    });

namespace gansformer {

// Fills in the sizes, or says what does not fit.
inline Status conv3x3_sizes(const Tensor& x, const Tensor& scale, int64_t out, Conv3x3* p) {
  *p = Conv3x3{p->form, x.dim_size(0), x.dim_size(1), x.dim_size(2), x.dim_size(3), out};
  if (p->in % kConvLanes || out % kConvLanes)
    return tensorflow::errors::InvalidArgument("native conv3x3: channels must be multiples of ",
                                               kConvLanes);
  if (p->form == kDown && (p->height % 2 == 0 || p->width % 2 == 0 || p->height < 3 || p->width < 3))
    return tensorflow::errors::InvalidArgument("native conv3x3: sizes must be odd, from 3 on: ",
                                               x.shape().DebugString());
  if (scale.NumElements() && scale.shape() != TensorShape({p->samples, p->in}))
    return tensorflow::errors::InvalidArgument("native conv3x3: scale does not fit ",
                                               x.shape().DebugString());
  return ok_status();
}

class Conv3x3Op : public OpKernel {
 public:
  explicit Conv3x3Op(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, get_enum(ctx, "form", kConvFormNames, &params_.form));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("turned", &turned_));
    swapped_ = turned_ || params_.form == kUp;
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor &x = ctx->input(0), &scale = ctx->input(1), &w = ctx->input(2);
    OP_REQUIRES(ctx,
                x.dims() == 4 && w.dims() == 4 && w.dim_size(0) == 3 && w.dim_size(1) == 3 &&
                    w.dim_size(swapped_ ? 3 : 2) == x.dim_size(3),
                tensorflow::errors::InvalidArgument("native conv3x3: x and w do not fit"));
    Conv3x3 p = params_;
    OP_REQUIRES_OK(ctx, conv3x3_sizes(x, scale, w.dim_size(swapped_ ? 2 : 3), &p));
    Tensor* y = nullptr;
    const TensorShape shape({p.samples, p.out_height(), p.out_width(), p.out});
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, shape, &y));
    if (!y->NumElements()) return;
    Tensor filter;
    OP_REQUIRES_OK(ctx, ctx->allocate_temp(tensorflow::DT_FLOAT,
                                           TensorShape({p.filters(), p.in, p.out}),
                                           &filter));
    float* u = data<float>(&filter);
    parallel(ctx, p.in / winograd_lanes(), 0.25 * p.filters() * winograd_lanes() * p.out,
             [&](int64_t begin, int64_t end) {
               winograd_filter_cpu(p, data<float>(w), turned_, begin, end, u);
             });
    const int64_t block = winograd_block(p), blocks = (p.tiles() + block - 1) / block;
    parallel(ctx, blocks, double(block) * p.in * p.out, [&](int64_t begin, int64_t end) {
      winograd_cpu(p, data<float>(x), data<float>(scale), u, data<float>(y), begin * block,
                  std::min(end * block, p.tiles()));
    });
  }

 private:
  Conv3x3 params_;
  bool turned_, swapped_;
};

class Conv3x3FilterOp : public OpKernel {
 public:
  explicit Conv3x3FilterOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, get_enum(ctx, "form", kConvFormNames, &params_.form));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor &x = ctx->input(0), &scale = ctx->input(1), &dy = ctx->input(2);
    Conv3x3 p = params_;
    OP_REQUIRES(ctx,
                x.dims() == 4 && dy.dims() == 4 && x.dim_size(0) == dy.dim_size(0) &&
                    p.size_after(x.dim_size(1)) == dy.dim_size(1) &&
                    p.size_after(x.dim_size(2)) == dy.dim_size(2),
                tensorflow::errors::InvalidArgument("native conv3x3: x and dy do not fit"));
    OP_REQUIRES_OK(ctx, conv3x3_sizes(x, scale, dy.dim_size(3), &p));
    Tensor* dw = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({3, 3, p.in, p.out}), &dw));
    if (!dw->NumElements() || !p.tiles()) return clear(dw);
    // Chunks of tiles give parts of dw: as many as the sizes say, not the threads.
    const int64_t block = winograd_filter_block(p), size = dw->NumElements();
    const int64_t most = std::max<int64_t>(1, std::min<int64_t>(64, kMostParts / size));
    const int64_t share = p.is_wide() ? 128 : 256;  // tiles of a chunk
    const int64_t wanted = std::max(p.tiles() / share, std::min<int64_t>(2, p.tiles() / 64));
    const int64_t blocks = (p.tiles() + block - 1) / block;
    const int64_t chunks = std::max<int64_t>(1, std::min({most, wanted, blocks}));
    Tensor parts_tensor;
    OP_REQUIRES_OK(ctx, ctx->allocate_temp(tensorflow::DT_FLOAT, TensorShape({chunks, size}),
                                           &parts_tensor));
    float* parts = data<float>(&parts_tensor);
    const int64_t slices = (p.in + winograd_slice(p) - 1) / winograd_slice(p);
    parallel(ctx, chunks * slices, double(p.tiles()) / chunks * p.in / slices * p.out,
             [&](int64_t begin, int64_t end) {
               for (int64_t unit = begin; unit < end; ++unit) {
                 const int64_t chunk = unit / slices, first = chunk * blocks / chunks * block;
                 const int64_t last = std::min((chunk + 1) * blocks / chunks * block, p.tiles());
                 winograd_filter_grad_cpu(p, data<float>(x), data<float>(scale), data<float>(dy),
                                         unit % slices, first, last, parts + chunk * size);
               }
             });
    reduce_rows(ctx, parts, 0, chunks, size, 0, size, data<float>(dw));
  }

 private:
  static constexpr int64_t kMostParts = 16 << 20;  // floats

  Conv3x3 params_;
};

REGISTER_KERNEL_BUILDER(Name("GansformerConv3x3").Device(tensorflow::DEVICE_CPU), Conv3x3Op);
REGISTER_KERNEL_BUILDER(Name("GansformerConv3x3Filter").Device(tensorflow::DEVICE_CPU),
                        Conv3x3FilterOp);

}  // namespace gansformer

// Op glue of the attention. Optional inputs are absent when they have no elements.
#pragma once

#include "attend.h"
#include "op_common.h"

#define GF_ATTEND_INPUTS                                                       \
  Input("x: T")                 /* [N, P, C] */                                \
      .Input("scale: float")    /* [N, C], optional */                         \
      .Input("keys: float")     /* [N or 1, slots, C] */                       \
      .Input("logits: float")   /* [N or 1, P or 1, slots], optional */        \
      .Input("keep: float")     /* [N, P, slots], optional */                  \
      .Input("values: float")   /* [N or 1, slots, O] */                       \
      .Input("bias: float")     /* [O], optional */                            \
      .Input("noise: float")    /* [N, P], optional */                         \
      .Input("act_bias: float") /* [C], optional */
#define GF_ATTEND_ATTRS                                                        \
  Attr("T: {float, half, bfloat16}")                                           \
      .Attr("heads: int")                                                      \
      .Attr("integration: string") /* of kIntegrationNames */                  \
      .Attr("normalise: bool")                                                 \
      .Attr("alpha: float")                                                    \
      .Attr("gain: float")

REGISTER_OP("GansformerAttend")
    .GF_ATTEND_INPUTS.Output("y: T")
    .GF_ATTEND_ATTRS.SetShapeFn([](gansformer::InferenceContext* c) {
      c->set_output(0, c->input(0));
      return gansformer::ok_status();
    });

REGISTER_OP("GansformerAttendGrad")
    .Input("dy: T")
    .Input("y: T")  // absent if there is no activation
    .GF_ATTEND_INPUTS.Output("dx: T")
    .Output("dscale: float")
    .Output("dkeys: float")
    .Output("dlogits: float")
    .Output("dkeep: float")
    .Output("dvalues: float")
    .Output("dbias: float")
    .Output("dnoise: float")
    .Output("dact_bias: float")
    .GF_ATTEND_ATTRS.SetShapeFn([](gansformer::InferenceContext* c) {
      for (int i = 0; i < 9; ++i) c->set_output(i, c->input(i + 2));
      return gansformer::ok_status();
    });

namespace gansformer {

class AttendBase : public OpKernel {
 public:
  explicit AttendBase(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("heads", &params_.heads));
    OP_REQUIRES_OK(ctx, get_enum(ctx, "integration", kIntegrationNames, &params_.integration));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("normalise", &params_.normalise));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("alpha", &params_.alpha));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("gain", &params_.gain));
  }

 protected:
  // Reads the sizes from the inputs, the first of which has index `first`, and checks them.
  Status sizes(OpKernelContext* ctx, int first, Attend* p) const {
    const auto shape = [&](int i) { return ctx->input(first + i).shape(); };
    *p = params_;
    const TensorShape x = shape(kX), keys = shape(kKeys), values = shape(kValues);
    if (x.dims() != 3 || keys.dims() != 3 || values.dims() != 3)
      return tensorflow::errors::InvalidArgument("native attend: wrong rank of x, keys or values");
    p->samples = x.dim_size(0);
    p->positions = x.dim_size(1);
    p->channels = x.dim_size(2);
    p->head_slots = int(keys.dim_size(1)) / p->heads;
    p->shared_keys = keys.dim_size(0) == 1;
    p->shared_values = values.dim_size(0) == 1;
    const int64_t N = p->samples, P = p->positions, C = p->channels;
    const int64_t slots = p->slots();
    bool good = slots > 0 && keys.dim_size(1) == slots && values.dim_size(1) == slots &&
                (p->shared_keys || keys.dim_size(0) == N) && keys.dim_size(2) == C &&
                (p->shared_values || values.dim_size(0) == N) && values.dim_size(2) == p->width();
    const TensorShape logits = shape(kLogits);
    p->shared_logits = p->flat_logits = false;
    if (logits.num_elements()) {
      good = good && logits.dims() == 3 && logits.dim_size(2) == slots;
      if (good) {
        p->shared_logits = logits.dim_size(0) == 1;
        p->flat_logits = logits.dim_size(1) == 1;
        good = (p->shared_logits || logits.dim_size(0) == N) &&
               (p->flat_logits || logits.dim_size(1) == P);
      }
    }
    const auto fits = [&](int i, int64_t size) {
      return shape(i).num_elements() == 0 || shape(i).num_elements() == size;
    };
    good = good && fits(kScale, N * C) && fits(kKeep, N * P * slots) && fits(kBias, p->width()) &&
           fits(kNoise, N * P) && fits(kActBias, C);
    if (!good) return tensorflow::errors::InvalidArgument("native attend: inputs do not fit x");
    return ok_status();
  }

  template <class T>
  static AttendIn<T> inputs(OpKernelContext* ctx, int first) {
    const auto at = [&](int i) { return data<float>(ctx->input(first + i)); };
    return AttendIn<T>{data<T>(ctx->input(first)), at(kScale), at(kKeys),  at(kLogits), at(kKeep),
                       at(kValues),                at(kBias),  at(kNoise), at(kActBias)};
  }

  // Rough cycles for a position; `products`: small matrix products on it.
  static double cost(const Attend& p, int products) {
    return double(p.channels) * (p.slots() * products / 16.0 + products);
  }

 private:
  Attend params_;
};

template <bool CUDA>
class AttendOp : public AttendBase {
 public:
  using AttendBase::AttendBase;

  void Compute(OpKernelContext* ctx) override {
    Attend p;
    OP_REQUIRES_OK(ctx, sizes(ctx, 0, &p));
    Tensor* y = nullptr;
    if (CUDA) OP_REQUIRES_OK(ctx, ctx->allocate_output(0, ctx->input(0).shape(), &y));
    else  // a tile has been read when it is written: y may lie where x does
      OP_REQUIRES_OK(ctx, ctx->forward_input_or_allocate_output({0}, 0, ctx->input(0).shape(), &y));
    if (!y->NumElements()) return;
#ifdef GANSFORMER_CUDA
    if (CUDA) {
      const auto in = inputs<void>(ctx, 0);
      GF_CUDA_CHECK(ctx, gansformer_attend_cuda(cuda_stream(ctx), cuda_type(y->dtype()), &p, &in,
                                                data<void>(y)));
      return;
    }
#endif
    const auto in = inputs<float>(ctx, 0);
    // 64 positions at a time: each block unpacks the keys and values anew.
    const int64_t total = p.samples * p.positions, block = 64;
    parallel(ctx, (total + block - 1) / block, block * cost(p, 2), [&](int64_t begin, int64_t end) {
      attend_cpu(p, in, data<float>(y), begin * block, std::min(end * block, total));
    });
  }
};

template <bool CUDA>
class AttendGradOp : public AttendBase {
 public:
  using AttendBase::AttendBase;

  void Compute(OpKernelContext* ctx) override {
    constexpr int kFirst = 2;
    Attend p;
    OP_REQUIRES_OK(ctx, sizes(ctx, kFirst, &p));
    const Tensor &dy = ctx->input(0), &x = ctx->input(kFirst);
    // Without an activation the sign of y means nothing, and any array of its size will do.
    const Tensor& y = p.alpha == 1 ? dy : ctx->input(1);
    OP_REQUIRES(ctx, dy.shape() == x.shape() && y.shape() == x.shape(),
                tensorflow::errors::InvalidArgument("native attend: x, y and dy do not fit"));
    Tensor* out[kNumAttendInputs];
    for (int i = CUDA ? kX : kX + 1; i < kNumAttendInputs; ++i)
      OP_REQUIRES_OK(ctx, ctx->allocate_output(i, ctx->input(kFirst + i).shape(), &out[i]));
    if (!CUDA)  // where dy lies, if nobody else needs it
      OP_REQUIRES_OK(ctx, ctx->forward_input_or_allocate_output({0}, kX, x.shape(), &out[kX]));
    if (!CUDA && !x.NumElements()) {  // the CUDA kernels add what there is, nothing
      for (Tensor* result : out) clear(result);
      return;
    }
    // Per block of positions: sums for the inputs that all positions share.
#ifdef GANSFORMER_CUDA
    const int64_t block = CUDA ? kCudaAttendBlock : kBlock;
#else
    const int64_t block = kBlock;
#endif
    const int64_t blocks = (p.positions + block - 1) / block, units = p.samples * blocks;
    const int64_t stride = p.sums_size();
    Tensor sums_tensor, rows_tensor;
    OP_REQUIRES_OK(ctx, ctx->allocate_temp(tensorflow::DT_FLOAT, TensorShape({units, stride}),
                                           &sums_tensor));
    float* sums = data<float>(&sums_tensor);
#ifdef GANSFORMER_CUDA
    if (CUDA) {
      const TensorShape rows_shape({p.samples * p.positions, attend_row_size(p.slots())});
      OP_REQUIRES_OK(ctx, ctx->allocate_temp(tensorflow::DT_FLOAT, rows_shape, &rows_tensor));
      const auto in = inputs<void>(ctx, kFirst);
      void* results[kNumAttendInputs];
      for (int i = 0; i < kNumAttendInputs; ++i) results[i] = data<void>(out[i]);
      GF_CUDA_CHECK(ctx, gansformer_attend_grad_cuda(cuda_stream(ctx), cuda_type(x.dtype()), &p,
                                                     &in, data<void>(dy), data<void>(y), results,
                                                     data<float>(&rows_tensor), sums));
      return;
    }
#endif
    const bool has_logits = out[kLogits]->NumElements() && !p.flat_logits;
    const TensorShape rows_shape({has_logits ? p.samples * p.positions : 0, p.slots()});
    OP_REQUIRES_OK(ctx, ctx->allocate_temp(tensorflow::DT_FLOAT, rows_shape, &rows_tensor));
    float* dlogits = data<float>(&rows_tensor);
    const auto in = inputs<float>(ctx, kFirst);
    const AttendGrad<float> grad{data<float>(dy),         data<float>(y),
                                 data<float>(out[kX]),    data<float>(out[kKeep]),
                                 data<float>(out[kNoise]), dlogits};
    parallel(ctx, units, kBlock * cost(p, 6), [&](int64_t begin, int64_t end) {
      attend_grad_cpu(p, in, grad, kBlock, begin, end, sums);
    });
    reduce(ctx, p, out, sums, blocks, dlogits);
  }

 private:
  // Sums of blocks => gradients of what all positions, or all samples, share.
  static void reduce(OpKernelContext* ctx, const Attend& p, Tensor** out, const float* sums,
                     int64_t blocks, const float* dlogits) {
    for_each_sum(p, [&](int i, int64_t offset, int64_t size, bool per_sample) {
      if (!out[i]->NumElements() || (i == kLogits && !p.flat_logits)) return;
      const int64_t groups = per_sample ? p.samples : 1, rows = p.samples * blocks / groups;
      for (int64_t g = 0; g < groups; ++g)
        reduce_rows(ctx, sums, g * rows, (g + 1) * rows, p.sums_size(), offset, size,
                    data<float>(out[i]) + g * size);
    });
    if (!p.flat_logits && out[kLogits]->NumElements()) {
      const int64_t size = p.slots() * p.positions, groups = p.shared_logits ? 1 : p.samples;
      const int64_t rows = p.samples / groups;
      for (int64_t g = 0; g < groups; ++g)
        reduce_rows(ctx, dlogits, g * rows, (g + 1) * rows, size, 0, size,
                    data<float>(out[kLogits]) + g * size);
    }
  }
};

GF_REGISTER_CPU("GansformerAttend", AttendOp<false>);
GF_REGISTER_CPU("GansformerAttendGrad", AttendGradOp<false>);
#ifdef GANSFORMER_CUDA
GF_REGISTER_CUDA("GansformerAttend", AttendOp<true>);
GF_REGISTER_CUDA("GansformerAttendGrad", AttendGradOp<true>);
#endif

}  // namespace gansformer

// Op glue of fused_bias_act. Optional inputs are absent when they have no elements.
#pragma once

#include "bias_act.h"
#include "op_common.h"

REGISTER_OP("GansformerBiasAct")
    .Input("x: T")
    .Input("bias: float")   // [C]
    .Input("scale: float")  // [N, C]
    .Input("noise: float")  // [N, P]
    .Output("y: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("act: string")  // of kActNames
    .Attr("alpha: float")
    .Attr("gain: float")
    .Attr("clamp: float")  // negative: none
    .SetShapeFn([](gansformer::InferenceContext* c) {
      c->set_output(0, c->input(0));
      return gansformer::ok_status();
    });

REGISTER_OP("GansformerBiasActGrad")
    .Input("dy: T")
    .Input("x: T")  // absent if neither the activation nor a scale needs it
    .Input("y: T")  // absent if neither the activation nor a clamp needs it
    .Input("bias: float")
    .Input("scale: float")
    .Input("noise: float")
    .Output("dx: T")
    .Output("dbias: float")
    .Output("dscale: float")
    .Output("dnoise: float")
    .Attr("T: {float, half, bfloat16}")
    .Attr("act: string")
    .Attr("alpha: float")
    .Attr("gain: float")
    .Attr("clamp: float")
    .SetShapeFn([](gansformer::InferenceContext* c) {
      c->set_output(0, c->input(0));
      for (int i = 1; i < 4; ++i) c->set_output(i, c->input(i + 2));
      return gansformer::ok_status();
    });

namespace gansformer {

class BiasActBase : public OpKernel {
 public:
  explicit BiasActBase(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, get_enum(ctx, "act", kActNames, &params_.act));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("alpha", &params_.alpha));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("gain", &params_.gain));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("clamp", &params_.clamp));
    if (params_.clamp < 0) params_.clamp = std::numeric_limits<float>::quiet_NaN();
  }

 protected:
  // The sizes; optional inputs of the wrong size are an error.
  Status sizes(const Tensor& x, const Tensor& bias, const Tensor& scale, const Tensor& noise,
               BiasAct* p) const {
    *p = params_;
    p->channels = x.dims() ? x.dim_size(x.dims() - 1) : 1;
    const bool per_sample = scale.NumElements() || noise.NumElements();
    p->samples = per_sample ? x.dim_size(0) : 1;
    p->positions = x.NumElements() / std::max<int64_t>(1, p->samples * p->channels);
    const auto fits = [](const Tensor& t, int64_t size) {
      return t.NumElements() == 0 || t.NumElements() == size;
    };
    if (x.NumElements() && !(fits(bias, p->channels) && fits(scale, p->samples * p->channels) &&
                             fits(noise, p->samples * p->positions)))
      return tensorflow::errors::InvalidArgument("native bias_act: bias, scale or noise do not fit ",
                                                 x.shape().DebugString());
    return ok_status();
  }

 private:
  BiasAct params_;
};

template <class T>
BiasActIn<T> bias_act_in(const Tensor& x, const Tensor& bias, const Tensor& scale,
                         const Tensor& noise) {
  return BiasActIn<T>{data<T>(x), data<float>(scale), data<float>(noise), data<float>(bias)};
}

// Rough cycles for one value.
inline double bias_act_cost(int act) { return act <= kLrelu ? 0.5 : 4.0; }

template <bool CUDA>
class BiasActOp : public BiasActBase {
 public:
  using BiasActBase::BiasActBase;

  void Compute(OpKernelContext* ctx) override {
    const Tensor &x = ctx->input(0), &bias = ctx->input(1), &scale = ctx->input(2),
                 &noise = ctx->input(3);
    BiasAct p;
    OP_REQUIRES_OK(ctx, sizes(x, bias, scale, noise, &p));
    Tensor* y = nullptr;
    OP_REQUIRES_OK(ctx, ctx->forward_input_or_allocate_output({0}, 0, x.shape(), &y));
    if (!x.NumElements()) return;
#ifdef GANSFORMER_CUDA
    if (CUDA) {
      const auto in = bias_act_in<void>(x, bias, scale, noise);
      GF_CUDA_CHECK(ctx, gansformer_bias_act_cuda(cuda_stream(ctx), cuda_type(x.dtype()), &p, &in,
                                                  data<void>(y)));
      return;
    }
#endif
    const auto in = bias_act_in<float>(x, bias, scale, noise);
    parallel(ctx, p.samples * p.positions, p.channels * bias_act_cost(p.act),
             [&](int64_t begin, int64_t end) { bias_act_cpu(p, in, data<float>(y), begin, end); });
  }
};

template <bool CUDA>
class BiasActGradOp : public BiasActBase {
 public:
  using BiasActBase::BiasActBase;

  void Compute(OpKernelContext* ctx) override {
    const Tensor &dy = ctx->input(0), &x = ctx->input(1), &y = ctx->input(2),
                 &bias = ctx->input(3), &scale = ctx->input(4), &noise = ctx->input(5);
    BiasAct p;
    OP_REQUIRES_OK(ctx, sizes(dy, bias, scale, noise, &p));
    const bool need_x = p.act == kSwish || scale.NumElements();
    const bool need_y = (p.act != kSwish && p.act != kLinear) || p.clamp >= 0;
    OP_REQUIRES(ctx, (!need_x || x.shape() == dy.shape()) && (!need_y || y.shape() == dy.shape()),
                tensorflow::errors::InvalidArgument("native bias_act: x, y and dy do not fit"));
    Tensor *dx = nullptr, *dbias = nullptr, *dscale = nullptr, *dnoise = nullptr;
    OP_REQUIRES_OK(ctx, ctx->forward_input_or_allocate_output({0}, 0, dy.shape(), &dx));
    OP_REQUIRES_OK(ctx, ctx->allocate_output(1, bias.shape(), &dbias));
    OP_REQUIRES_OK(ctx, ctx->allocate_output(2, scale.shape(), &dscale));
    OP_REQUIRES_OK(ctx, ctx->allocate_output(3, noise.shape(), &dnoise));
    if (!CUDA && !dy.NumElements()) {  // the CUDA kernels add what there is, nothing
      for (Tensor* sum : {dbias, dscale, dnoise}) clear(sum);
      return;
    }
    // The sums of each block of positions: of dbias, then of dscale.
#ifdef GANSFORMER_CUDA
    const int64_t block = CUDA ? kCudaBiasBlock : kBlock;
#else
    const int64_t block = kBlock;
#endif
    const int64_t blocks = (p.positions + block - 1) / block, stride = 2 * p.channels;
    Tensor sums_tensor;
    OP_REQUIRES_OK(ctx, ctx->allocate_temp(tensorflow::DT_FLOAT,
                                           TensorShape({p.samples * blocks, stride}), &sums_tensor));
    float* sums = data<float>(&sums_tensor);
#ifdef GANSFORMER_CUDA
    if (CUDA) {
      const auto in = bias_act_in<void>(x, bias, scale, noise);
      const BiasActGrad<void> grad{data<void>(dy), data<void>(y), data<void>(dx), data<float>(dnoise)};
      GF_CUDA_CHECK(ctx, gansformer_bias_act_grad_cuda(cuda_stream(ctx), cuda_type(dy.dtype()), &p,
                                                       &in, &grad, data<float>(dbias),
                                                       data<float>(dscale), sums));
      return;
    }
#endif
    const auto in = bias_act_in<float>(x, bias, scale, noise);
    const BiasActGrad<float> grad{data<float>(dy), data<float>(y), data<float>(dx),
                                  data<float>(dnoise)};
    parallel(ctx, p.samples * blocks, kBlock * p.channels * 2 * bias_act_cost(p.act),
             [&](int64_t begin, int64_t end) {
               for (int64_t unit = begin; unit < end; ++unit) {
                 const int64_t start = unit / blocks * p.positions;
                 const int64_t first = unit % blocks * kBlock;
                 const int64_t last = std::min(first + kBlock, p.positions);
                 float* db = sums + unit * stride;
                 std::fill(db, db + stride, 0.0f);
                 bias_act_grad_cpu(p, in, grad, start + first, start + last, db, db + p.channels);
               }
             });
    if (bias.NumElements())
      reduce_rows(ctx, sums, 0, p.samples * blocks, stride, 0, p.channels, data<float>(dbias));
    for (int64_t n = 0; n < p.samples && scale.NumElements(); ++n)
      reduce_rows(ctx, sums, n * blocks, (n + 1) * blocks, stride, p.channels, p.channels,
                  data<float>(dscale) + n * p.channels);
  }
};

GF_REGISTER_CPU("GansformerBiasAct", BiasActOp<false>);
GF_REGISTER_CPU("GansformerBiasActGrad", BiasActGradOp<false>);
#ifdef GANSFORMER_CUDA
GF_REGISTER_CUDA("GansformerBiasAct", BiasActOp<true>);
GF_REGISTER_CUDA("GansformerBiasActGrad", BiasActGradOp<true>);
#endif

}  // namespace gansformer

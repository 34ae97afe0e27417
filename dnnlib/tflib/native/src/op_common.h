// What the op glue shares: names that differ between TensorFlow 1.15 and 2.x, access to tensors,
// work on the session's threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "kernels_cpu.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/lib/core/threadpool.h"
#ifdef GANSFORMER_CUDA
#include "kernels_cuda.h"
#if GANSFORMER_TF_MAJOR < 2
#include "tensorflow/stream_executor/stream.h"
#include "tensorflow/stream_executor/stream_executor_internal.h"
#else
#include "xla/stream_executor/stream.h"
#endif
#endif

namespace gansformer {

using tensorflow::DataType;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

#if GANSFORMER_TF_MAJOR < 2
using Status = tensorflow::Status;
inline Status ok_status() { return Status::OK(); }
#else
using Status = absl::Status;
inline Status ok_status() { return absl::OkStatus(); }
#endif

// Positions whose sums are added before the sums of blocks are: fixed, so that results do not depend on
// the number of threads.
constexpr int64_t kBlock = 256;

template <class T>
const T* data(const Tensor& tensor) {
  return tensor.NumElements() ? reinterpret_cast<const T*>(tensor.tensor_data().data()) : nullptr;
}

template <class T>
T* data(Tensor* tensor) {
  return const_cast<T*>(data<T>(*tensor));
}

// Fills a tensor in this machine's memory with zeros.
inline void clear(Tensor* tensor) {
  std::fill_n(data<float>(tensor), tensor->NumElements(), 0.0f);
}

// Calls f(begin, end) on the session's threads; `cost`: cycles for one unit.
template <class F>
void parallel(OpKernelContext* ctx, int64_t total, double cost, F f) {
  ctx->device()->tensorflow_cpu_worker_threads()->workers->ParallelFor(
      total, std::max<int64_t>(1, int64_t(cost)), f);
}

// The number of a string attribute among the names of an enumeration. CONTEXT: of a kernel's
// construction or of shapes.
template <class CONTEXT, class ENUM, size_t SIZE>
Status get_enum(CONTEXT* ctx, const char* attr, const char* const (&names)[SIZE], ENUM* number) {
  std::string name;
  TF_RETURN_IF_ERROR(ctx->GetAttr(attr, &name));
  const auto found = std::find(names, names + SIZE, name);
  if (found == names + SIZE)
    return tensorflow::errors::InvalidArgument("native op: there is no ", attr, " '", name, "'");
  *number = ENUM(found - names);
  return ok_status();
}

// Adds rows [begin, end) of `sums` [rows, stride], columns [offset, offset + size).
inline void reduce_rows(OpKernelContext* ctx, const float* sums, int64_t begin, int64_t end,
                        int64_t stride, int64_t offset, int64_t size, float* out) {
  constexpr int kColumns = 64;  // at a time, so that their sums stay in the first-level cache
  parallel(ctx, size, double(end - begin), [&](int64_t first, int64_t last) {
    for (; first < last; first += kColumns) {
      const int64_t count = std::min<int64_t>(kColumns, last - first);
      double total[kColumns] = {};
      for (int64_t r = begin; r < end; ++r) {
        const float* row = sums + r * stride + offset + first;
        for (int64_t j = 0; j < count; ++j) total[j] += row[j];
      }
      for (int64_t j = 0; j < count; ++j) out[first + j] = float(total[j]);
    }
  });
}

// CPU kernels know float32 alone.
#define GF_REGISTER_CPU(NAME, KERNEL) \
  REGISTER_KERNEL_BUILDER(             \
      Name(NAME).Device(tensorflow::DEVICE_CPU).TypeConstraint<float>("T"), KERNEL)

#ifdef GANSFORMER_CUDA
#define GF_REGISTER_CUDA(NAME, KERNEL) \
  REGISTER_KERNEL_BUILDER(Name(NAME).Device(tensorflow::DEVICE_GPU), KERNEL)

inline void* cuda_stream(OpKernelContext* ctx) {
#if GANSFORMER_TF_MAJOR < 2
  return *reinterpret_cast<void**>(
      ctx->op_device_context()->stream()->implementation()->GpuStreamMemberHack());
#else
  return ctx->op_device_context()->stream()->platform_specific_handle().stream;
#endif
}

inline int cuda_type(DataType type) {
  return type == tensorflow::DT_FLOAT ? 0 : type == tensorflow::DT_HALF ? 1 : 2;
}

#define GF_CUDA_CHECK(CTX, CALL)                                                               \
  do {                                                                                         \
    const char* error = CALL;                                                                  \
    OP_REQUIRES(CTX, error == nullptr,                                                         \
                tensorflow::errors::Internal("native op: CUDA says: ", error ? error : ""));   \
  } while (false)
#endif

}  // namespace gansformer

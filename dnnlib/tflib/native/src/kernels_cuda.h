// The CUDA kernels as the op glue, and tests through ctypes, call them. No TensorFlow here.
//
// Pointers are device pointers unless noted; `type`, that of maps (x, y and their gradients), is 0 for
// float, 1 for half, 2 for bfloat16; all else is float. A launcher returns null, or what is wrong.
#pragma once

#include "kernels_cpu.h"

namespace gansformer {

// Positions of a sample whose sums one block of threads adds.
constexpr int kCudaBiasBlock = 64;
constexpr int kCudaAttendBlock = 128;
constexpr int kCudaMaxSlots = 64;

constexpr int kCudaMaxChannels = 1024;

// Numbers that the backward pass of the attention keeps for each position: see attend_grad.cu.
GF_HOST_DEVICE int64_t attend_row_size(int slots) { return 2 * ((slots + 3) / 4 * 4) + 4; }

}  // namespace gansformer

extern "C" {

// p->column, row, kernel: host pointers.
const char* gansformer_upfirdn_cuda(void* stream, int type, const void* x, void* y,
                                    const gansformer::Upfirdn* p);

const char* gansformer_bias_act_cuda(void* stream, int type, const gansformer::BiasAct* p,
                                     const gansformer::BiasActIn<void>* in, void* y);

// sums: [samples * ceil(positions / kCudaBiasBlock), 2 * channels] floats to work in.
const char* gansformer_bias_act_grad_cuda(void* stream, int type, const gansformer::BiasAct* p,
                                          const gansformer::BiasActIn<void>* in,
                                          const gansformer::BiasActGrad<void>* grad, float* dbias,
                                          float* dscale, float* sums);

const char* gansformer_attend_cuda(void* stream, int type, const gansformer::Attend* p,
                                   const gansformer::AttendIn<void>* in, void* y);

// results: of x, scale, keys, logits, keep, values, bias, noise, act_bias; null if absent.
// rows: [samples * positions, attend_row_size] floats to work in; sums: [samples *
// ceil(positions / kCudaAttendBlock), p->sums_size()] floats.
const char* gansformer_attend_grad_cuda(void* stream, int type, const gansformer::Attend* p,
                                        const gansformer::AttendIn<void>* in, const void* dy,
                                        const void* y, void* const* results, float* rows,
                                        float* sums);
}

// Stand-ins for CUDA, with which a C++ compiler turns the CUDA kernels into a program for the CPU.
//
// Blocks run one after the other. The threads of a block are fibers of one CPU thread, which take turns
// where they meet: at barriers and where lanes of a warp exchange values. A barrier that some thread
// never reaches stops the program.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <memory>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(threads)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

struct Group {  // threads that wait for each other: those of a warp, or of a block
  int alive = 0, arrived = 0;
  long generation = 0;
  float values[32];

  void release_if_complete();
};

struct Fiber {
  ucontext_t context;  // where it starts
  jmp_buf jump;        // where it goes on; unlike ucontext, this takes no system calls
  bool started = false;
  dim3 thread;
  Group* warp;
  int lane;
  bool done = false;
};

constexpr size_t kStack = 128 << 10;
inline std::vector<std::unique_ptr<char[]>> stacks;
inline ucontext_t unused;
inline jmp_buf scheduler;
inline Fiber* current;
inline Group block_group;
inline long progress;  // how often a group was released or a thread ended
inline std::function<void()> body;

inline void Group::release_if_complete() {
  if (alive && arrived == alive) {
    arrived = 0;
    ++generation;
    ++progress;
  }
}

inline void meet(Group& group) {
  const long generation = group.generation;
  ++group.arrived;
  group.release_if_complete();
  while (group.generation == generation)
    if (_setjmp(current->jump) == 0) _longjmp(scheduler, 1);
}

inline void run_fiber() {
  body();
  current->done = true;
  ++progress;
  for (Group* group : {current->warp, &block_group}) {
    --group->alive;
    group->release_if_complete();
  }
  _longjmp(scheduler, 1);
}

inline void resume(Fiber* fiber) {
  current = fiber;
  threadIdx = fiber->thread;
  if (_setjmp(scheduler)) return;
  if (fiber->started) _longjmp(fiber->jump, 1);
  fiber->started = true;
  swapcontext(&unused, &fiber->context);
}

inline void run_block(dim3 block) {
  const int threads = block.x * block.y * block.z;
  std::vector<Group> warps((threads + 31) / 32);
  std::vector<std::unique_ptr<Fiber>> fibers;
  block_group = Group();
  block_group.alive = threads;
  for (int i = 0; i < threads; ++i) {
    fibers.emplace_back(new Fiber);
    Fiber& f = *fibers.back();
    f.thread = dim3(i % block.x, i / block.x % block.y, i / block.x / block.y);
    f.warp = &warps[i / 32];
    f.lane = i % 32;
    ++f.warp->alive;
    getcontext(&f.context);
    if (int(stacks.size()) == i) stacks.emplace_back(new char[kStack]);
    f.context.uc_stack.ss_sp = stacks[i].get();
    f.context.uc_stack.ss_size = kStack;
    f.context.uc_link = nullptr;
    makecontext(&f.context, run_fiber, 0);
  }
  for (int running = threads; running;) {
    const long before = progress;
    running = 0;
    for (auto& f : fibers) {
      if (f->done) continue;
      resume(f.get());
      running += !f->done;
    }
    if (running && progress == before) {
      std::fprintf(stderr, "a barrier that not all threads reach\n");
      std::abort();
    }
  }
}

}  // namespace emulation

inline void __syncthreads() { emulation::meet(emulation::block_group); }

inline void __syncwarp() { emulation::meet(*emulation::current->warp); }

inline float __shfl_xor_sync(unsigned, float value, int mask) {
  emulation::Group& warp = *emulation::current->warp;
  const int lane = emulation::current->lane;
  warp.values[lane] = value;
  emulation::meet(warp);
  const float other = warp.values[lane ^ mask];
  emulation::meet(warp);
  return other;
}

namespace gansformer {

template <class... Params, class... Args>
const char* launch(void (*kernel)(Params...), dim3 grid, dim3 block, void*, Args... args) {
  gridDim = grid;
  blockDim = block;
  emulation::body = [=] { kernel(Params(args)...); };
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        emulation::run_block(block);
      }
  return nullptr;
}

}  // namespace gansformer

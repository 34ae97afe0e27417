// Vectors of floats in the compiler's own notation, of which any compiler makes good code.
#pragma once

#include <cstdlib>
#include <new>
#include <vector>

namespace gansformer {

// LANES floats, anywhere in memory. (The attributes are lost on the way through a template parameter:
// templates are over LANES.)
template <int LANES>
struct VectorOf {
  typedef float type __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
};

constexpr int kLanes = 16;
typedef VectorOf<kLanes>::type Vector;  // in as many registers of the machine as it takes

template <int LANES = kLanes>
inline typename VectorOf<LANES>::type load(const float* from) {
  return *reinterpret_cast<const typename VectorOf<LANES>::type*>(from);
}

template <int LANES = kLanes>
inline void store(float* to, typename VectorOf<LANES>::type v) {
  *reinterpret_cast<typename VectorOf<LANES>::type*>(to) = v;
}

// Lanes of a, counted from 0, and of b, from kLanes on, in another order.
template <int... ORDER>
inline Vector shuffle(Vector a, Vector b) {
#ifdef __clang__
  return __builtin_shufflevector(a, b, ORDER...);
#else
  typedef int Order __attribute__((vector_size(kLanes * 4)));
  return __builtin_shuffle(a, b, Order{ORDER...});
#endif
}

template <int... ORDER>
inline Vector shuffle(Vector v) { return shuffle<ORDER...>(v, v); }

// Every lane of a group combined with every other by f: all lanes of its result are the same.
// Groups of 8 or 16 lanes.
template <int GROUP, class F>
inline Vector across(Vector v, F f) {
  if (GROUP == 16) v = f(v, shuffle<8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7>(v));
  v = f(v, shuffle<4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11>(v));
  v = f(v, shuffle<2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13>(v));
  return f(v, shuffle<1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14>(v));
}

struct Larger {
  Vector operator()(Vector a, Vector b) const { return a > b ? a : b; }
};
struct Plus {
  Vector operator()(Vector a, Vector b) const { return a + b; }
};

inline float total(Vector lanes) { return across<16>(lanes, Plus())[0]; }

// The sums of the lanes of several vectors, two of which become one in each step.
inline Vector pair_halves(Vector a, Vector b) {
  return shuffle<0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23>(a, b) +
         shuffle<8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31>(a, b);
}
inline Vector pair_quarters(Vector a, Vector b) {
  return shuffle<0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27>(a, b) +
         shuffle<4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31>(a, b);
}
inline void totals(const Vector (&v)[8], float* to) {
  const Vector low = pair_quarters(pair_halves(v[0], v[1]), pair_halves(v[2], v[3]));
  const Vector high = pair_quarters(pair_halves(v[4], v[5]), pair_halves(v[6], v[7]));
  Vector sum = shuffle<0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29>(low, high) +
               shuffle<2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31>(low, high);
  sum += shuffle<1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14>(sum);
  for (int i = 0; i < 8; ++i) to[i] = sum[2 * i];
}
inline void totals(const Vector (&v)[4], float* to) {
  for (int i = 0; i < 4; ++i) to[i] = total(v[i]);
}

// Begins with a line of the cache: a vector across two lines costs twice.
template <class T>
struct LineAllocator {
  typedef T value_type;
  LineAllocator() = default;
  template <class U> LineAllocator(const LineAllocator<U>&) {}
  T* allocate(size_t size) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, size * sizeof(T))) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t) { free(memory); }
  bool operator==(const LineAllocator&) const { return true; }
  bool operator!=(const LineAllocator&) const { return false; }
};
typedef std::vector<float, LineAllocator<float>> Floats;

}  // namespace gansformer

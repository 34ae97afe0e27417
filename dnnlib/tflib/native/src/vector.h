// Vectors of floats in the compiler's own notation, of which any compiler makes good code.
#pragma once

#include <cstdlib>
#include <new>
#include <vector>

namespace gansformer {

template <int LANES>
struct Vector {
  typedef float type __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
};

// Every lane of a group combined with every other by f(V, V): all lanes of its result are the same.
// Groups of 8 or 16 lanes.
#ifdef __clang__
#define GF_SHUFFLE(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#define GF_SHUFFLE2(v, w, ...) __builtin_shufflevector(v, w, __VA_ARGS__)
#else
#define GF_SHUFFLE(v, ...) __builtin_shuffle(v, I{__VA_ARGS__})
#define GF_SHUFFLE2(v, w, ...) __builtin_shuffle(v, w, I{__VA_ARGS__})
#endif
template <int GROUP, class F>
inline Vector<16>::type across(Vector<16>::type v, F f) {
  typedef int I __attribute__((vector_size(64), unused));
  if (GROUP == 16) v = f(v, GF_SHUFFLE(v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  v = f(v, GF_SHUFFLE(v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
  v = f(v, GF_SHUFFLE(v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
  return f(v, GF_SHUFFLE(v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
}

struct Larger {
  template <class V> V operator()(V a, V b) const { return a > b ? a : b; }
};
struct Plus {
  template <class V> V operator()(V a, V b) const { return a + b; }
};

inline float total(const Vector<16>::type& lanes) { return across<16>(lanes, Plus())[0]; }

// The sums of the lanes of several vectors, two of which become one in each step.
inline Vector<16>::type pair_halves(Vector<16>::type a, Vector<16>::type b) {
  typedef int I __attribute__((vector_size(64), unused));
  return GF_SHUFFLE2(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
         GF_SHUFFLE2(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}
inline Vector<16>::type pair_quarters(Vector<16>::type a, Vector<16>::type b) {
  typedef int I __attribute__((vector_size(64), unused));
  return GF_SHUFFLE2(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
         GF_SHUFFLE2(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}
inline void totals(const Vector<16>::type (&v)[8], float* to) {
  typedef int I __attribute__((vector_size(64), unused));
  const auto low = pair_quarters(pair_halves(v[0], v[1]), pair_halves(v[2], v[3]));
  const auto high = pair_quarters(pair_halves(v[4], v[5]), pair_halves(v[6], v[7]));
  auto sum = GF_SHUFFLE2(low, high, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) +
             GF_SHUFFLE2(low, high, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
  sum += GF_SHUFFLE(sum, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
  for (int i = 0; i < 8; ++i) to[i] = sum[2 * i];
}
template <int ROWS>
inline void totals(const Vector<16>::type (&v)[ROWS], float* to) {
  for (int i = 0; i < ROWS; ++i) to[i] = total(v[i]);
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

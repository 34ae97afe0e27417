// The transforms of the forms of conv3x3.h along one axis.
#pragma once

#include "matrix_cpu.h"

namespace gansformer {
namespace {

// What the kernels ask of a form: kPoints products along an axis; patches of kIn pixels, the first at
// kStep * patch - kBefore; patches of kOut results. The transforms: input, B^T; filter, G; output, A^T;
// and for the gradient of the filter: results, in the place of G; taps, in that of A^T. What concerns
// the filter has kFilters values, not kPoints.
struct Same {
  static constexpr int kPoints = 4, kIn = 4, kStep = 2, kBefore = 1, kOut = 2;

  static void input(const V* d, V* t) {
    t[0] = d[0] - d[2];
    t[1] = d[1] + d[2];
    t[2] = d[2] - d[1];
    t[3] = d[1] - d[3];
  }
  static void filter(const V* g, V* t) {
    const V even = 0.5f * (g[0] + g[2]), odd = 0.5f * g[1];
    t[0] = g[0];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = g[2];
  }
  static void output(const V* m, V* t) {
    t[0] = m[0] + m[1] + m[2];
    t[1] = m[1] - m[2] - m[3];
  }
  static void results(const V* e, V* t) {
    t[0] = e[0];
    t[1] = 0.5f * (e[0] + e[1]);
    t[2] = 0.5f * (e[0] - e[1]);
    t[3] = e[1];
  }
  static void taps(const V* m, V* t) {
    t[0] = m[0] + m[1] + m[2];
    t[1] = m[1] - m[2];
    t[2] = m[1] + m[2] - m[3];
  }
};

// y[o] = g[0] d[2 o] + g[1] d[2 o + 1] + g[2] d[2 o + 2]
struct Down {
  static constexpr int kPoints = 5, kIn = 5, kStep = 4, kBefore = 0, kOut = 2;

  static void input(const V* d, V* t) {
    t[0] = d[0] - d[2];
    t[1] = d[2];
    t[2] = d[4] - d[2];
    t[3] = d[1];
    t[4] = d[3];
  }
  static void filter(const V* g, V* t) {
    t[0] = g[0];
    t[1] = g[0] + g[2];
    t[2] = g[2];
    t[3] = g[1];
  }
  static void output(const V* m, V* t) {
    t[0] = m[0] + m[1] + m[3];
    t[1] = m[1] + m[2] + m[4];
  }
  static void results(const V* e, V* t) {
    t[0] = t[3] = e[0];
    t[1] = e[0] + e[1];
    t[2] = t[4] = e[1];
  }
  static void taps(const V* m, V* t) {
    t[0] = m[0] + m[1];
    t[1] = m[3];
    t[2] = m[1] + m[2];
  }
};

// y[2 i] = g[0] d[i] + g[2] d[i - 1], y[2 i + 1] = g[1] d[i]
struct Up {
  static constexpr int kPoints = 5, kIn = 3, kStep = 2, kBefore = 1, kOut = 4;

  static void input(const V* d, V* t) {
    t[0] = d[0] - d[1];
    t[1] = t[3] = d[1];
    t[2] = d[2] - d[1];
    t[4] = d[2];
  }
  static void filter(const V* g, V* t) {
    t[0] = g[2];
    t[1] = g[2] + g[0];
    t[2] = g[0];
    t[3] = g[1];
  }
  static void output(const V* m, V* t) {
    t[0] = m[0] + m[1];
    t[1] = m[3];
    t[2] = m[1] + m[2];
    t[3] = m[4];
  }
};

// One of the transforms above along both axes: [FROM, FROM] to [TO, TO].
template <int FROM, int TO, class F>
inline void along_both(F transform, const V (&in)[FROM][FROM], V (&out)[TO][TO]) {
  V half[TO][FROM];
#pragma GCC unroll 5
  for (int j = 0; j < FROM; ++j) {
    V column[FROM], t[TO];
#pragma GCC unroll 5
    for (int i = 0; i < FROM; ++i) column[i] = in[i][j];
    transform(column, t);
#pragma GCC unroll 5
    for (int i = 0; i < TO; ++i) half[i][j] = t[i];
  }
#pragma GCC unroll 5
  for (int i = 0; i < TO; ++i) transform(half[i], out[i]);
}

}  // namespace
}  // namespace gansformer

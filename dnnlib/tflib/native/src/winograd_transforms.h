// The transforms of the forms of winograd.h along one axis.
#pragma once

#include "matrix_product.h"

namespace gansformer {
namespace {

// What the kernels ask of a form: kPoints products along an axis; patches of kIn pixels, the first at
// kStep * patch - kBefore; patches of kOut results. The transforms: input, B^T; filter, G; output, A^T;
// and for the gradient of the filter: results, in the place of G; taps, in that of A^T. What concerns
// the filter has kFilters values, not kPoints.
struct Same {
  static constexpr int kPoints = 4, kFilters = 4, kIn = 4, kStep = 2, kBefore = 1, kOut = 2;

  static void input(const Register* d, Register* t) {
    t[0] = d[0] - d[2];
    t[1] = d[1] + d[2];
    t[2] = d[2] - d[1];
    t[3] = d[1] - d[3];
  }
  static void filter(const Register* g, Register* t) {
    const Register even = 0.5f * (g[0] + g[2]), odd = 0.5f * g[1];
    t[0] = g[0];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = g[2];
  }
  static void output(const Register* m, Register* t) {
    t[0] = m[0] + m[1] + m[2];
    t[1] = m[1] - m[2] - m[3];
  }
  static void results(const Register* e, Register* t) {
    t[0] = e[0];
    t[1] = 0.5f * (e[0] + e[1]);
    t[2] = 0.5f * (e[0] - e[1]);
    t[3] = e[1];
  }
  static void taps(const Register* m, Register* t) {
    t[0] = m[0] + m[1] + m[2];
    t[1] = m[1] - m[2];
    t[2] = m[1] + m[2] - m[3];
  }
};

// At the points 0, A and -A, B and -B, and infinity. With A B = 1 rounding grows least: the errors are
// about three times those of Same, 1e-6 of the largest result.
struct SameWide {
  static constexpr int kPoints = 6, kFilters = 6, kIn = 6, kStep = 4, kBefore = 1, kOut = 4;
  static constexpr float kA = 0.70710678f, kB = 1.41421356f;

  static void input(const Register* d, Register* t) {
    const Register a = d[4] - 2.0f * d[2], a_odd = kA * (d[3] - 2.0f * d[1]);
    const Register b = d[4] - 0.5f * d[2], b_odd = kB * (d[3] - 0.5f * d[1]);
    t[0] = d[0] - 2.5f * d[2] + d[4];
    t[1] = a + a_odd;
    t[2] = a - a_odd;
    t[3] = b + b_odd;
    t[4] = b - b_odd;
    t[5] = d[1] - 2.5f * d[3] + d[5];
  }
  // Values of the polynomial with these coefficients, even and odd ones, at A and -A, B and -B.
  static void values(Register a, Register a_odd, Register b, Register b_odd, Register* t) {
    constexpr float kShareA = -2.0f / 3.0f, kShareB = 1.0f / 6.0f;
    t[1] = kShareA * a + (kShareA * kA) * a_odd;
    t[2] = kShareA * a - (kShareA * kA) * a_odd;
    t[3] = kShareB * b + (kShareB * kB) * b_odd;
    t[4] = kShareB * b - (kShareB * kB) * b_odd;
  }
  static void filter(const Register* g, Register* t) {
    t[0] = g[0];
    values(g[0] + 0.5f * g[2], g[1], g[0] + 2.0f * g[2], g[1], t);
    t[5] = g[2];
  }
  static void results(const Register* e, Register* t) {
    t[0] = e[0];
    values(e[0] + 0.5f * e[2], e[1] + 0.5f * e[3], e[0] + 2.0f * e[2], e[1] + 2.0f * e[3], t);
    t[5] = e[3];
  }
  static void output(const Register* m, Register* t) {
    const Register a = m[1] + m[2], a_odd = kA * (m[1] - m[2]);
    const Register b = m[3] + m[4], b_odd = kB * (m[3] - m[4]);
    t[0] = m[0] + a + b;
    t[1] = a_odd + b_odd;
    t[2] = 0.5f * a + 2.0f * b;
    t[3] = 0.5f * a_odd + 2.0f * b_odd + m[5];
  }
  static void taps(const Register* m, Register* t) {
    const Register a = m[1] + m[2], b = m[3] + m[4];
    t[0] = m[0] + a + b;
    t[1] = kA * (m[1] - m[2]) + kB * (m[3] - m[4]);
    t[2] = 0.5f * a + 2.0f * b + m[5];
  }
};

// y[o] = g[0] d[2 o] + g[1] d[2 o + 1] + g[2] d[2 o + 2]
struct Down {
  static constexpr int kPoints = 5, kFilters = 4, kIn = 5, kStep = 4, kBefore = 0, kOut = 2;

  static void input(const Register* d, Register* t) {
    t[0] = d[0] - d[2];
    t[1] = d[2];
    t[2] = d[4] - d[2];
    t[3] = d[1];
    t[4] = d[3];
  }
  static void filter(const Register* g, Register* t) {
    t[0] = g[0];
    t[1] = g[0] + g[2];
    t[2] = g[2];
    t[3] = g[1];
  }
  static void output(const Register* m, Register* t) {
    t[0] = m[0] + m[1] + m[3];
    t[1] = m[1] + m[2] + m[4];
  }
  static void results(const Register* e, Register* t) {
    t[0] = t[3] = e[0];
    t[1] = e[0] + e[1];
    t[2] = t[4] = e[1];
  }
  static void taps(const Register* m, Register* t) {
    t[0] = m[0] + m[1];
    t[1] = m[3];
    t[2] = m[1] + m[2];
  }
};

// y[2 i] = g[0] d[i] + g[2] d[i - 1], y[2 i + 1] = g[1] d[i]
struct Up {
  static constexpr int kPoints = 5, kFilters = 4, kIn = 3, kStep = 2, kBefore = 1, kOut = 4;

  static void input(const Register* d, Register* t) {
    t[0] = d[0] - d[1];
    t[1] = t[3] = d[1];
    t[2] = d[2] - d[1];
    t[4] = d[2];
  }
  static void filter(const Register* g, Register* t) {
    t[0] = g[2];
    t[1] = g[2] + g[0];
    t[2] = g[0];
    t[3] = g[1];
  }
  static void output(const Register* m, Register* t) {
    t[0] = m[0] + m[1];
    t[1] = m[3];
    t[2] = m[1] + m[2];
    t[3] = m[4];
  }
};

// One of the transforms above along both axes: [FROM, FROM] to [TO, TO].
template <int FROM, int TO, class F>
inline void along_both(F transform, const Register (&in)[FROM][FROM], Register (&out)[TO][TO]) {
  Register half[TO][FROM];
#pragma GCC unroll 6
  for (int j = 0; j < FROM; ++j) {
    Register column[FROM], t[TO];
#pragma GCC unroll 6
    for (int i = 0; i < FROM; ++i) column[i] = in[i][j];
    transform(column, t);
#pragma GCC unroll 6
    for (int i = 0; i < TO; ++i) half[i][j] = t[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < TO; ++i) transform(half[i], out[i]);
}

}  // namespace
}  // namespace gansformer

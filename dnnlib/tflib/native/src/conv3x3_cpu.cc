// 3x3 convolution by minimal filtering, CPU: tiles of 2x2 pixels, as many at a time as the second-level
// cache holds with their transforms.
#include "conv3x3.h"

#include <algorithm>
#include <vector>

#include "kernels_cpu.h"
#include "vector.h"

namespace gansformer {
namespace {

// Lanes of a vector, rows and vectors of the sums that the registers hold.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 6, kVectors = 4;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRows = 6, kVectors = 2;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRows = 6, kVectors = 4;
#else
constexpr int kLanes = 4, kRows = 6, kVectors = 2;
#endif
constexpr int64_t kPanel = kLanes * kVectors;  // columns of a matrix that lie together
constexpr int64_t kCacheBytes = 640 << 10;

typedef Vector<kLanes>::type V;

inline V load(const float* from) { return *reinterpret_cast<const V*>(from); }
inline void store(float* to, V v) { *reinterpret_cast<V*>(to) = v; }

// Memory of this thread for the transforms.
float* scratch(int64_t size) {
  static thread_local std::vector<float> memory;
  if (int64_t(memory.size()) < size) memory.resize(size);
  return memory.data();
}

// c[r, :] (+)= sum_k a[r, k] b[k, :], r < ROWS, VECTORS vectors wide.
template <int ROWS, int VECTORS>
inline void multiply_panel(const float* a, int64_t a_row, int64_t a_step, const float* b,
                           int64_t b_step, float* c, int64_t c_row, int64_t depth, bool add) {
  V sums[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; ++v)
      sums[r][v] = add ? load(c + r * c_row + v * kLanes) : V{};
  for (int64_t k = 0; k < depth; ++k) {
    V row[VECTORS];
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; ++v) row[v] = load(b + k * b_step + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      const float factor = a[r * a_row + k * a_step];
#pragma GCC unroll 8
      for (int v = 0; v < VECTORS; ++v) sums[r][v] += factor * row[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; ++v) store(c + r * c_row + v * kLanes, sums[r][v]);
}

struct Factor {
  const float* data;
  int64_t row, step;  // distances of rows and of the summed index
};

template <int ROWS>
inline void multiply_rows(Factor a, const float* b, int64_t b_step, int64_t columns, float* c,
                          int64_t c_row, int64_t depth, bool add) {
  switch (columns / kLanes) {
    case 1: return multiply_panel<ROWS, 1>(a.data, a.row, a.step, b, b_step, c, c_row, depth, add);
    case 2: return multiply_panel<ROWS, 2>(a.data, a.row, a.step, b, b_step, c, c_row, depth, add);
#if defined(__AVX512F__) || defined(__aarch64__)
    case 3: return multiply_panel<ROWS, 3>(a.data, a.row, a.step, b, b_step, c, c_row, depth, add);
    case 4: return multiply_panel<ROWS, 4>(a.data, a.row, a.step, b, b_step, c, c_row, depth, add);
#endif
  }
}

// The same for any number of rows.
inline void multiply(Factor a, int64_t rows, const float* b, int64_t b_step, int64_t columns,
                     float* c, int64_t c_row, int64_t depth, bool add) {
  const auto advance = [&](int64_t done) {
    rows -= done;
    a.data += done * a.row;
    c += done * c_row;
  };
  for (; rows >= kRows; advance(kRows))
    multiply_rows<kRows>(a, b, b_step, columns, c, c_row, depth, add);
  if (rows >= 4) {
    multiply_rows<4>(a, b, b_step, columns, c, c_row, depth, add);
    advance(4);
  }
  for (; rows > 0; advance(1)) multiply_rows<1>(a, b, b_step, columns, c, c_row, depth, add);
}

// Place of a tile in the map; moves from tile to tile.
struct Place {
  int64_t sample, row, column;

  Place(const Conv3x3& p, int64_t tile) {
    column = tile % p.tile_columns();
    row = tile / p.tile_columns() % p.tile_rows();
    sample = tile / p.tile_columns() / p.tile_rows();
  }
  void advance(const Conv3x3& p) {
    if (++column < p.tile_columns()) return;
    column = 0;
    if (++row < p.tile_rows()) return;
    row = 0;
    ++sample;
  }
};

// The pixels of SIZE x SIZE from (2 row - BEFORE, 2 column - BEFORE) on; zeros beyond the map.
template <int SIZE, int BEFORE>
struct Pixels {
  const float* at[SIZE][SIZE];

  Pixels(const Conv3x3& p, const float* x, int64_t channels, const Place& place, const float* zeros) {
    for (int i = 0; i < SIZE; ++i) {
      const int64_t h = 2 * place.row - BEFORE + i;
      for (int j = 0; j < SIZE; ++j) {
        const int64_t w = 2 * place.column - BEFORE + j;
        const bool inside = h >= 0 && h < p.height && w >= 0 && w < p.width;
        at[i][j] = inside ? x + ((place.sample * p.height + h) * p.width + w) * channels : zeros;
      }
    }
  }
};

// B^T d: four values to four.
inline void transform_input(const V* d, V* t) {
  t[0] = d[0] - d[2];
  t[1] = d[1] + d[2];
  t[2] = d[2] - d[1];
  t[3] = d[1] - d[3];
}

// G g: three values to four.
inline void transform_filter(const V* g, V* t) {
  const V even = 0.5f * (g[0] + g[2]), odd = 0.5f * g[1];
  t[0] = g[0];
  t[1] = even + odd;
  t[2] = even - odd;
  t[3] = g[2];
}

// A^T m: four values to two.
inline void transform_output(const V* m, V* t) {
  t[0] = m[0] + m[1] + m[2];
  t[1] = m[1] - m[2] - m[3];
}

// In the place of G, for the gradient of the filter: two values to four.
inline void transform_pair(const V* e, V* t) {
  t[0] = e[0];
  t[1] = 0.5f * (e[0] + e[1]);
  t[2] = 0.5f * (e[0] - e[1]);
  t[3] = e[1];
}

// In the place of A^T, for the gradient of the filter: four values to three.
inline void transform_triple(const V* m, V* t) {
  t[0] = m[0] + m[1] + m[2];
  t[1] = m[1] - m[2];
  t[2] = m[1] + m[2] - m[3];
}

// One of the transforms above along both axes: [FROM, FROM] to [TO, TO].
template <int FROM, int TO, class F>
inline void along_both(F transform, const V (&in)[FROM][FROM], V (&out)[TO][TO]) {
  V half[TO][FROM];
#pragma GCC unroll 4
  for (int j = 0; j < FROM; ++j) {
    V column[FROM], t[TO];
#pragma GCC unroll 4
    for (int i = 0; i < FROM; ++i) column[i] = in[i][j];
    transform(column, t);
#pragma GCC unroll 4
    for (int i = 0; i < TO; ++i) half[i][j] = t[i];
  }
#pragma GCC unroll 4
  for (int i = 0; i < TO; ++i) transform(half[i], out[i]);
}

// Channels [begin, end) of `all`.
struct Channels {
  int64_t all, begin, end;
  int64_t size() const { return end - begin; }
};

// Transforms of `count` tiles from `place` on: [kPoints, tiles, channels.size()].
template <int SIZE, int BEFORE, class F>
void transform_tiles(const Conv3x3& p, F transform, const float* x, const float* scale,
                     Channels channels, Place place, int64_t count, int64_t tiles, float* to) {
  static thread_local std::vector<float> zeros;
  if (int64_t(zeros.size()) < channels.all) zeros.resize(channels.all);
  for (int64_t t = 0; t < count; ++t, place.advance(p)) {
    const Pixels<SIZE, BEFORE> pixels(p, x, channels.all, place, zeros.data());
    for (int64_t c = channels.begin; c < channels.end; c += kLanes) {
      V in[SIZE][SIZE], out[4][4];
#pragma GCC unroll 4
      for (int i = 0; i < SIZE; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < SIZE; ++j) in[i][j] = load(pixels.at[i][j] + c);
      along_both<SIZE, 4>(transform, in, out);
      const V factor = scale ? load(scale + place.sample * channels.all + c) : V{} + 1.0f;
      float* at = to + t * channels.size() + c - channels.begin;
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j)
          store(at + (i * 4 + j) * tiles * channels.size(), out[i][j] * factor);
    }
  }
}

// Results of `count` tiles out of [kPoints, tiles, O].
void store_tiles(const Conv3x3& p, const float* from, Place place, int64_t count, int64_t tiles,
                 float* y) {
  for (int64_t t = 0; t < count; ++t, place.advance(p)) {
    const int64_t h = 2 * place.row, w = 2 * place.column;
    float* to = y + ((place.sample * p.height + h) * p.width + w) * p.out;
    const bool below = h + 1 < p.height, right = w + 1 < p.width;
    for (int64_t o = 0; o < p.out; o += kLanes) {
      V in[4][4], out[2][2];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) in[i][j] = load(from + ((i * 4 + j) * tiles + t) * p.out + o);
      along_both<4, 2>(transform_output, in, out);
      store(to + o, out[0][0]);
      if (right) store(to + p.out + o, out[0][1]);
      if (below) store(to + p.width * p.out + o, out[1][0]);
      if (below && right) store(to + (p.width + 1) * p.out + o, out[1][1]);
    }
  }
}

}  // namespace

int64_t conv3x3_lanes() { return kLanes; }

int64_t conv3x3_block(const Conv3x3& p) {
  const int64_t fits = kCacheBytes / (kPoints * (p.in + p.out) * int64_t(sizeof(float)));
  return std::max<int64_t>(1, std::min<int64_t>(fits, 96) / kRows) * kRows;
}

// The sums are read and written for every block: these must not be small when the sums are large.
int64_t conv3x3_filter_block(const Conv3x3& p) {
  return std::max<int64_t>(conv3x3_block(p), 8 * kRows);
}

void conv3x3_filter_cpu(const Conv3x3& p, const float* w, bool turned, int64_t begin, int64_t end,
                        float* u) {
  const int64_t taps = p.in * p.out;
  for (int64_t i = begin * kLanes; i < end * kLanes; i += kLanes)
    for (int64_t o = 0; o < p.out; o += kLanes) {
      float block[9][kLanes][kLanes];  // [tap, i, o]
      for (int tap = 0; tap < 9; ++tap) {
        const float* from = w + (turned ? 8 - tap : tap) * taps;
        for (int a = 0; a < kLanes; ++a)
          for (int b = 0; b < kLanes; ++b)
            block[tap][a][b] = turned ? from[(o + b) * p.in + i + a] : from[(i + a) * p.out + o + b];
      }
      const int64_t panel = o / kPanel * kPanel, width = std::min(kPanel, p.out - panel);
      for (int a = 0; a < kLanes; ++a) {
        V in[3][3], out[4][4];
        for (int tap = 0; tap < 9; ++tap) in[tap / 3][tap % 3] = load(block[tap][a]);
        along_both<3, 4>(transform_filter, in, out);
        float* to = u + panel * p.in + (i + a) * width + o - panel;
        for (int point = 0; point < kPoints; ++point)
          store(to + point * taps, out[point / 4][point % 4]);
      }
    }
}

void conv3x3_cpu(const Conv3x3& p, const float* x, const float* scale, const float* u, float* y,
                 int64_t begin, int64_t end) {
  const int64_t tiles = conv3x3_block(p);
  float* in = scratch(kPoints * tiles * (p.in + p.out));
  float* out = in + kPoints * tiles * p.in;
  for (; begin < end; begin += tiles) {
    const Place place(p, begin);
    const int64_t count = std::min(tiles, end - begin);
    transform_tiles<4, 1>(p, transform_input, x, scale, {p.in, 0, p.in}, place, count, tiles, in);
    for (int point = 0; point < kPoints; ++point)
      for (int64_t panel = 0; panel < p.out; panel += kPanel) {
        const int64_t width = std::min(kPanel, p.out - panel);
        const Factor a{in + point * tiles * p.in, p.in, 1};
        multiply(a, count, u + (point * p.out + panel) * p.in, width, width,
                 out + point * tiles * p.out + panel, p.out, p.in, false);
      }
    store_tiles(p, out, place, count, tiles, y);
  }
}

int64_t conv3x3_slice(const Conv3x3& p) {
  const int64_t slices = (p.in + 127) / 128, vectors = p.in / kConvLanes;
  return (vectors + slices - 1) / slices * kConvLanes;
}

void conv3x3_filter_grad_cpu(const Conv3x3& p, const float* x, const float* scale, const float* dy,
                             int64_t slice, int64_t begin, int64_t end, float* sums) {
  const int64_t tiles = conv3x3_filter_block(p), first = slice * conv3x3_slice(p);
  const Channels channels{p.in, first, std::min(first + conv3x3_slice(p), p.in)};
  float* in = scratch(kPoints * tiles * (channels.size() + p.out));
  float* out = in + kPoints * tiles * channels.size();
  for (bool add = false; begin < end; begin += tiles, add = true) {
    const Place place(p, begin);
    const int64_t count = std::min(tiles, end - begin);
    transform_tiles<4, 1>(p, transform_input, x, scale, channels, place, count, tiles, in);
    transform_tiles<2, 0>(p, transform_pair, dy, nullptr, {p.out, 0, p.out}, place, count, tiles, out);
    for (int point = 0; point < kPoints; ++point)
      for (int64_t panel = 0; panel < p.out; panel += kPanel) {
        const Factor a{in + point * tiles * channels.size(), 1, channels.size()};
        float* to = sums + (point * p.in + channels.begin) * p.out + panel;
        multiply(a, channels.size(), out + point * tiles * p.out + panel, p.out,
                 std::min(kPanel, p.out - panel), to, p.out, count, add);
      }
  }
}

void conv3x3_filter_from_sums_cpu(const Conv3x3& p, const float* sums, int64_t chunks, int64_t begin,
                                  int64_t end, float* dw) {
  const int64_t taps = p.in * p.out, stride = kPoints * taps;
  for (int64_t place = begin * kLanes; place < end * kLanes; place += kLanes) {
    V in[4][4], out[3][3];
    for (int point = 0; point < kPoints; ++point) {
      const float* from = sums + point * taps + place;
      V total = load(from);
      for (int64_t chunk = 1; chunk < chunks; ++chunk) total += load(from + chunk * stride);
      in[point / 4][point % 4] = total;
    }
    along_both<4, 3>(transform_triple, in, out);
    for (int tap = 0; tap < 9; ++tap) store(dw + tap * taps + place, out[tap / 3][tap % 3]);
  }
}

}  // namespace gansformer

// 3x3 convolution by minimal filtering, CPU: tiles, the patches of winograd.h, as many at a time as the
// second-level cache holds with their transforms.
#include "winograd.h"

#include <algorithm>
#include <vector>

#include "winograd_transforms.h"
#include "kernels_cpu.h"

namespace gansformer {
namespace {

constexpr int64_t kCacheBytes = 640 << 10;

// Memory of this thread for the transforms.
float* scratch(int64_t size) {
  static thread_local std::vector<float> memory;
  if (int64_t(memory.size()) < size) memory.resize(size);
  return memory.data();
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

// Distance of the points in transforms [points, tiles, channels]: not a multiple of 4096 bytes, for then
// they would share their lines of the first-level cache.
int64_t distance(int64_t tiles, int64_t channels) { return tiles * channels + kConvLanes; }

struct Map {
  const float* data;
  int64_t height, width, channels;
};

// The pixels of SIZE x SIZE from STEP * (row, column) - BEFORE on; zeros beyond the map.
template <int SIZE, int STEP, int BEFORE>
struct Pixels {
  const float* at[SIZE][SIZE];

  Pixels(const Map& map, const Place& place, const float* zeros) {
    for (int i = 0; i < SIZE; ++i) {
      const int64_t h = STEP * place.row - BEFORE + i;
      for (int j = 0; j < SIZE; ++j) {
        const int64_t w = STEP * place.column - BEFORE + j;
        const bool inside = h >= 0 && h < map.height && w >= 0 && w < map.width;
        const int64_t pixel = (place.sample * map.height + h) * map.width + w;
        at[i][j] = inside ? map.data + pixel * map.channels : zeros;
      }
    }
  }
};

// Channels [begin, end) of `all`.
struct Channels {
  int64_t all, begin, end;
  int64_t size() const { return end - begin; }
};

// Transforms of `count` tiles from `place` on: [POINTS^2, tiles, channels.size()].
template <int SIZE, int STEP, int BEFORE, int POINTS, class F>
void transform_tiles(const Conv3x3& p, F transform, const Map& map, const float* scale,
                     Channels channels, Place place, int64_t count, int64_t tiles, float* to) {
  static thread_local std::vector<float> zeros;
  if (int64_t(zeros.size()) < map.channels) zeros.resize(map.channels);
  for (int64_t t = 0; t < count; ++t, place.advance(p)) {
    const Pixels<SIZE, STEP, BEFORE> pixels(map, place, zeros.data());
    for (int64_t c = channels.begin; c < channels.end; c += kRegisterLanes) {
      Register in[SIZE][SIZE], out[POINTS][POINTS];
#pragma GCC unroll 6
      for (int i = 0; i < SIZE; ++i)
#pragma GCC unroll 6
        for (int j = 0; j < SIZE; ++j) in[i][j] = load_register(pixels.at[i][j] + c);
      along_both<SIZE, POINTS>(transform, in, out);
      Register factor = Register{} + 1.0f;
      if (scale) factor = load_register(scale + place.sample * map.channels + c);
      float* at = to + t * channels.size() + c - channels.begin;
#pragma GCC unroll 6
      for (int i = 0; i < POINTS; ++i)
#pragma GCC unroll 6
        for (int j = 0; j < POINTS; ++j)
          store_register(at + (i * POINTS + j) * distance(tiles, channels.size()), out[i][j] * factor);
    }
  }
}

template <class FORM>
void transform_pixels(const Conv3x3& p, const float* x, const float* scale, Channels channels,
                      const Place& place, int64_t count, int64_t tiles, float* to) {
  transform_tiles<FORM::kIn, FORM::kStep, FORM::kBefore, FORM::kPoints>(
      p, FORM::input, {x, p.height, p.width, p.in}, scale, channels, place, count, tiles, to);
}

// Results of `count` tiles out of [points, tiles, O].
template <class FORM>
void store_tiles(const Conv3x3& p, const float* from, Place place, int64_t count, int64_t tiles,
                 float* y) {
  constexpr int kPoints = FORM::kPoints, kOut = FORM::kOut;
  const int64_t height = p.out_height(), width = p.out_width();
  for (int64_t t = 0; t < count; ++t, place.advance(p)) {
    const int64_t h = kOut * place.row, w = kOut * place.column;
    const int64_t rows = std::min<int64_t>(kOut, height - h);
    const int64_t columns = std::min<int64_t>(kOut, width - w);
    float* to = y + ((place.sample * height + h) * width + w) * p.out;
    for (int64_t o = 0; o < p.out; o += kRegisterLanes) {
      Register in[kPoints][kPoints], out[kOut][kOut];
#pragma GCC unroll 6
      for (int i = 0; i < kPoints; ++i)
#pragma GCC unroll 6
        for (int j = 0; j < kPoints; ++j)
          in[i][j] = load_register(from + (i * kPoints + j) * distance(tiles, p.out) + t * p.out + o);
      along_both<kPoints, kOut>(FORM::output, in, out);
#pragma GCC unroll 4
      for (int i = 0; i < kOut; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < kOut; ++j)
          if (i < rows && j < columns) store_register(to + (i * width + j) * p.out + o, out[i][j]);
    }
  }
}

// Calls f(FORM()) with the form.
template <class F>
void with_form(const Conv3x3& p, F f) {
  if (p.is_wide()) f(SameWide());
  else if (p.form == kSame) f(Same());
  else if (p.form == kDown) f(Down());
  else f(Up());
}

}  // namespace

int64_t winograd_lanes() { return kRegisterLanes; }

int64_t winograd_block(const Conv3x3& p) {
  const int64_t fits = kCacheBytes / (p.points() * (p.in + p.out) * int64_t(sizeof(float)));
  return std::max<int64_t>(1, std::min<int64_t>(fits, 96) / kBlockRows) * kBlockRows;
}

// The sums are read and written for every block: these must not be small when the sums are large. Some
// blocks there should be, for threads to share.
int64_t winograd_filter_block(const Conv3x3& p) {
  const int64_t share = (p.tiles() / 4 / kBlockRows + 1) * kBlockRows;
  return std::min(std::max<int64_t>(winograd_block(p), 16 * kBlockRows), share);
}

namespace {

// Which transformed filter belongs to a point.
template <class FORM>
int64_t filter_of(int point) {
  const int row = point / FORM::kPoints, column = point % FORM::kPoints;
  constexpr int kLast = FORM::kFilters - 1;
  return std::min(row, kLast) * FORM::kFilters + std::min(column, kLast);
}

template <class FORM>
void transform_filter(const Conv3x3& p, const float* w, bool swapped, bool turned, int64_t begin,
                      int64_t end, float* u) {
  const int64_t taps = p.in * p.out;
  for (int64_t i = begin * kRegisterLanes; i < end * kRegisterLanes; i += kRegisterLanes)
    for (int64_t o = 0; o < p.out; o += kRegisterLanes) {
      float block[9][kRegisterLanes][kRegisterLanes];  // [tap, i, o]
      for (int tap = 0; tap < 9; ++tap) {
        const float* from = w + (turned ? 8 - tap : tap) * taps;
        for (int a = 0; a < kRegisterLanes; ++a)
          for (int b = 0; b < kRegisterLanes; ++b)
            block[tap][a][b] = from[swapped ? (o + b) * p.in + i + a : (i + a) * p.out + o + b];
      }
      const int64_t panel = o / kPanel * kPanel, width = std::min(kPanel, p.out - panel);
      for (int a = 0; a < kRegisterLanes; ++a) {
        Register in[3][3], out[FORM::kFilters][FORM::kFilters];
        for (int tap = 0; tap < 9; ++tap) in[tap / 3][tap % 3] = load_register(block[tap][a]);
        along_both<3, FORM::kFilters>(FORM::filter, in, out);
        float* to = u + panel * p.in + (i + a) * width + o - panel;
        for (int f = 0; f < FORM::kFilters * FORM::kFilters; ++f)
          store_register(to + f * taps, out[f / FORM::kFilters][f % FORM::kFilters]);
      }
    }
}

template <class FORM>
void convolve(const Conv3x3& p, const float* x, const float* scale, const float* u, float* y,
              int64_t begin, int64_t end) {
  const int64_t tiles = winograd_block(p);
  const int points = p.points();
  const int64_t in_distance = distance(tiles, p.in), out_distance = distance(tiles, p.out);
  float* in = scratch(points * (in_distance + out_distance));
  float* out = in + points * in_distance;
  for (; begin < end; begin += tiles) {
    const Place place(p, begin);
    const int64_t count = std::min(tiles, end - begin);
    transform_pixels<FORM>(p, x, scale, {p.in, 0, p.in}, place, count, tiles, in);
    for (int point = 0; point < points; ++point)
      for (int64_t panel = 0; panel < p.out; panel += kPanel) {
        const int64_t width = std::min(kPanel, p.out - panel);
        const Factor a{in + point * in_distance, p.in, 1};
        panel_product(a, count, u + (filter_of<FORM>(point) * p.out + panel) * p.in, width, width,
                 out + point * out_distance + panel, p.out, p.in, false);
      }
    store_tiles<FORM>(p, out, place, count, tiles, y);
  }
}

// Sums [filters, channels, O] to taps [9, I, O], of which the rows of the channels are written.
template <class FORM>
void sums_to_taps(const Conv3x3& p, const float* sums, Channels channels, float* dw) {
  const int64_t size = channels.size() * p.out;
  float* to = dw + channels.begin * p.out;
  for (int64_t place = 0; place < size; place += kRegisterLanes) {
    Register in[FORM::kFilters][FORM::kFilters], out[3][3];
    for (int f = 0; f < p.filters(); ++f)
      in[f / FORM::kFilters][f % FORM::kFilters] = load_register(sums + f * size + place);
    along_both<FORM::kFilters, 3>(FORM::taps, in, out);
    for (int tap = 0; tap < 9; ++tap)
      store_register(to + tap * p.in * p.out + place, out[tap / 3][tap % 3]);
  }
}

template <class FORM>
void correlate(const Conv3x3& p, const float* x, const float* scale, const float* dy, int64_t slice,
               int64_t begin, int64_t end, float* dw) {
  const int64_t tiles = winograd_filter_block(p), first = slice * winograd_slice(p);
  const int points = p.points();
  const Channels channels{p.in, first, std::min(first + winograd_slice(p), p.in)};
  const Map results{dy, p.out_height(), p.out_width(), p.out};
  const int64_t in_distance = distance(tiles, channels.size());
  const int64_t out_distance = distance(tiles, p.out), sum_distance = channels.size() * p.out;
  float* in = scratch(points * (in_distance + out_distance) + p.filters() * sum_distance);
  float* out = in + points * in_distance;
  float* sums = out + points * out_distance;
  for (bool add = false; begin < end; begin += tiles, add = true) {
    const Place place(p, begin);
    const int64_t count = std::min(tiles, end - begin);
    transform_pixels<FORM>(p, x, scale, channels, place, count, tiles, in);
    transform_tiles<FORM::kOut, FORM::kOut, 0, FORM::kPoints>(
        p, FORM::results, results, nullptr, {p.out, 0, p.out}, place, count, tiles, out);
    for (int point = 0; point < points; ++point) {
      constexpr int kFilters = FORM::kFilters;
      const bool again = point / FORM::kPoints >= kFilters || point % FORM::kPoints >= kFilters;
      matrix_product({in + point * in_distance, 1, channels.size()}, channels.size(),
                     out + point * out_distance, p.out, p.out,
                     sums + filter_of<FORM>(point) * sum_distance, p.out, count, add || again);
    }
  }
  sums_to_taps<FORM>(p, sums, channels, dw);
}

}  // namespace

void winograd_filter_cpu(const Conv3x3& p, const float* w, bool turned, int64_t begin, int64_t end,
                        float* u) {
  const bool swapped = turned || p.form == kUp;
  with_form(p, [&](auto form) {
    transform_filter<decltype(form)>(p, w, swapped, turned, begin, end, u);
  });
}

void winograd_cpu(const Conv3x3& p, const float* x, const float* scale, const float* u, float* y,
                 int64_t begin, int64_t end) {
  with_form(p, [&](auto form) { convolve<decltype(form)>(p, x, scale, u, y, begin, end); });
}

int64_t winograd_slice(const Conv3x3& p) {
  const int64_t slices = (p.in + 127) / 128, vectors = p.in / kConvLanes;
  return (vectors + slices - 1) / slices * kConvLanes;
}

void winograd_filter_grad_cpu(const Conv3x3& p, const float* x, const float* scale, const float* dy,
                             int64_t slice, int64_t begin, int64_t end, float* dw) {
  if (p.is_wide()) correlate<SameWide>(p, x, scale, dy, slice, begin, end, dw);
  else if (p.form == kSame) correlate<Same>(p, x, scale, dy, slice, begin, end, dw);
  else correlate<Down>(p, x, scale, dy, slice, begin, end, dw);
}

}  // namespace gansformer

// 3x3 convolution, [N, H, W, I] to [N, H', W', O], by minimal filtering (Winograd; for convolutions:
// Lavin & Gray 2016, arXiv:1509.09308).
//
// With d a patch of pixels and g a filter, a patch of results is
//     A^T [(G g G^T) * (B^T d B)] A,
// and for each point of the product in the middle there is a matrix product of patches and channels:
//
//   form        map to map                    patch to patch   products instead of
//   kSame       [H, W], one zero around it    4x4 to 2x2       16, 36
//     or                                      6x6 to 4x4       36, 144
//   kDown       stride 2, H' = (H - 3) / 2 + 1    5x5 to 2x2   25, 36
//   kUp         its transpose, H' = 2 H + 1   3x3 to 4x4       25, 36
//
// The last two split the filter by phase: the even taps along an axis, two of them, are minimal
// filtering with three products instead of four, and the odd tap is a product for each result, with
// the same factor for both. So they have 4x4 transformed filters for their 5x5 points.
// The gradient of the filter has such a form as well: the same B, A in the place of G, and G^T in
// that of A^T (for kSame with factors of its own).
#pragma once

#include <algorithm>

#include "scalar.h"

namespace gansformer {

enum ConvForm { kSame, kDown, kUp };
constexpr const char* kConvFormNames[] = {"same", "down", "up"};

constexpr int kConvLanes = 16;  // I and O are multiples of it

struct Conv3x3 {
  ConvForm form;
  int64_t samples, height, width, in, out;

  // Whether the patches of kSame are the larger ones: for few positions, the 36 transformed filters of
  // many channels cost more than that saves. No matter of the samples: their number changes no result.
  bool is_wide() const {
    return form == kSame && height * width >= std::max<int64_t>(256, in * out / 256);
  }
  int points() const { return is_wide() ? 36 : form == kSame ? 16 : 25; }
  int filters() const { return is_wide() ? 36 : 16; }  // transformed ones
  int64_t size_after(int64_t size) const {
    return form == kSame ? size : form == kDown ? (size - 3) / 2 + 1 : 2 * size + 1;
  }
  int64_t out_height() const { return size_after(height); }
  int64_t out_width() const { return size_after(width); }
  int64_t tile_rows() const { return (out_height() + tile() - 1) / tile(); }
  int64_t tile_columns() const { return (out_width() + tile() - 1) / tile(); }
  int64_t tiles() const { return samples * tile_rows() * tile_columns(); }

 private:
  int tile() const { return form == kUp || is_wide() ? 4 : 2; }  // side of a patch of results
};

}  // namespace gansformer

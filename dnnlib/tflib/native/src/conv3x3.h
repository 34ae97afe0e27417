// 3x3 convolution, stride 1, one zero around the map, [N, H, W, I] to [N, H, W, O], by minimal
// filtering (Winograd; for convolutions: Lavin & Gray 2016, arXiv:1509.09308).
//
// With d a patch of 4x4 pixels and g a filter of 3x3, the 2x2 results in the middle are
//     A^T [(G g G^T) * (B^T d B)] A,
// with 16 products instead of 36: for each of the 16 points a matrix product of patches and channels.
// The gradient of the filter, a correlation of 4x4 pixels with the 2x2 of dy, has such a form as well:
// the same B, and matrices of its own in the place of G and A.
#pragma once

#include "scalar.h"

namespace gansformer {

constexpr int kPoints = 16;
constexpr int kConvLanes = 16;  // I and O are multiples of it

struct Conv3x3 {
  int64_t samples, height, width, in, out;

  int64_t tile_rows() const { return (height + 1) / 2; }
  int64_t tile_columns() const { return (width + 1) / 2; }
  int64_t tiles() const { return samples * tile_rows() * tile_columns(); }
};

}  // namespace gansformer

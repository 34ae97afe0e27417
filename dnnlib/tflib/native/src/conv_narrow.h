// 3x3 convolution with few output channels and filters for each sample: [N, H, W, C] to [N, H, W, R],
// zeros around the map. As a matrix product of positions and channels it has 9 R columns: each
// position's part in the results around it.
// Its two gradients are matrix products of the same size. All three are linear in both factors, and
// their gradients are each other.
#pragma once

#include "scalar.h"

namespace gansformer {

struct ConvNarrow {
  int64_t samples, height, width, channels, out;

  int64_t columns() const { return 3 * run(); }
  int64_t run() const { return 3 * out; }  // columns of one row of taps
  int64_t rows() const { return 2048 / width > 16 ? 2048 / width : 16; }  // of a part of a map
  int64_t parts() const { return (height + rows() - 1) / rows(); }        // of a map
};

constexpr int kNarrowLanes = 16;  // C is a multiple of it

}  // namespace gansformer

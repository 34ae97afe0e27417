// Convolution with few output channels and filters for each sample: [N, H, W, C] to [N, H, W, R],
// of side 1 or 3, zeros around the map. As a matrix product of positions and channels it has
// T * R columns, with T = side^2 taps: each position's part in the results around it.
// Its two gradients are matrix products of the same size. All three are linear in both factors, and
// their gradients are each other.
#pragma once

#include "scalar.h"

namespace gansformer {

struct ConvNarrow {
  int64_t samples, height, width, channels, out;
  int side;

  int64_t columns() const { return side * run(); }
  int64_t run() const { return side * out; }  // columns of one row of taps
  int64_t rows() const { return 2048 / width > 16 ? 2048 / width : 16; }  // of a part of a map
  int64_t parts() const { return (height + rows() - 1) / rows(); }        // of a map
};

constexpr int kNarrowLanes = 16;  // C is a multiple of it

}  // namespace gansformer

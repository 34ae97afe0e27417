// Vectors of floats in the compiler's own notation, of which any compiler makes good code.
#pragma once

namespace gansformer {

template <int LANES>
struct Vector {
  typedef float type __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
};

}  // namespace gansformer

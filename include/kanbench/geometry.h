#pragma once
// Grids that move: where they lie at first, when they move, and where they are.

#include <array>
#include <cstdint>
#include <vector>

#include "kanbench/math/encoder/adaptive_multi_grid.h"
#include "kanbench/math/optimizer.h"
#include "kanbench/math/random.h"

namespace kanbench {

/// One step of Adam on the transforms: its rate, 0 where none is taken, and its number (from 1).
struct GeometryStep {
  double rate = 0;
  std::int64_t number = 1;
};

/// That of step `step` (from 0) of a training of `steps`: none before the start, then a cosine that
/// ends below a rate of 1e-8.
GeometryStep geometry_step(const encoder::AdaptiveMultiGrid& grids, std::int64_t step,
                           std::int64_t steps);

/// What that step's Adam is.
UpdateStep geometry_adam(const GeometryStep& step);

/// Draws the grids' transforms, a row a grid, as grids.initialisation says.
void draw_transforms(const encoder::AdaptiveMultiGrid& grids, const Stream& stream, float* numbers);

/// The corners of a grid's box in the volume, [0, 1]^3, x fastest; `numbers` are its transform.
/// Those of a grid whose map cannot be turned round are not finite.
using Corners = std::array<std::array<double, 3>, 8>;
Corners grid_corners(Transform transform, const float* numbers);

}  // namespace kanbench

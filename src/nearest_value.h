#pragma once
// For every voxel the nearest one that has a value.

#include <cstdint>
#include <functional>
#include <vector>

#include "kanbench/volume.h"

namespace kanbench {

/// The number of the voxel nearest to each among those that `has_value`, of which there is one at
/// least: exact, by distances in voxels, axis after axis (Felzenszwalb and Huttenlocher, Distance
/// Transforms of Sampled Functions, 2012).
std::vector<std::int64_t> nearest_voxels(const Shape& shape,
                                         const std::function<bool(std::int64_t)>& has_value);

}  // namespace kanbench

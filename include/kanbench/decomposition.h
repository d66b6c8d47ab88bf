#pragma once
// A volume cut into boxes: which, and which rows of a batch each draws.

#include <cstdint>
#include <span>
#include <vector>

#include "kanbench/volume.h"

namespace kanbench {

/// Parts an axis such that there are `parts` in all, none empty, and their faces are least. Throws
/// Error where no such cut exists, naming the nearest numbers of parts for which there is one, with
/// `what` before it.
Shape choose_grid(const Shape& volume, std::int64_t parts, const std::string& what);

/// Part `index` of `box` cut evenly into `grid` parts, x fastest: sizes along an axis differ by one
/// voxel at most, all parts make up the box, none twice.
Box part_of(const Box& box, const Shape& grid, std::int64_t index);

/// `box` with `voxels` more a side, where the volume has them.
Box grow(const Box& box, std::int64_t voxels, const Shape& volume);

/// `box` by its place within `other`.
Box within(const Box& box, const Box& other);

/// How many rows of step `step`'s batch each part draws, `batch` in all: in proportion to `voxels`,
/// within a row of it in each step, and over the first 2^n steps together.
std::vector<std::int64_t> share_batch(std::int64_t batch, std::span<const std::int64_t> voxels,
                                      std::int64_t step);

}  // namespace kanbench

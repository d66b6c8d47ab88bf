#pragma once
// Filling what has no value.

#include <string>

#include "io/stored.h"
#include "kanbench/missing.h"

namespace kanbench {

/// Fills the voxels that are not finite or have one of the volume's `fills`, each component for
/// itself; returns how many there were. Throws Error where the rule is `error` (how many, where the
/// first is), where nothing is left to fill from, and for a number that the type does not hold.
std::int64_t fill_missing(StoredVolume& volume, const Missing& missing, const std::string& source);

/// "(x, y, z) = (1, 2, 3)" of voxel `number`.
std::string place_text(const Shape& shape, std::int64_t number);

}  // namespace kanbench

#pragma once
// A picture to judge a reconstruction by: for the middle slice of each axis the original, the
// reconstruction and the error, with colour bars.

#include <cstdint>
#include <filesystem>
#include <vector>

#include "kanbench/volume.h"

namespace kanbench {

/// The middle slice of one axis, normalised to [0, 1]: width * height numbers each, row-major.
struct SlicePair {
  char axis = 'z';
  std::int64_t index = 0;
  std::int64_t width = 0, height = 0;
  std::vector<float> original, reconstruction;
};

/// Writes the PNG: a row per axis; original and reconstruction share one grey-to-colour map over
/// [low, high] of the data, the error has its own symmetric one; each with a labelled bar.
void write_slices(const std::filesystem::path& path, const std::vector<SlicePair>& slices,
                  double low, double high, const std::string& title);

}  // namespace kanbench

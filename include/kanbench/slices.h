#pragma once
// A picture to judge a reconstruction by: for the middle slice of each axis the original, the
// reconstruction and the error, with colour bars.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kanbench/volume.h"

namespace kanbench {

/// The middle slice of one axis, normalised to [0, 1]: width * height numbers each, row-major. The
/// slice of x has y to the right and z upwards, that of y has x and z, that of z has x and y.
struct SlicePair {
  char axis = 'z';
  std::int64_t index = 0;
  std::int64_t width = 0, height = 0;
  std::vector<float> original, reconstruction;
};

/// Writes the PNG: a row per slice. Original and reconstruction share one colour map over
/// [low, high] of the data; the error (reconstruction - original) has its own, symmetric about 0
/// and common to all rows; each panel has a bar labelled in the data's units. The reconstruction is
/// clamped to [0, 1], as for the figures of merit. The first row of a slice lies at the bottom; all
/// panels are enlarged (whole pixels a voxel) or reduced by one factor. Throws Error or SystemError
/// if the file cannot be written.
void write_slices(const std::filesystem::path& path, const std::vector<SlicePair>& slices,
                  double low, double high, const std::string& title);

/// Whether this build can write pictures.
bool has_png();

/// Throws Error, with what to do, unless this build can write pictures.
void require_png();

}  // namespace kanbench

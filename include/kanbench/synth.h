#pragma once
// Analytic volumes of any size, for trials, tests and scaling.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "kanbench/volume.h"

namespace kanbench {

/// A field on [0, 1]^3 with its known range; `formula` says what it is, for info and --help.
struct Synth {
  const char* name;
  const char* formula;
  /// Numbers a voxel.
  int components = 1;
};
std::span<const Synth> synths();

/// Writes DIR/name_XxYxZ_dtype.raw (name_CxXxYxZ of C components) and its .nhdr and returns the
/// path. Values go from the type's lowest non-negative (0) to its highest for integers, 0 to 1 for
/// floats, which of several components are the field's own values; `seed` matters only to
/// `turbulence`. Memory stays within a few slices. Throws Error for an unknown name.
std::filesystem::path write_synth(const std::string& name, const std::filesystem::path& directory,
                                  const Shape& shape, Dtype dtype, std::uint64_t seed);

}  // namespace kanbench

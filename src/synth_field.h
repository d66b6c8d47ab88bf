#pragma once
// Analytic fields, evaluated row by row on the voxel centres of a lattice.

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "kanbench/volume.h"

namespace kanbench {

/// A field prepared for one lattice; factors that depend on one coordinate alone lie in tables.
struct SynthField {
  /// Values at the shape.x voxels of row (y, z). Safe to call from several threads.
  std::function<void(std::int64_t y, std::int64_t z, double* row)> row;
  /// What becomes 0 and 1; values beyond are held there.
  double low = 0, high = 1;
  /// `high` is to be taken from the lattice itself, in a first pass.
  bool measure_high = false;
  /// Edge of the cube that the lattice covers, in the field's unit of length.
  double extent = 1;
};

SynthField nucleon_field(const Shape& shape, std::uint64_t seed);
SynthField marschner_lobb_field(const Shape& shape, std::uint64_t seed);
SynthField gyroid_field(const Shape& shape, std::uint64_t seed);
SynthField hydrogen_field(const Shape& shape, std::uint64_t seed);
SynthField turbulence_field(const Shape& shape, std::uint64_t seed);
/// Velocities along x, y and z; `low` and `high` are the same for all.
std::array<SynthField, 3> abc_flow(const Shape& shape);
SynthField constant_field(const Shape& shape, std::uint64_t seed);

/// Coordinate of the centre of voxel i of n on [-half, half]; exactly odd about the middle.
inline double centred(std::int64_t i, std::int64_t n, double half) {
  return static_cast<double>(2 * i + 1 - n) * half / static_cast<double>(n);
}

}  // namespace kanbench

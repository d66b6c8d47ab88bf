#pragma once
// A model back into voxels, slice by slice, in memory that does not grow with the volume.

#include <cstdint>
#include <functional>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/io.h"
#include "kanbench/metrics.h"
#include "kanbench/model.h"
#include "kanbench/slices.h"

namespace kanbench {

/// Decodes `lattice` in slabs of whole z slices, at most 64 MB of values each unless one slice has
/// more, and hands over every slice in turn: z counts from 0 within the box, values are x fastest
/// and clamped to [0, 1]. Returns the seconds spent decoding.
double decode_slices(const Model& model, const Lattice& lattice,
                     const std::function<void(std::int64_t z, float* values)>& take);

/// What a model's reconstruction of a volume is worth.
struct Evaluation {
  Metrics metrics;
  double decode_seconds = 0;
  /// The middle slice of each axis (z, y, x) if they were asked for.
  std::vector<SlicePair> slices;
};

/// Decodes `model` at the voxel centres of `volume` and measures it. The model's values in [0, 1]
/// stand for [low, high] of the data it was trained on; where that is not the volume's own range
/// they are brought to it. `writer`, if any, receives the voxels in the volume's type.
Evaluation evaluate(const Model& model, double low, double high, const Volume& volume,
                    bool with_slices = false, RawWriter* writer = nullptr);

}  // namespace kanbench

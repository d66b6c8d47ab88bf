#pragma once
// A model back into voxels, slice by slice, in memory that does not grow with the volume.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/communicator.h"
#include "kanbench/field.h"
#include "kanbench/io.h"
#include "kanbench/metrics.h"
#include "kanbench/range.h"
#include "kanbench/slices.h"

namespace kanbench {

/// What values in [0, 1] become: brought to the range of their output and rounded to `dtype`.
struct VoxelForm {
  Dtype dtype = Dtype::float32;
  std::vector<ValueRange> ranges{{0, 1}};
};

/// `count` whole z slices from `z` on, counted within their box, x fastest. Of several outputs one
/// has all of them before the next.
struct Slab {
  std::int64_t z = 0, count = 0;
  /// As the model gives them, in its backend's memory; null unless asked for.
  const float* values = nullptr;
  /// On the host; null unless asked for.
  const std::byte* voxels = nullptr;
};

/// Decodes `lattice` in slabs, each at most 64 MB of values and a quarter of what is free unless
/// one slice has more, and hands them over in turn: values, voxels of the form given, or both.
/// Returns the seconds spent decoding.
double decode_slabs(const Field& field, const Lattice& lattice, bool values, const VoxelForm* form,
                    const std::function<void(const Slab&)>& take);

/// What a model's reconstruction of a volume is worth.
struct Evaluation {
  /// mean_of() the components'.
  Metrics metrics;
  std::vector<Metrics> components;
  double decode_seconds = 0;
  /// The middle slice of each axis (z, y, x) of the first component if they were asked for; on
  /// rank 0.
  std::vector<SlicePair> slices;
};

/// The z slices of a volume that `rank` of `size` decodes and measures.
Range slices_of(const Shape& shape, int rank, int size);

/// Decodes `field` at the voxel centres of `volume` and measures it, each rank its slices. The
/// field's values in [0, 1] stand for `ranges` of the data it was trained on, one for each of its
/// outputs; where these are not the volume's own they are brought to those. `writer`, if any,
/// receives the voxels in the volume's type, a voxel's numbers side by side. All ranks return the
/// same metrics.
Evaluation evaluate(const Field& field, const std::vector<ValueRange>& ranges, const Volume& volume,
                    Communicator& communicator, bool with_slices = false,
                    VolumeWriter* writer = nullptr);

/// Writes `count` z slices of a slab from its `skip`th on, which become those of the file from
/// `first` on.
void write_slab(VolumeWriter& writer, const Slab& slab, const Shape& shape, const VoxelForm& form,
                std::int64_t skip, std::int64_t first, std::int64_t count);

}  // namespace kanbench

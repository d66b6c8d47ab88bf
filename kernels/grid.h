#pragma once
// The hash grid of a batch: features of points, and the table's gradient from the features'. Also
// serves the identity encoder, whose features are the coordinates.

#include <cuda_runtime.h>

#include <cstdint>

#include "kanbench/backend.h"
#include "kanbench/model.h"
#include "kanbench/precision.h"
#include "kernels/grid_level.h"
#include "kernels/runtime.h"
#include "kernels/step.h"

namespace kanbench::cuda {

/// `features` is a level's numbers a row, 0 for the identity encoder.
GridInfo make_grid(const Layout& layout, int features);

/// Features of a batch, or their gradient. Feature-major: number j of row i at j * stride + i,
/// floats. Chunked: at (j / 8 * stride + i) * 8 + j % 8, of `element`: fp16, bf16, else float;
/// chunks are round_up(width, 16) / 8, and `data` begins at a multiple of 32 bytes.
struct FeatureRows {
  void* data = nullptr;
  Precision element = Precision::fp32;
  bool chunked = false;
  std::int64_t stride = 0;
};

/// Writes the features of the points, and zeros to what pads the chunks; rows from points.rows on
/// are left as they are. `table` is the whole table in `table_type`; for chunked features that is
/// `out.element`.
void encode(const GridInfo& grid, Precision table_type, const void* table, ConstRows points,
            const FeatureRows& out, cudaStream_t stream);

/// Room for sums that do not depend on the order of adding: whole multiples of a quantum, a power
/// of two chosen by the largest number of a batch's levels in a call, so that no sum of its rows
/// overflows 63 bits.
struct FixedPoint {
  /// As many as the table has numbers; zero before and after each call.
  std::uint64_t* sums = nullptr;
  /// One word.
  std::uint32_t* largest = nullptr;
};

/// Where a scatter goes and by what its numbers are divided.
struct ScatterTarget {
  /// The table's gradient and how many numbers it has.
  float* gradient = nullptr;
  std::int64_t size = 0;
  /// Where it has room, the result has the same bits for any order of threads.
  FixedPoint fixed;
  /// Numbers are multiplied by this, and divided by the loss scale of `state` where it is there.
  float factor = 1;
  const StepState* state = nullptr;
};

/// How rows are added. A device of compute capability 9 adds up to 16 bytes at once: a row, or two
/// rows side by side. Before, lanes side by side take the numbers of one row, so that an
/// instruction covers whole sectors.
enum class RowAdds { vectors, pairs, lanes };
/// What suits compute capability `major`.x.
RowAdds row_adds(int major);

/// How a scatter is done.
struct ScatterPlan {
  RowAdds adds = RowAdds::vectors;
  /// So many of the coarsest levels are summed in shared memory first, by so many blocks each; as
  /// adding in vectors, in no fixed order, wherefore fixed-point sums do without it.
  int shared_levels = 0;
  int shared_blocks = 0;
};

/// The plan for batches of `rows` on a device of that compute capability, whose blocks may have
/// `shared_bytes` and which has so many multiprocessors. 0 bytes: no level is summed in blocks.
ScatterPlan plan_scatter(const GridInfo& grid, std::int64_t rows, int major,
                         std::int64_t shared_bytes, int multiprocessors);

/// Levels from `first` up to, not including, `end`.
struct Levels {
  int first = 0, end = 0;
};

/// Adds the levels' gradient to target.gradient; nothing for the identity encoder.
void scatter(const GridInfo& grid, const ScatterTarget& target, ConstRows points,
             const FeatureRows& dfeatures, const ScatterPlan& plan, Levels levels,
             cudaStream_t stream);
/// The same for all levels.
void scatter(const GridInfo& grid, const ScatterTarget& target, ConstRows points,
             const FeatureRows& dfeatures, const ScatterPlan& plan, cudaStream_t stream);

}  // namespace kanbench::cuda

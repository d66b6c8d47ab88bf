#pragma once
// Levels of any kind, one at a time: features of a batch, and a table's gradient from theirs. What
// encoders go through that kernels/grid.h does not know.

#include "kernels/grid.h"

namespace kanbench::cuda {

/// Whether kernels/grid.h does the encoder: a hash grid, or none.
bool is_grid(const Encoder& encoder);

/// Writes the features of the points but for those of grids that move, and zeros to what pads the
/// chunks, as encode() of kernels/grid.h does. Features that are not chunked are made of a table in
/// float.
void encode_levels(const Layout& layout, Precision table_type, const void* table, ConstRows points,
                   const FeatureRows& out, cudaStream_t stream);

/// Adds the gradient of layout.slices[table] to target.gradient.
void scatter_table(const Layout& layout, int table, const ScatterTarget& target, ConstRows points,
                   const FeatureRows& dfeatures, cudaStream_t stream);

}  // namespace kanbench::cuda

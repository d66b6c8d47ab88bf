#pragma once
// The inner loops of the CPU backend, as a table of functions for each instruction set. Arguments
// are plain: a unit compiled for a wider set must not share inline code with the rest.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kanbench/math/activation.h"
#include "kanbench/math/density.h"
#include "kanbench/math/level.h"
#include "kanbench/math/loss.h"
#include "kanbench/math/optimizer.h"
#include "kanbench/math/random.h"

namespace kanbench::cpu {

/// Widest pack of any instruction set, in floats: what buffers are padded to.
inline constexpr int kMaxWidth = 16;

/// A layer as the kernels see it. Offsets into the block of parameters; -1 where there is none.
/// The `d` offsets point into a chunk's own sums of gradients, laid out for the kernels:
/// dweight [in * size][columns], dbase [in][columns], where columns is `out` padded to kMaxWidth,
/// or one lane for each of kMaxWidth samples when out is 1; dscale and dshift [in][columns]; dbias
/// [out], dnorm_weight and dnorm_bias [in], dshare [1] and dinner [inner] of kMaxWidth lanes each.
struct LayerPlan {
  int in, out, size, columns;
  int basis;
  const void* basis_data;
  bool norm;
  Activation activation, base_activation;
  bool base_normalised, edges;
  /// Coefficients that are not zero at any one input, where so few that products leave the others
  /// out; else 0.
  int local;
  /// The layer whose output the base branch adds to, and that output's width, plain and padded.
  int base_layer, base_out, base_columns;
  /// Inner parameters of an input, and how far those of the next lie behind; 0 where all inputs
  /// have the same.
  int inner_size, inner_stride;
  std::int64_t weight, base_weight, bias, norm_weight, norm_bias, share, inner, scale, shift;
  std::int64_t dweight, dbase, dbias, dnorm_weight, dnorm_bias, dshare, dinner, dscale, dshift;
};

/// Inner parameters of a layer in all.
KB_HD std::int64_t inner_count(const LayerPlan& plan) {
  return std::int64_t{plan.inner_size} * (plan.inner_stride > 0 ? plan.in : 1);
}

/// Most layers of a decoder.
inline constexpr int kMostLayers = 64;
/// Most features of a level.
inline constexpr int kMostFeatures = 32;

/// A decoder: its layers and how much room a tile takes. `rows` is a multiple of 2 * kMaxWidth.
struct DecoderPlan {
  const LayerPlan* layers;
  int count;
  int output;
  int rows;
  /// Numbers of the last layer.
  int outputs;
  /// Widest input and most columns of any layer.
  std::int64_t widest, columns;
  /// Floats: shared room of the layers, all scratch of a tile, a chunk's sums.
  std::int64_t room, scratch, sums;
};

/// Rows of phi that are expanded at a time: 64 x 64 samples are 16 KB.
inline constexpr int kBlockPhi = 64;

/// Inputs whose phi fill a block, at least one.
KB_HD int block_inputs(const LayerPlan& plan) {
  return plan.size >= kBlockPhi ? 1 : kBlockPhi / plan.size;
}
/// Floats of a block, of phi or of silu.
KB_HD std::int64_t block_floats(const LayerPlan& plan, int rows) {
  const std::int64_t phi = std::int64_t{block_inputs(plan)} * plan.size;
  return (phi > kBlockPhi ? phi : kBlockPhi) * rows;
}

/// Floats of room for a layer of few coefficients: one input's weights [size][columns], whose
/// places, values and slopes in [2 * local + 1][rows], and sums [rows][columns].
KB_HD std::int64_t local_floats(const LayerPlan& plan, int rows) {
  if (plan.local == 0) return 0;
  return std::int64_t{plan.size + 8} * plan.columns +
         std::int64_t{rows} * (2 * plan.local + 1 + plan.columns);
}

/// A tile of `valid` <= plan.rows rows. features [width][rows] becomes its own gradient when
/// training, unless `skip_input`. targets are [outputs][target_stride], values [outputs][rows];
/// `scale` counts for each output alone, and so do the sums.
struct TileArguments {
  const DecoderPlan* plan;
  const float* parameters;
  float* features;
  float* scratch;
  int valid;
  bool skip_input;
  const float* targets;
  std::int64_t target_stride;
  PlainLoss loss;
  float scale;
  float* sums;
  double* loss_sum;
  double* squared_sum;
  float* values;
};

/// One level of an encoder over tiles: points[3][rows] and features[features][rows] of tile t are
/// at points + t * point_tile, values + t * feature_tile.
struct LevelArguments {
  /// Which alternative of Geometry it is, and where it lies.
  int kind;
  const void* geometry;
  int features;
  /// The rows' numbers, rows_there rows; null where the level has no table.
  float* table;
  std::int64_t rows_there;
  const float* points;
  float* values;
  std::int64_t tiles, point_tile, feature_tile;
  int rows;
  /// Scatter adds only to rows first_row ... first_row + row_count - 1 of the level.
  std::uint32_t first_row = 0, row_count = ~std::uint32_t{0};
};

/// Cache lines of a gradient that a step has touched, in the order of their first touch.
struct TouchedLines {
  std::uint8_t* flags = nullptr;
  std::uint32_t* lines = nullptr;
  std::int64_t count = 0;
};

/// Parameters, moments and gradient of one range.
struct UpdateArguments {
  float *w, *m, *v, *g;
  std::int64_t count;
  UpdateStep step;
  bool skip_untouched;
};

/// Some rows of a batch, points in [0, 1] by axis, as a grid's density sees them. Read to a
/// multiple of kMaxWidth.
struct DensityArguments {
  const DensityGrid<float>* grid;
  const float* points[3];
  std::int64_t rows;
};

struct Kernels {
  const char* name;
  int width;
  /// x, y, z[count] uniform in [0, 1) from words first ... of the stream.
  void (*draw)(const Stream& stream, std::int64_t first, std::int64_t count, float* x, float* y,
               float* z);
  void (*encode)(const LevelArguments&);
  /// Adds values' gradient to the table of gradients; rows whose gradient is zero add nothing.
  void (*scatter)(const LevelArguments&, TouchedLines*);
  void (*forward)(const TileArguments&);
  void (*train)(const TileArguments&);
  /// The optimizer over a range, and the gradient zeroed; false if one was not finite.
  bool (*update)(const UpdateArguments&);
  /// The same over lines of 16 floats that were touched.
  bool (*update_lines)(const UpdateArguments&, const TouchedLines&);
  /// Multiply-adds in registers, `rounds` times; returns the operations done, two each.
  double (*multiply_add)(std::int64_t rounds);
  /// Adds the grid's density at the rows.
  void (*add_density)(const DensityArguments&, float* density);
  /// Adds the rows' density sums, whose w = dL/drho are `slopes`, 0 for those that only pad.
  void (*sum_density)(const DensityArguments&, const float* slopes, double* sums);
};

/// Gives each layer its `columns`, its place in a chunk's sums, and the plan its sizes.
void lay_out(std::vector<LayerPlan>& layers, DecoderPlan& plan);

/// The tables that were built, widest first.
const std::vector<const Kernels*>& instruction_sets();

/// The table for an instruction set by name; "" is the widest that this processor has. Throws Error
/// for one that is unknown or that the processor lacks.
const Kernels& choose_kernels(const std::string& instruction_set);

}  // namespace kanbench::cpu

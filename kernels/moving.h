#pragma once
// Grids that move: their features and gradient, what keeps them smooth, and the geometry's step.

#include <cuda_runtime.h>

#include <cstdint>

#include "kanbench/backend.h"
#include "kernels/grid.h"
#include "kernels/runtime.h"

namespace kanbench::cuda {

/// The grids of an adaptive encoder as kernels take them; no grids where a model has none.
struct MovingGrids {
  int count = 0, resolution = 0, features = 0;
  Transform transform = Transform::similarity;
  /// The first of the decoder's inputs that they make.
  int first = 0;
  /// Where the first grid's table, the second's, and the transforms stand in the block.
  std::int64_t table = 0, stride = 0, transforms = 0;

  KB_HD int numbers() const { return resolution * resolution * resolution * features; }
};
MovingGrids moving_grids(const ModelSpec& spec, const Layout& layout);

/// Floats of a grid's place: AdaptiveLevel::node.
inline constexpr int kPlaceFloats = 12;
/// Writes where the parameters' transforms put each grid.
void place_grids(const MovingGrids& grids, const float* parameters, float* places,
                 cudaStream_t stream);

/// Writes the grids' features, as encode_levels() does, and zeros from number `end` up to `padded`.
void gather_grids(const MovingGrids& grids, Precision table_type, const void* table,
                  const float* places, ConstRows points, const FeatureRows& out, int end,
                  int padded, cudaStream_t stream);

/// Adds the gradient of all grids' tables to target.gradient.
void return_grids(const MovingGrids& grids, const ScatterTarget& target, const float* places,
                  ConstRows points, const FeatureRows& dfeatures, cudaStream_t stream);

/// Adds the penalty's gradient.
void penalise_grids(const MovingGrids& grids, const encoder::GridPenalty& penalty,
                    const float* parameters, float* gradient, cudaStream_t stream);

/// One step of the geometry: its batch, where `values` are the model's, and its Adam on those
/// floats of the block that lie in `share`, whose first moment and second stand beside each other.
struct ShapeArguments {
  ConstRows points;
  /// Of as many numbers as the model has outputs.
  ConstRows values, targets;
  float* parameters = nullptr;
  float* first_moment = nullptr;
  float* second_moment = nullptr;
  Range share;
  UpdateStep adam{};
};

/// Takes it; the same bits for any order of threads. Returns the loss. `room` is what it works in.
double shape_grids(const MovingGrids& grids, const ShapeArguments& arguments, const SumNumbers& sum,
                   DeviceArray<double>& room, cudaStream_t stream);

}  // namespace kanbench::cuda

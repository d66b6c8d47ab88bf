#pragma once
// The gradient of what a decoder's edges cost.

#include <cuda_runtime.h>

#include <cstdint>

#include "kanbench/math/edges.h"
#include "kanbench/model.h"
#include "kernels/runtime.h"

namespace kanbench::cuda {

/// Numbers that add_edge_gradient() needs as room for a decoder of so many layers.
std::int64_t edge_room(std::size_t layers);

/// Adds the penalty's gradient to the weights' in `gradient`, a block as `parameters` is one. Its
/// sums are taken in a fixed order.
void add_edge_gradient(const ModelSpec& spec, const Layout& layout, const EdgePenalty& penalty,
                       const float* parameters, float* gradient, double* room, cudaStream_t stream);

}  // namespace kanbench::cuda

#pragma once
// A part of a lattice added to the whole, voxel by voxel, with weights along each axis.

#include <cuda_runtime.h>

#include "kanbench/backend.h"

namespace kanbench::cuda {

/// Backend::blend() on the device.
void blend(const float* values, const Weights& weights, float low, float range, float* out,
           cudaStream_t stream);

}  // namespace kanbench::cuda

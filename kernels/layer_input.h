#pragma once
// A layer's input as kernels see it: v = activation(norm(x)) of one feature of one row, and grids
// of threads over such numbers.

#include <algorithm>

#include "kanbench/math/layer.h"
#include "kernels/device.h"
#include "kernels/expand.h"

namespace kanbench::cuda {

inline constexpr int kLayerThreads = 256;

struct LayerInput {
  ConstRows input;
  /// Null where there is no norm; weight and bias are the norm's.
  const float* statistics;
  std::int64_t stride;
  const float *weight, *bias;
  Activation activation;
  /// Of prelu, else null.
  const float* share;

  KB_DEVICE float x(std::int64_t i, std::int64_t row) const {
    return input.data[i * input.stride + row];
  }
  KB_DEVICE float unit(std::int64_t i, std::int64_t row) const {
    return (x(i, row) - statistics[row]) * statistics[stride + row];
  }
  /// Before the activation.
  KB_DEVICE float u(std::int64_t i, std::int64_t row) const {
    return statistics ? unit(i, row) * weight[i] + bias[i] : x(i, row);
  }
  KB_DEVICE float v(std::int64_t i, std::int64_t row) const {
    return kanbench::activate(activation, u(i, row), share ? *share : 0.0f);
  }
};

inline LayerInput input_of(const LayerAt& at, const LayerRows& rows) {
  const LayerParameters<const float>& p = at.parameters;
  return {rows.input,  rows.statistics,     rows.stride,       p.norm_weight,
          p.norm_bias, at.layer.activation, p.activation_share};
}

KB_DEVICE std::int64_t row_of_thread() {
  return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}

/// A thread a row and a block a feature, as far as a grid reaches.
inline Grid grid_of(std::int64_t rows, std::int64_t width, cudaStream_t stream) {
  return {dim3(static_cast<unsigned>(ceil_divide(rows, kLayerThreads)),
               static_cast<unsigned>(std::min<std::int64_t>(width, 65535))),
          dim3(kLayerThreads), 0, stream};
}

/// A block of threads each for x by y sums.
inline Grid grid_of_blocks(std::int64_t x, std::int64_t y, cudaStream_t stream) {
  return {dim3(static_cast<unsigned>(x), static_cast<unsigned>(std::min<std::int64_t>(y, 65535))),
          dim3(kLayerThreads), 32 * sizeof(float), stream};
}

}  // namespace kanbench::cuda

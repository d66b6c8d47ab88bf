#pragma once
// What the general decoder does around its products, on a piece of rows, all feature-major: a
// layer's basis values and the way back through them, its norm, its bias, and the loss.

#include <cstdint>

#include "kanbench/backend.h"
#include "kanbench/model.h"
#include "kernels/runtime.h"

namespace kanbench::cuda {

/// A layer's input in a piece, and what stands beside it with `stride` numbers a row of memory.
struct LayerRows {
  ConstRows input;
  std::int64_t stride = 0;
  /// [2][stride]: each row's mean and 1 / sqrt(variance + eps); null where there is no norm.
  float* statistics = nullptr;
  /// [in * size][stride] and [in][stride]; the latter is null where there is no base branch.
  float *phi = nullptr, *base = nullptr;
};

/// Writes phi and base; where the layer has a norm, its statistics first.
void expand(const Layer& layer, const LayerParameters<const float>& parameters,
            const LayerRows& rows, cudaStream_t stream);

/// Given the gradients of phi and base in their places, adds to the norm's gradients and, where
/// dinput has data, writes the gradient of the input.
void contract(const Layer& layer, const LayerParameters<const float>& parameters,
              const LayerParameters<float>& gradient, const LayerRows& rows, Rows dinput,
              cudaStream_t stream);

/// Sets row o of `rows` to bias[o].
void set_bias(const float* bias, Rows rows, cudaStream_t stream);
/// Adds the sum of row o to sums[o].
void add_row_sums(ConstRows rows, float* sums, cudaStream_t stream);

/// values = activation(values), of width 1.
void activate(OutputActivation activation, Rows values, cudaStream_t stream);

/// What the loss needs of double room, in numbers.
inline constexpr std::int64_t kLossPartials = 2 * 256;

/// Replaces the decoder's last numbers `values` by the gradient of the scaled loss in them.
/// sums[0] is the summed loss, sums[1] the summed squared error, added to what they hold unless
/// `first`. `partials` has room for kLossPartials.
void differentiate_loss(OutputActivation activation, const Objective& objective, Rows values,
                        ConstRows targets, bool first, double* partials, double* sums,
                        cudaStream_t stream);

}  // namespace kanbench::cuda

#pragma once
// What the general decoder does around its products, on a piece of rows, all feature-major: a
// layer's basis values and the way back through them, its norm and activation, its bias, and the
// loss.

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
  /// [in * size][stride] and [in][stride]; null where the layer has edges, and no base branch.
  float *phi = nullptr, *base = nullptr;
};

/// A layer and its parameters in the device's memory.
struct LayerAt {
  const Layer& layer;
  LayerParameters<const float> parameters;
};

/// Writes phi and base; where the layer has a norm, its statistics first.
void expand(const LayerAt& at, const LayerRows& rows, cudaStream_t stream);

/// Given the gradients of phi and base in their places, adds to those of inner parameters,
/// activation and norm and, where dinput has data, writes the gradient of the input.
void contract(const LayerAt& at, const LayerParameters<float>& gradient, const LayerRows& rows,
              Rows dinput, cudaStream_t stream);

/// A layer whose edges have places of their own: adds its output to `out`; and, given the output's
/// gradient, adds to those of weights and places, and writes that of the basis' input.
void forward_edges(const LayerAt& at, const LayerRows& rows, Rows out, cudaStream_t stream);
void backward_edges(const LayerAt& at, const LayerParameters<float>& gradient,
                    const LayerRows& rows, ConstRows dout, Rows dv, cudaStream_t stream);

/// From the gradient of the basis' input, in `dv`, to that of the layer's input, in place: what the
/// base branch adds, the activation and the norm, whose own gradients are added to.
void finish_input(const LayerAt& at, const LayerParameters<float>& gradient, const LayerRows& rows,
                  Rows dv, cudaStream_t stream);

/// Sets row o of `rows` to bias[o], or to 0 where there is none.
void set_bias(const float* bias, Rows rows, cudaStream_t stream);
/// Adds the sum of row o to sums[o].
void add_row_sums(ConstRows rows, float* sums, cudaStream_t stream);

/// values = activation(values).
void activate(OutputActivation activation, Rows values, cudaStream_t stream);

/// What the loss needs of double room, in numbers.
inline constexpr std::int64_t kLossPartials = 2 * 256;

/// Replaces the decoder's last numbers `values` by the gradient of the scaled loss in them.
/// sums[0] is the summed loss, sums[1] the summed squared error, means over the width, added to
/// what they hold unless `first`. `partials` has room for kLossPartials.
void differentiate_loss(OutputActivation activation, const Objective& objective, Rows values,
                        ConstRows targets, bool first, double* partials, double* sums,
                        cudaStream_t stream);

}  // namespace kanbench::cuda

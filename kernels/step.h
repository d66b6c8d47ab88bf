#pragma once
// What changes from step to step, in the device's memory, so that one recorded graph serves all
// steps: it reads here, and its last kernel moves on to the next step.

#include <cuda_runtime.h>

#include <cstdint>

#include "kanbench/math/optimizer.h"

namespace kanbench::cuda {

/// Steps that are handed over at once.
inline constexpr int kMostSteps = 64;

/// One step's own numbers.
struct StepNumbers {
  std::uint64_t stream_step = 0;
  UpdateStep encoder{}, decoder{};
};

/// What came of one step.
struct StepOutcome {
  double loss = 0, squared_error = 0;
  /// The gradient overflowed and the step was left out.
  unsigned skipped = 0;
  /// The loss was not finite; no later step changes anything.
  unsigned broken = 0;
};

struct StepState {
  StepNumbers steps[kMostSteps];
  StepOutcome outcomes[kMostSteps];
  /// The step under way.
  int index = 0;
  /// Power of two on the loss gradient, and how many steps it has held.
  float loss_scale = 1;
  int scale_age = 0;
  /// Set in this step: a gradient that is not finite.
  unsigned overflow = 0;
  unsigned broken = 0;
  /// Of the step under way: the gradient's squared norm, and the factor that clips it.
  double squared_norm = 0;
  float clip = 1;
};

/// Makes the first of the numbers that were uploaded the step under way.
void begin_steps(StepState* state, cudaStream_t stream);

/// Sums the blocks' losses and squared errors, pairs in `sums`, in order into the step's outcome; a
/// loss that is not finite breaks the training.
void reduce_sums(int blocks, const double* sums, StepState* state, cudaStream_t stream);

/// Ends the step. A gradient that overflowed halves the loss scale; many that did not double it, up
/// to `largest_scale`. Where it is 0 the scale stays, and an overflow breaks the training.
void end_step(float largest_scale, StepState* state, cudaStream_t stream);

}  // namespace kanbench::cuda

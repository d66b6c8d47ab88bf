// The small kernels around a step.

#include "kernels/device.h"
#include "kernels/step.h"

namespace kanbench::cuda {
namespace {

// Below it a gradient that still overflows is not one that scaling can save.
constexpr float kSmallestScale = 1.0f / 1024;
constexpr int kStepsToDouble = 1024;

KB_KERNEL(32)
begin_steps_kernel(StepState* state) {
  if (threadIdx.x != 0) return;
  state->index = 0;
  state->overflow = 0;
  state->broken = 0;
}

KB_KERNEL(32)
reduce_sums_kernel(int blocks, const double* sums, StepState* state) {
  double loss = 0, squared_error = 0;
  for (int b = static_cast<int>(threadIdx.x); b < blocks; b += 32) {
    loss += sums[2 * b];
    squared_error += sums[2 * b + 1];
  }
  loss = warp_sum(loss);
  squared_error = warp_sum(squared_error);
  if (threadIdx.x != 0) return;
  StepOutcome& outcome = state->outcomes[state->index];
  outcome.loss = loss;
  outcome.squared_error = squared_error;
  if (!(fabs(loss) <= 1.7e308)) state->broken = 1;
}

KB_KERNEL(32)
end_step_kernel(float largest_scale, StepState* state) {
  if (threadIdx.x != 0) return;
  const bool overflow = state->overflow != 0;
  if (overflow && (largest_scale == 0 || state->loss_scale <= kSmallestScale)) state->broken = 1;
  StepOutcome& outcome = state->outcomes[state->index];
  outcome.skipped = overflow;
  outcome.broken = state->broken;
  state->overflow = 0;
  if (state->index + 1 < kMostSteps) ++state->index;
  // What overflows in a training that is broken says nothing of the scale.
  if (largest_scale == 0 || state->broken) return;
  if (overflow) {
    state->loss_scale *= 0.5f;
    state->scale_age = 0;
  } else if (++state->scale_age >= kStepsToDouble) {
    if (state->loss_scale < largest_scale) state->loss_scale *= 2;
    state->scale_age = 0;
  }
}

}  // namespace

void begin_steps(StepState* state, cudaStream_t stream) {
  launch(begin_steps_kernel, Grid{dim3(1), dim3(32), 0, stream}, state);
}

void reduce_sums(int blocks, const double* sums, StepState* state, cudaStream_t stream) {
  launch(reduce_sums_kernel, Grid{dim3(1), dim3(32), 0, stream}, blocks, sums, state);
}

void end_step(float largest_scale, StepState* state, cudaStream_t stream) {
  launch(end_step_kernel, Grid{dim3(1), dim3(32), 0, stream}, largest_scale, state);
}

}  // namespace kanbench::cuda

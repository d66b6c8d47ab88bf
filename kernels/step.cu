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
  if (threadIdx.x >= 2) return;
  double sum = 0;
  for (int b = 0; b < blocks; ++b) sum += sums[2 * b + static_cast<int>(threadIdx.x)];
  StepOutcome& outcome = state->outcomes[state->index];
  if (threadIdx.x == 1) {
    outcome.squared_error = sum;
    return;
  }
  outcome.loss = sum;
  if (!(fabs(sum) <= 1.7e308)) state->broken = 1;
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
  if (largest_scale == 0) return;
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

#pragma once
// The optimizer's pass over the block of parameters, and the table's copy in 16 bits.

#include <cuda_runtime.h>

#include <cstdint>
#include <limits>

#include "kanbench/math/optimizer.h"
#include "kanbench/precision.h"
#include "kanbench/range.h"
#include "kernels/runtime.h"
#include "kernels/step.h"

namespace kanbench::cuda {

/// A block of parameters of which the first `decoder_begin` are the encoder's, and of which those
/// of `share` are updated; all three numbers are multiples of 16. Moment i is that of parameter
/// share.begin + i.
struct UpdateArguments {
  float* parameters = nullptr;
  float* gradient = nullptr;
  float* first_moment = nullptr;
  float* second_moment = nullptr;
  Range share;
  std::int64_t decoder_begin = 0;
  /// From here to decoder_begin are transforms of grids, which have no gradient and stay.
  std::int64_t tables_end = std::numeric_limits<std::int64_t>::max();
  UpdateStep encoder{}, decoder{};
  /// The optimizer, by its place among the alternatives.
  int kind = 0;
  /// Multiplies gradients by the clip of `state`.
  bool clips = false;
  /// Leaves an encoder parameter whose gradient is exactly zero alone.
  bool skip_untouched = true;
  /// Where it is there, its step under way replaces `encoder` and `decoder`, and a step whose
  /// gradient overflowed, or any after a broken one, only zeroes the gradient.
  const StepState* state = nullptr;
  /// The encoder's parameters in fp16 or bf16, or null.
  void* copy = nullptr;
  Precision copy_type = Precision::fp16;
  /// Becomes 1 where a gradient is not finite, else is left as it is.
  unsigned* not_finite = nullptr;
};

/// One step of the optimizer on the share; zeroes the share's gradient.
void update(const UpdateArguments& arguments, cudaStream_t stream);

/// Writes `count` (a multiple of 4) parameters to `copy` in `type`, fp16 or bf16.
void copy_table(const float* parameters, std::int64_t count, Precision type, void* copy,
                cudaStream_t stream);

/// Numbers that measure_norm() needs as room.
inline constexpr std::int64_t kNormRoom = 1024;

/// Sets state->squared_norm to the sum of the squares of `count` (a multiple of 4) numbers, in an
/// order that `count` alone decides, and where `largest` is not 0 state->clip to what brings
/// `scale` times the numbers within that norm.
void measure_norm(const float* numbers, std::int64_t count, float scale, float largest,
                  double* room, StepState* state, cudaStream_t stream);

/// Sets `not_finite` to 1 where one of `count` (a multiple of 4) numbers is not finite.
void check_finite(const float* numbers, std::int64_t count, unsigned* not_finite,
                  cudaStream_t stream);

}  // namespace kanbench::cuda

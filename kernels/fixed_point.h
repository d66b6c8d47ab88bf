#pragma once
// Sums of a table's gradient in fixed point, which have the same bits in whatever order they are
// added; and what gradients are multiplied by on their way.

#include "kernels/grid_rows.h"

namespace kanbench::cuda {

/// What a row's gradient is multiplied by.
struct Factor {
  float factor;
  const StepState* state;
  KB_DEVICE float get() const {
    if (!state) return factor;
    const float loss_scale = state->loss_scale;
    // A power of two's reciprocal has the opposite exponent.
    return factor * same_bits<float>(0x7f000000u - same_bits<std::uint32_t>(loss_scale));
  }
};

/// The power of two that brings the largest of `rows_bits`-bit many numbers' sums to 62 bits.
KB_DEVICE int fixed_exponent(std::uint32_t largest, int rows_bits) {
  const int above = static_cast<int>(largest >> 23) - 126;
  const int exponent = 62 - rows_bits - above;
  return exponent < 127 ? exponent : 127;
}
inline constexpr std::uint32_t kInfinity = 0x7f800000u;

/// Adds `part`, in units of the sums, to sum `i`.
KB_DEVICE void add_fixed(const FixedPoint& fixed, std::int64_t i, float part) {
  add_u64(reinterpret_cast<unsigned long long*>(fixed.sums + i),
          static_cast<unsigned long long>(static_cast<long long>(part)));
}

/// The largest magnitude among numbers `begin` up to `end` of a batch's rows, as a float's bits; a
/// NaN's are above infinity's.
template <class In>
KB_KERNEL(kGridThreads)
find_largest_kernel(std::int64_t rows, int begin, int end, In dfeatures, std::uint32_t* largest) {
  const std::int64_t row = batch_row();
  std::uint32_t most = 0;
  if (row < rows)
    for (int j = begin; j < end; ++j) {
      const std::uint32_t bits = same_bits<std::uint32_t>(dfeatures.get(j, row)) & 0x7fffffffu;
      most = bits > most ? bits : most;
    }
  for (int mask = 16; mask > 0; mask >>= 1) {
    const std::uint32_t other = shuffle_xor(most, mask);
    most = other > most ? other : most;
  }
  if (lane_id() == 0 && most > 0) max_u32(largest, most);
}

/// Finds the unit for numbers `begin` up to `end` of a batch's gradient.
template <class In>
void find_unit(const FixedPoint& fixed, std::int64_t rows, int begin, int end, In dfeatures,
               cudaStream_t stream) {
  checked(cudaMemsetAsync(fixed.largest, 0, sizeof *fixed.largest, stream));
  launch(find_largest_kernel<In>, shape_grid(rows, 1, stream), rows, begin, end, dfeatures,
         fixed.largest);
}

/// Moves fixed-point sums `begin` up to `end` to the gradient, all NaN where the batch had one that
/// was not finite.
void move_fixed(const FixedPoint& fixed, int rows_bits, std::int64_t begin, std::int64_t end,
                Factor factor, float* gradient, cudaStream_t stream);

}  // namespace kanbench::cuda

#include "kernels/fixed_point.h"

namespace kanbench::cuda {

KB_KERNEL(kGridThreads)
add_fixed_kernel(FixedPoint fixed, int rows_bits, std::int64_t begin, std::int64_t end,
                 Factor factor, float* gradient) {
  const std::int64_t i = begin + std::int64_t{blockIdx.x} * kGridThreads + threadIdx.x;
  if (i >= end) return;
  if (*fixed.largest >= kInfinity) {
    gradient[i] = same_bits<float>(0x7fc00000u);
    return;
  }
  const auto sum = static_cast<long long>(fixed.sums[i]);
  if (sum == 0) return;
  const double unit = ldexp(1.0, -fixed_exponent(*fixed.largest, rows_bits));
  gradient[i] += static_cast<float>(static_cast<double>(sum) * unit * factor.get());
  fixed.sums[i] = 0;
}

void move_fixed(const FixedPoint& fixed, int rows_bits, std::int64_t begin, std::int64_t end,
                Factor factor, float* gradient, cudaStream_t stream) {
  launch(add_fixed_kernel, shape_grid(end - begin, 1, stream), fixed, rows_bits, begin, end, factor,
         gradient);
}

}  // namespace kanbench::cuda

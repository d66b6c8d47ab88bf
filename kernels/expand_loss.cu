// The decoder's last numbers: their activation, the loss, and the gradient that starts the way
// back.

#include <algorithm>
#include <variant>

#include "kernels/activation.h"
#include "kernels/expand.h"

namespace kanbench::cuda {
namespace {

constexpr int kThreads = 256;

KB_KERNEL(kThreads)
activate_kernel(OutputActivation activation, Rows values) {
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (row >= values.rows) return;
  for (int o = 0; o < values.width; ++o) {
    float& value = values.data[o * values.stride + row];
    value = activated(activation, value);
  }
}

// Block b writes its sums to partials[2 b] and partials[2 b + 1].
template <class Loss>
KB_KERNEL(kThreads)
differentiate_loss_kernel(Loss loss, OutputActivation activation, float scale, Rows values,
                          ConstRows targets, double* partials) {
  KB_SHARED(double, room);
  double total = 0, squares = 0;
  for (std::int64_t row = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; row < values.rows;
       row += std::int64_t{gridDim.x} * blockDim.x) {
    for (int o = 0; o < values.width; ++o) {
      float& place = values.data[o * values.stride + row];
      const float value = activated(activation, place);
      const float target = targets.data[o * targets.stride + row];
      const double error = static_cast<double>(value) - static_cast<double>(target);
      total += static_cast<double>(loss.value(value, target));
      squares += error * error;
      place = scale * loss.slope(value, target) * activation_slope(activation, value);
    }
  }
  total = block_sum(total / values.width, room);
  squares = block_sum(squares / values.width, room);
  if (threadIdx.x == 0) {
    partials[2 * blockIdx.x] = total;
    partials[2 * blockIdx.x + 1] = squares;
  }
}

KB_KERNEL(kThreads)
add_partials_kernel(const double* partials, int count, bool first, double* sums) {
  KB_SHARED(double, room);
  for (int which = 0; which < 2; ++which) {
    double sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x))
      sum += partials[2 * i + which];
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) sums[which] = first ? sum : sums[which] + sum;
  }
}

}  // namespace

void activate(OutputActivation activation, Rows values, cudaStream_t stream) {
  if (activation == OutputActivation::none || values.rows == 0) return;
  const auto blocks = static_cast<unsigned>(ceil_divide(values.rows, kThreads));
  launch(activate_kernel, Grid{dim3(blocks), dim3(kThreads), 0, stream}, activation, values);
}

void differentiate_loss(OutputActivation activation, const Objective& objective, Rows values,
                        ConstRows targets, bool first, double* partials, double* sums,
                        cudaStream_t stream) {
  const std::int64_t blocks = std::min(ceil_divide(values.rows, kThreads), kLossPartials / 2);
  const std::size_t room = 32 * sizeof(double);
  if (blocks)
    std::visit(
        [&]<class Loss>(const Loss& loss) {
          launch(differentiate_loss_kernel<Loss>,
                 Grid{dim3(static_cast<unsigned>(blocks)), dim3(kThreads), room, stream}, loss,
                 activation, static_cast<float>(objective.scale / values.width), values, targets,
                 partials);
        },
        objective.loss);
  launch(add_partials_kernel, Grid{dim3(1), dim3(kThreads), room, stream},
         static_cast<const double*>(partials), static_cast<int>(blocks), first, sums);
}

}  // namespace kanbench::cuda

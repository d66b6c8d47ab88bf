// The fused FastKAN in fp16.

#include "kernels/expansion.h"
#include "kernels/fused_kernels.h"

namespace kanbench::cuda {

FusedKernels fused_fastkan_half(int width) {
  return fused_kernels<FactorHalf, Gaussians, true>(width);
}

}  // namespace kanbench::cuda

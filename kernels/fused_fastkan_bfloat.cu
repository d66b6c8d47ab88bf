// The fused FastKAN in bf16.

#include "kernels/expansion.h"
#include "kernels/fused_kernels.h"

namespace kanbench::cuda {

FusedKernels fused_fastkan_bfloat(int width) {
  return fused_kernels<FactorBfloat, Gaussians, false>(width);
}

}  // namespace kanbench::cuda

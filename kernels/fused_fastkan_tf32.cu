// The fused FastKAN in TF32.

#include "kernels/expansion.h"
#include "kernels/fused_kernels.h"

namespace kanbench::cuda {

FusedKernels fused_fastkan_tf32(int width) {
  return fused_kernels<FactorTf32, Gaussians, false>(width);
}

}  // namespace kanbench::cuda

// The fused MLP in TF32.

#include "kernels/expansion.h"
#include "kernels/fused_kernels.h"

namespace kanbench::cuda {

FusedKernels fused_mlp_tf32(int width) {
  return fused_kernels<FactorTf32, Rectifier, false>(width);
}

}  // namespace kanbench::cuda

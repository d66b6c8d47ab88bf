// The fused MLP in bf16.

#include "kernels/expansion.h"
#include "kernels/fused_kernels.h"

namespace kanbench::cuda {

FusedKernels fused_mlp_bfloat(int width) {
  return fused_kernels<FactorBfloat, Rectifier, false>(width);
}

}  // namespace kanbench::cuda

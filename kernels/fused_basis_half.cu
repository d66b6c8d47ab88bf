// The fused decoder of any bases in fp16.

#include "kernels/fused_basis.h"

namespace kanbench::cuda {

FusedKernels fused_basis_half(int width) {
  return fused_kernels<FactorHalf, AnyBasis, false>(width);
}

}  // namespace kanbench::cuda

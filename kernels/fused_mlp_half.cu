// The fused MLP in fp16.

#include "kernels/expansion.h"
#include "kernels/fused_kernels.h"

namespace kanbench::cuda {

FusedKernels fused_mlp_half(int width) { return fused_kernels<FactorHalf, Rectifier, true>(width); }

}  // namespace kanbench::cuda

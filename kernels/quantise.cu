// Values to voxels, a thread a voxel.

#include "kernels/quantise.h"
#include "kernels/runtime.h"

namespace kanbench::cuda {
namespace {

constexpr int kThreads = 256;

KB_KERNEL(kThreads)
quantise_kernel(const float* values, std::int64_t count, Dtype dtype, double low, double high,
                void* voxels) {
  const std::int64_t at = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at < count) store_voxel(voxels, dtype, low, high, at, values[at]);
}

}  // namespace

void quantise(const float* values, std::int64_t count, Dtype dtype, double low, double high,
              void* voxels, cudaStream_t stream) {
  if (count == 0) return;
  const auto blocks = static_cast<unsigned>(ceil_divide(count, kThreads));
  launch(quantise_kernel, Grid{dim3(blocks), dim3(kThreads), 0, stream}, values, count, dtype, low,
         high, voxels);
}

}  // namespace kanbench::cuda

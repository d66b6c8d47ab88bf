#pragma once
// What a kernel says that C++ cannot: each instruction once as PTX, once as its meaning. Compiled
// by nvcc the first half holds; compiled as C++, for tests/emulator, the second. Beside it what
// both have in common: launches, and sums over a warp or a block.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <type_traits>

#include "kernels/runtime.h"

#if defined(__CUDACC__)
#include "kernels/device_ptx.h"
#else
#include "kernels/device_meaning.h"
#endif

namespace kanbench::cuda {

using Half = __half;
using Bfloat = __nv_bfloat16;

/// Shared memory that a block may have without being asked for.
inline constexpr std::size_t kDefaultShared = 48 << 10;

/// The shape of a launch; `shared` bytes of dynamic shared memory.
struct Grid {
  dim3 blocks;
  dim3 threads;
  std::size_t shared = 0;
  cudaStream_t stream = nullptr;
  /// For the message where it fails.
  std::source_location where = std::source_location::current();
};

/// Lets blocks of `kernel` have `shared` bytes.
template <class... P>
void allow_shared(void (*kernel)(P...), std::size_t shared) {
  if (shared > kDefaultShared)
    checked(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared)));
}

/// Runs `kernel` with arguments converted to what it takes. Throws SystemError.
template <class... P>
void launch(void (*kernel)(P...), const Grid& grid, std::type_identity_t<P>... arguments) {
  allow_shared(kernel, grid.shared);
  void* pointers[] = {static_cast<void*>(&arguments)..., nullptr};
  checked(cudaLaunchKernel(kernel, grid.blocks, grid.threads, pointers, grid.shared, grid.stream),
          grid.where);
}

/// Blocks of this shape that one multiprocessor holds at once.
template <class... P>
int resident_blocks(void (*kernel)(P...), int threads, std::size_t shared) {
  allow_shared(kernel, shared);
  int blocks = 0;
  checked(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared));
  return blocks;
}

/// The sum over the warp, the same bits in every lane.
template <class T>
KB_DEVICE T warp_sum(T value) {
  for (int mask = 16; mask > 0; mask >>= 1) value += shuffle_xor(value, mask);
  return value;
}

/// The sum over four neighbouring lanes, the same bits in each.
template <class T>
KB_DEVICE T quad_sum(T value) {
  value += shuffle_xor(value, 1);
  return value + shuffle_xor(value, 2);
}

/// The sum over a one-dimensional block in a fixed order, valid in thread 0. `shared` has room for
/// one T a warp; a barrier must pass before it is used for anything else.
template <class T>
KB_DEVICE T block_sum(T value, T* shared) {
  value = warp_sum(value);
  __syncthreads();
  if (lane_id() == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  T sum{};
  if (threadIdx.x == 0)
    for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) sum += shared[warp];
  return sum;
}

}  // namespace kanbench::cuda

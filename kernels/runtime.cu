// Turns the CUDA runtime's errors into exceptions, and counts memory.

#include <algorithm>
#include <string>
#include <string_view>

#include "kernels/runtime.h"

namespace kanbench::cuda {

void checked(cudaError_t status, std::source_location where) {
  if (status == cudaSuccess) return;
  // Else the next launch would report it again.
  cudaGetLastError();
  const std::string_view path = where.file_name();
  throw SystemError("CUDA: " + std::string(cudaGetErrorString(status)) + " (" +
                    cudaGetErrorName(status) + " at " +
                    std::string(path.substr(path.find_last_of('/') + 1)) + ":" +
                    std::to_string(where.line()) + ")");
}

MemoryUse& memory_use() {
  static MemoryUse use;
  return use;
}

void* take_memory(std::size_t bytes) {
  MemoryUse& use = memory_use();
  const bool allowed = use.limit == 0 || (use.used <= use.limit && bytes <= use.limit - use.used);
  void* memory = nullptr;
  const cudaError_t status =
      allowed ? cudaMalloc(&memory, bytes ? bytes : 1) : cudaErrorMemoryAllocation;
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    std::size_t free = 0, all = 0;
    checked(cudaMemGetInfo(&free, &all));
    std::string why = std::to_string(free) + " are free";
    if (!allowed)
      why = "the limit is " + std::to_string(use.limit) + " of which " + std::to_string(use.used) +
            " are taken";
    throw SystemError("out of device memory: " + std::to_string(bytes) +
                      " bytes are not to be had, " + why);
  }
  checked(status);
  use.add(bytes);
  return memory;
}

std::size_t free_memory() {
  std::size_t free = 0, all = 0;
  checked(cudaMemGetInfo(&free, &all));
  const MemoryUse& use = memory_use();
  if (use.limit == 0) return free;
  return std::min(free, use.limit - std::min(use.limit, use.used));
}

void give_memory(void* memory, std::size_t bytes) noexcept {
  cudaFree(memory);
  memory_use().used -= bytes;
}

}  // namespace kanbench::cuda

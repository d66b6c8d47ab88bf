// Turns the CUDA runtime's errors into exceptions.

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

}  // namespace kanbench::cuda

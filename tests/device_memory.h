#pragma once
// Vectors in the memory of a CUDA device, emulated or not.

#include <vector>

#include "kernels/runtime.h"

namespace kanbench::test {

template <class T>
cuda::DeviceArray<T> upload(const std::vector<T>& values) {
  cuda::DeviceArray<T> memory;
  memory.reserve(static_cast<std::int64_t>(values.size()));
  cuda::checked(cudaMemcpy(memory.data(), values.data(), memory.bytes(), cudaMemcpyHostToDevice));
  return memory;
}

/// After all that was asked for before.
template <class T>
std::vector<T> download(const cuda::DeviceArray<T>& memory) {
  std::vector<T> values(static_cast<std::size_t>(memory.size()));
  cuda::checked(cudaMemcpy(values.data(), memory.data(), memory.bytes(), cudaMemcpyDeviceToHost));
  return values;
}

}  // namespace kanbench::test

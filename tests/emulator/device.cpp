// The device as it describes itself, and launches with the limits that it has.

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "state.h"
#include "streams.h"

using namespace emulator;

namespace emulator {
namespace {

constexpr int kMultiprocessors = 2, kL2Bytes = 1 << 20;
constexpr std::size_t kDefaultShared = 48 << 10;

cudaError_t require_device(int device) {
  return device >= 0 && device < state().devices ? cudaSuccess : answer(cudaErrorInvalidDevice);
}

std::size_t allowed_shared(const void* kernel) {
  const auto found = state().shared_limits.find(kernel);
  return found == state().shared_limits.end() ? kDefaultShared
                                              : static_cast<std::size_t>(found->second);
}

bool within_limits(dim3 grid, dim3 block) {
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  return grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= 0x7fffffffu && grid.y <= 65535 &&
         grid.z <= 65535 && threads > 0 && threads <= 1024 && block.z <= 64;
}

}  // namespace

cudaError_t launch(const void* kernel, dim3 grid, dim3 block, std::size_t shared,
                   cudaStream_t stream, std::function<void()> body) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (!within_limits(grid, block)) return answer(cudaErrorInvalidConfiguration);
  if (shared > allowed_shared(kernel)) return answer(cudaErrorInvalidValue);
  if (block.x * block.y * block.z % kWarp)
    throw Fault("a block of " + std::to_string(block.x * block.y * block.z) +
                " threads: the house wants whole warps");
  return enqueue(stream, [=, body = std::move(body)] { run_grid(grid, block, shared, body); });
}

cudaError_t set_attribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<std::size_t>(value) > most_shared())
    return answer(cudaErrorInvalidValue);
  state().shared_limits[kernel] = value;
  return cudaSuccess;
}

cudaError_t occupancy(int* blocks, int threads, std::size_t shared) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  *blocks = threads <= 1024 && shared <= most_shared() ? 1 : 0;
  return cudaSuccess;
}

}  // namespace emulator

cudaError_t cudaGetDeviceCount(int* count) {
  const Call call;
  *count = call.error == cudaSuccess ? state().devices : 0;
  return call.error;
}
cudaError_t cudaSetDevice(int device) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (const cudaError_t error = require_device(device)) return error;
  state().device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  const Call call;
  *device = state().device;
  return call.error;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (const cudaError_t error = require_device(device)) return error;
  cudaDeviceProp p{};
  std::strcpy(p.name, "emulated");
  p.totalGlobalMem = state().memory;
  p.sharedMemPerBlock = kDefaultShared;
  p.sharedMemPerBlockOptin = most_shared();
  p.reservedSharedMemPerBlock = 1024;
  p.sharedMemPerMultiprocessor = most_shared() + 1024;
  p.regsPerBlock = p.regsPerMultiprocessor = 65536;
  p.warpSize = kWarp;
  p.maxThreadsPerBlock = 1024;
  p.maxThreadsPerMultiProcessor = 2048;
  p.maxBlocksPerMultiProcessor = 32;
  p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024;
  p.maxThreadsDim[2] = 64;
  p.maxGridSize[0] = 0x7fffffff;
  p.maxGridSize[1] = p.maxGridSize[2] = 65535;
  for (int& size : p.maxTexture3D) size = 16384;
  p.major = state().capability / 10;
  p.minor = state().capability % 10;
  p.multiProcessorCount = kMultiprocessors;
  p.l2CacheSize = kL2Bytes;
  p.unifiedAddressing = p.canMapHostMemory = p.concurrentKernels = 1;
  p.asyncEngineCount = 2;
  p.memoryBusWidth = 128;
  p.pciBusID = state().first_bus + device;
  *properties = p;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (const cudaError_t error = require_device(device)) return error;
  const int shared = static_cast<int>(most_shared());
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = 1024;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = kDefaultShared;
      break;
    case cudaDevAttrWarpSize:
      *value = kWarp;
      break;
    case cudaDevAttrMaxRegistersPerBlock:
      *value = 65536;
      break;
    case cudaDevAttrClockRate:
      *value = 1000000;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = kMultiprocessors;
      break;
    case cudaDevAttrMemoryClockRate:
      *value = 1000000;
      break;
    case cudaDevAttrGlobalMemoryBusWidth:
      *value = 128;
      break;
    case cudaDevAttrL2CacheSize:
      *value = kL2Bytes;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = 2048;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = state().capability / 10;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = state().capability % 10;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = shared + 1024;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = shared;
      break;
    default:
      return answer(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* id, int bytes, int device) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (const cudaError_t error = require_device(device)) return error;
  std::snprintf(id, static_cast<std::size_t>(bytes), "0000:%02x:00.0", state().first_bus + device);
  return cudaSuccess;
}

cudaError_t cudaDeviceReset() {
  const Call call(Call::does_not_throw);
  if (call.error == cudaSuccess) drop_all();
  return call.error;
}
cudaError_t cudaDeviceSetLimit(cudaLimit, std::size_t) {
  const Call call;
  return call.error;
}

// As on a device, the versions are known where there is none.
cudaError_t cudaDriverGetVersion(int* version) {
  const int driver = state().driver;
  *version = state().no_devices == cudaErrorInsufficientDriver ? std::min(driver, 11040) : driver;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

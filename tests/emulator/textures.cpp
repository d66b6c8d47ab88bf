// 3-D arrays of one channel and their textures.

#include "textures.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "allocations.h"
#include "state.h"
#include "streams.h"

using namespace emulator;

struct cudaArray {
  cudaChannelFormatDesc format;
  cudaExtent extent;
  std::size_t element;
  std::vector<unsigned char> data;
};

namespace emulator {
namespace {

struct Texture {
  cudaArray_t array;
  cudaTextureDesc how;
};

template <class T>
float element_at(const cudaArray& array, std::size_t index) {
  T value;
  std::memcpy(&value, array.data.data() + index * sizeof(T), sizeof(T));
  return static_cast<float>(value);
}

// As a float: integers divided by their largest, as cudaReadModeNormalizedFloat has it.
float read(const cudaArray& a, std::size_t i) {
  if (a.format.f == cudaChannelFormatKindFloat)
    return a.element == 2 ? half_value([&] {
      std::uint16_t bits;
      std::memcpy(&bits, a.data.data() + 2 * i, 2);
      return bits;
    }())
                          : element_at<float>(a, i);
  if (a.format.f == cudaChannelFormatKindUnsigned)
    return a.element == 1 ? element_at<std::uint8_t>(a, i) / 255.0f
                          : element_at<std::uint16_t>(a, i) / 65535.0f;
  return std::max(-1.0f, a.element == 1 ? element_at<std::int8_t>(a, i) / 127.0f
                                        : element_at<std::int16_t>(a, i) / 32767.0f);
}

float fetch(const cudaArray& a, long x, long y, long z) {
  const auto clamped = [](long i, std::size_t size) {
    return static_cast<std::size_t>(std::clamp<long>(i, 0, static_cast<long>(size) - 1));
  };
  return read(a, (clamped(z, a.extent.depth) * a.extent.height + clamped(y, a.extent.height)) *
                         a.extent.width +
                     clamped(x, a.extent.width));
}

// The lower of two neighbours, and the upper one's weight with 8 bits behind the point.
struct Split {
  long low;
  float weight;
  explicit Split(float coordinate) {
    const float fixed = std::nearbyint((coordinate - 0.5f) * 256.0f);
    const float floor = std::floor(fixed / 256.0f);
    low = static_cast<long>(floor);
    weight = (fixed - floor * 256.0f) / 256.0f;
  }
};

float mix(float a, float b, float weight) { return (1 - weight) * a + weight * b; }

}  // namespace

float look_up(cudaTextureObject_t texture, float x, float y, float z) {
  const Texture& t = *reinterpret_cast<const Texture*>(texture);
  const cudaArray& a = *t.array;
  if (t.how.normalizedCoords) {
    x *= static_cast<float>(a.extent.width);
    y *= static_cast<float>(a.extent.height);
    z *= static_cast<float>(a.extent.depth);
  }
  if (t.how.filterMode == cudaFilterModePoint)
    return fetch(a, std::lround(std::floor(x)), std::lround(std::floor(y)),
                 std::lround(std::floor(z)));
  const Split i(x), j(y), k(z);
  float planes[2];
  for (int dz = 0; dz < 2; ++dz) {
    float lines[2];
    for (int dy = 0; dy < 2; ++dy)
      lines[dy] = mix(fetch(a, i.low, j.low + dy, k.low + dz),
                      fetch(a, i.low + 1, j.low + dy, k.low + dz), i.weight);
    planes[dz] = mix(lines[0], lines[1], j.weight);
  }
  return mix(planes[0], planes[1], k.weight);
}

}  // namespace emulator

cudaError_t cudaMalloc3DArray(cudaArray_t* array, const cudaChannelFormatDesc* format,
                              cudaExtent extent, unsigned) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (format->y || format->z || format->w) return answer(cudaErrorNotSupported);
  if (std::max({extent.width, extent.height, extent.depth}) > 16384)
    return answer(cudaErrorInvalidValue);
  const auto element = static_cast<std::size_t>(format->x / 8);
  const std::size_t bytes = extent.width * extent.height * extent.depth * element;
  State& s = state();
  if (bytes > s.memory || s.used > s.memory - bytes) return answer(cudaErrorMemoryAllocation);
  s.used += bytes;
  ++s.allocations;
  *array = new cudaArray{*format, extent, element, std::vector<unsigned char>(bytes, 0xff)};
  return cudaSuccess;
}

cudaError_t cudaFreeArray(cudaArray_t array) {
  const Call call(Call::does_not_throw);
  if (!array) return call.error;
  postpone_faults(finish_all);
  state().used -= array->data.size();
  delete array;
  return call.error;
}

cudaError_t cudaMemcpy3DAsync(const cudaMemcpy3DParms* parameters, cudaStream_t stream) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  const cudaMemcpy3DParms p = *parameters;
  if (!p.dstArray || !p.srcPtr.ptr || p.srcArray || p.dstPtr.ptr)
    return answer(cudaErrorInvalidValue);
  const cudaArray& a = *p.dstArray;
  Room room;
  const std::size_t rows = (p.extent.depth - 1) * p.srcPtr.ysize + p.extent.height;
  const bool inside = find_room(p.srcPtr.ptr, (rows - 1) * p.srcPtr.pitch, room);
  const bool from_device = room == Room::device;
  if (!inside || from_device != (p.kind == cudaMemcpyDeviceToDevice) ||
      p.dstPos.x + p.extent.width > a.extent.width ||
      p.dstPos.y + p.extent.height > a.extent.height ||
      p.dstPos.z + p.extent.depth > a.extent.depth)
    return answer(cudaErrorInvalidValue);
  const cudaError_t error = enqueue(stream, [p] {
    cudaArray& to = *p.dstArray;
    const auto* from = static_cast<const unsigned char*>(p.srcPtr.ptr) + p.srcPos.x * to.element;
    for (std::size_t z = 0; z < p.extent.depth; ++z)
      for (std::size_t y = 0; y < p.extent.height; ++y) {
        const std::size_t row = (p.srcPos.z + z) * p.srcPtr.ysize + p.srcPos.y + y;
        const std::size_t at =
            ((p.dstPos.z + z) * to.extent.height + p.dstPos.y + y) * to.extent.width + p.dstPos.x;
        std::memcpy(to.data.data() + at * to.element, from + row * p.srcPtr.pitch,
                    p.extent.width * to.element);
      }
  });
  if (room == Room::pageable && !is_capturing(stream)) finish(stream);
  return error;
}

cudaError_t cudaMemcpy3D(const cudaMemcpy3DParms* copy) {
  const cudaError_t refused = refuse_while_capturing();
  return refused != cudaSuccess ? answer(refused) : cudaMemcpy3DAsync(copy, nullptr);
}

cudaError_t cudaCreateTextureObject(cudaTextureObject_t* texture, const cudaResourceDesc* resource,
                                    const cudaTextureDesc* how, const cudaResourceViewDesc*) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  const cudaArray* array = resource->res.array.array;
  const bool floats = array && array->format.f == cudaChannelFormatKindFloat;
  const bool normal = how->readMode == cudaReadModeNormalizedFloat;
  bool clamped = true;
  for (cudaTextureAddressMode mode : how->addressMode) clamped &= mode == cudaAddressModeClamp;
  // Only what is emulated; a texture of integers as such would not be filtered.
  if (resource->resType != cudaResourceTypeArray || !array || floats == normal || !clamped ||
      (normal && array->element > 2))
    return answer(cudaErrorInvalidValue);
  *texture = reinterpret_cast<cudaTextureObject_t>(new Texture{resource->res.array.array, *how});
  return cudaSuccess;
}

cudaError_t cudaDestroyTextureObject(cudaTextureObject_t texture) {
  const Call call(Call::does_not_throw);
  delete reinterpret_cast<Texture*>(texture);
  return call.error;
}

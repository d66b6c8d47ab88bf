// Copies and fills, each pointer held to the place that the kind of copy says.

#include <cstring>
#include <memory>
#include <vector>

#include "allocations.h"
#include "state.h"
#include "streams.h"

using namespace emulator;

namespace emulator {
namespace {

struct Ends {
  Room to = Room::pageable, from = Room::pageable;
};

bool fits(cudaMemcpyKind kind, const Ends& ends) {
  const bool to_device = ends.to == Room::device, from_device = ends.from == Room::device;
  switch (kind) {
    case cudaMemcpyHostToHost:
      return !to_device && !from_device;
    case cudaMemcpyHostToDevice:
      return to_device && !from_device;
    case cudaMemcpyDeviceToHost:
      return !to_device && from_device;
    case cudaMemcpyDeviceToDevice:
      return to_device && from_device;
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

/// Rows of bytes.
struct Rectangle {
  unsigned char* to;
  std::size_t to_pitch;
  const unsigned char* from;
  std::size_t from_pitch, width, height;
};

std::size_t span_of(std::size_t pitch, const Rectangle& r) {
  return (r.height - 1) * pitch + r.width;
}

void copy(const Rectangle& r) {
  for (std::size_t y = 0; y < r.height; ++y)
    std::memmove(r.to + y * r.to_pitch, r.from + y * r.from_pitch, r.width);
}

cudaError_t find_ends(const Rectangle& r, cudaMemcpyKind kind, Ends& ends) {
  if (!r.to || !r.from || r.width > r.to_pitch || r.width > r.from_pitch)
    return cudaErrorInvalidValue;
  const bool to_inside = find_room(r.to, span_of(r.to_pitch, r), ends.to);
  const bool from_inside = find_room(r.from, span_of(r.from_pitch, r), ends.from);
  return to_inside && from_inside && fits(kind, ends) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t copy_waiting(const Rectangle& r, cudaMemcpyKind kind) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  const cudaError_t refused = refuse_while_capturing();
  if (refused != cudaSuccess) return answer(refused);
  if (r.width == 0 || r.height == 0) return cudaSuccess;
  Ends ends;
  if (find_ends(r, kind, ends) != cudaSuccess) return answer(cudaErrorInvalidValue);
  finish(nullptr);
  copy(r);
  return cudaSuccess;
}

cudaError_t copy_on(const Rectangle& r, cudaMemcpyKind kind, cudaStream_t stream) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (r.width == 0 || r.height == 0) return cudaSuccess;
  Ends ends;
  if (find_ends(r, kind, ends) != cudaSuccess) return answer(cudaErrorInvalidValue);
  const bool recorded = is_capturing(stream);
  // The device reads pageable memory before the call returns, and writes it before that, too.
  if (ends.from == Room::pageable && !recorded && state().lazy) {
    auto kept = std::make_shared<std::vector<unsigned char>>(r.width * r.height);
    copy({kept->data(), r.width, r.from, r.from_pitch, r.width, r.height});
    return enqueue(stream, [r, kept] {
      copy({r.to, r.to_pitch, kept->data(), r.width, r.width, r.height});
    });
  }
  const cudaError_t error = enqueue(stream, [r] { copy(r); });
  if (ends.to == Room::pageable && !recorded) finish(stream);
  return error;
}

Rectangle row(void* to, const void* from, std::size_t bytes) {
  return {static_cast<unsigned char*>(to),
          bytes,
          static_cast<const unsigned char*>(from),
          bytes,
          bytes,
          1};
}

}  // namespace
}  // namespace emulator

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return copy_waiting(row(to, from, bytes), kind);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return copy_on(row(to, from, bytes), kind, stream);
}
cudaError_t cudaMemcpy2D(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                         std::size_t width, std::size_t height, cudaMemcpyKind kind) {
  return copy_waiting({static_cast<unsigned char*>(to), to_pitch,
                       static_cast<const unsigned char*>(from), from_pitch, width, height},
                      kind);
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from,
                              std::size_t from_pitch, std::size_t width, std::size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream) {
  return copy_on({static_cast<unsigned char*>(to), to_pitch,
                  static_cast<const unsigned char*>(from), from_pitch, width, height},
                 kind, stream);
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (bytes == 0) return cudaSuccess;
  Room room;
  if (!find_room(memory, bytes, room) || room == Room::pageable)
    return answer(cudaErrorInvalidValue);
  return enqueue(stream, [=] { std::memset(memory, value, bytes); });
}
cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  return cudaMemsetAsync(memory, value, bytes, nullptr);
}

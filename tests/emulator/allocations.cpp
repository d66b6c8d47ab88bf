// Allocations: device, pinned and shared memory, between guards.

#include "allocations.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "state.h"
#include "streams.h"

#if defined(__SANITIZE_ADDRESS__)
#define KB_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KB_ADDRESS_SANITIZER 1
#endif
#endif
#if defined(KB_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#endif

namespace emulator {
namespace {

constexpr std::size_t kGuard = 1024, kAlignment = 256;

// NaN as a float, one that arithmetic changes, so that a NaN computed and written here is seen.
constexpr unsigned char kPattern[4] = {0xa5, 0xfd, 0xa5, 0xff};

void write_guard(unsigned char* at) {
  for (std::size_t i = 0; i < kGuard; ++i) at[i] = kPattern[i % 4];
}

struct Allocation {
  std::size_t bytes = 0;
  Room room = Room::device;
  /// Registered, not ours.
  bool borrowed = false;
};

std::map<std::uintptr_t, Allocation>& allocations_by_place() {
  static std::map<std::uintptr_t, Allocation> map;
  return map;
}

std::uintptr_t place_of(const void* memory) { return reinterpret_cast<std::uintptr_t>(memory); }

// The allocation that `memory` lies in, or behind.
std::map<std::uintptr_t, Allocation>::iterator find_allocation(const void* memory) {
  auto& map = allocations_by_place();
  auto next = map.upper_bound(place_of(memory));
  return next == map.begin() ? map.end() : std::prev(next);
}

// The allocation last found, as neighbouring accesses are the rule.
std::uintptr_t found_begin = 1, found_end = 0;

cudaError_t allocate(void** memory, std::size_t bytes, Room room) {
  if (!memory) return cudaErrorInvalidValue;
  *memory = nullptr;
  if (bytes == 0) return cudaSuccess;
  State& s = state();
  if (room == Room::device && (bytes > s.memory || s.used > s.memory - bytes))
    return cudaErrorMemoryAllocation;
  unsigned char* data = allocate_guarded(bytes);
  if (!data) return cudaErrorMemoryAllocation;
  allocations_by_place()[place_of(data)] = {bytes, room, false};
  if (room == Room::device) {
    s.used += bytes;
    ++s.allocations;
  }
  *memory = data;
  return cudaSuccess;
}

void require_intact(std::uintptr_t place, const Allocation& a) {
  if (a.borrowed || guards_intact(reinterpret_cast<const unsigned char*>(place), a.bytes)) return;
  throw Fault("something wrote beside an allocation of " + std::to_string(a.bytes) + " bytes");
}

cudaError_t release(void* memory, Room room) {
  if (!memory) return cudaSuccess;
  auto& map = allocations_by_place();
  const auto found = map.find(place_of(memory));
  if (found == map.end() || found->second.room != room || found->second.borrowed)
    return cudaErrorInvalidValue;
  const Allocation a = found->second;
  postpone_faults([&] { require_intact(place_of(memory), a); });
  map.erase(found);
  found_begin = 1, found_end = 0;
  release_guarded(static_cast<unsigned char*>(memory), a.bytes);
  if (room == Room::device) state().used -= a.bytes;
  return cudaSuccess;
}

// As a call that waits for the device: not while a capture is under way.
cudaError_t release_waiting(void* memory, Room room) {
  const Call call(Call::does_not_throw);
  if (!memory) return call.error;
  const cudaError_t refused = refuse_while_capturing();
  if (refused != cudaSuccess) return answer(refused);
  postpone_faults(finish_all);
  const cudaError_t released = release(memory, room);
  return call.error != cudaSuccess ? call.error : answer(released);
}

cudaError_t allocate_called(void** memory, std::size_t bytes, Room room) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  const cudaError_t refused = refuse_while_capturing();
  return answer(refused != cudaSuccess ? refused : allocate(memory, bytes, room));
}

}  // namespace

unsigned char* allocate_guarded(std::size_t bytes) {
  const std::size_t whole = (bytes + 2 * kGuard + kAlignment - 1) / kAlignment * kAlignment;
  auto* memory = static_cast<unsigned char*>(std::aligned_alloc(kAlignment, whole));
  if (!memory) return nullptr;
  write_guard(memory);
  std::memset(memory + kGuard, 0xff, bytes);
  write_guard(memory + kGuard + bytes);
#if defined(KB_ADDRESS_SANITIZER)
  ASAN_POISON_MEMORY_REGION(memory, kGuard);
  ASAN_POISON_MEMORY_REGION(memory + kGuard + bytes, whole - kGuard - bytes);
#endif
  return memory + kGuard;
}

bool guards_intact([[maybe_unused]] const unsigned char* memory,
                   [[maybe_unused]] std::size_t bytes) {
#if !defined(KB_ADDRESS_SANITIZER)
  for (std::size_t i = 0; i < kGuard; ++i)
    if (memory[i - kGuard] != kPattern[i % 4] || memory[bytes + i] != kPattern[i % 4]) return false;
#endif
  return true;
}

void release_guarded(unsigned char* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(KB_ADDRESS_SANITIZER)
  ASAN_UNPOISON_MEMORY_REGION(memory - kGuard, bytes + 2 * kGuard);
#endif
  std::free(memory - kGuard);
}

unsigned char* SharedMemory::fill() {
  std::memset(data_, 0xff, bytes_);
  return data_;
}

bool find_room(const void* memory, std::size_t bytes, Room& room) {
  room = Room::pageable;
  const auto found = find_allocation(memory);
  if (found == allocations_by_place().end()) return true;
  const std::size_t offset = place_of(memory) - found->first;
  if (offset >= found->second.bytes) return true;
  room = found->second.room;
  return bytes <= found->second.bytes - offset;
}

void require_global(const void* at, std::size_t bytes) {
  const std::uintptr_t place = place_of(at);
  if (place % bytes)
    fail("an access of " + std::to_string(bytes) + " bytes that is not so aligned");
  if (place >= found_begin && place + bytes <= found_end) return;
  const auto found = find_allocation(at);
  if (found == allocations_by_place().end() || place + bytes > found->first + found->second.bytes)
    fail("an access of " + std::to_string(bytes) + " bytes outside the device's memory");
  found_begin = found->first;
  found_end = found->first + found->second.bytes;
}

void check_guards() {
  for (const auto& [place, allocation] : allocations_by_place()) require_intact(place, allocation);
}

}  // namespace emulator

using namespace emulator;

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  return allocate_called(memory, bytes, Room::device);
}
cudaError_t cudaFree(void* memory) { return release_waiting(memory, Room::device); }
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  return allocate_called(memory, bytes, Room::pinned);
}
cudaError_t cudaMallocHost(void** memory, std::size_t bytes, unsigned flags) {
  return cudaHostAlloc(memory, bytes, flags);
}
cudaError_t cudaFreeHost(void* memory) { return release_waiting(memory, Room::pinned); }

cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t) {
  const Call call;
  return call.error != cudaSuccess ? call.error : answer(allocate(memory, bytes, Room::device));
}
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  const Call call(Call::does_not_throw);
  if (call.error != cudaSuccess) return call.error;
  return enqueue(stream, [memory] { release(memory, Room::device); });
}

cudaError_t cudaHostRegister(void* memory, std::size_t bytes, unsigned) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  Room room;
  if (!memory || bytes == 0) return answer(cudaErrorInvalidValue);
  if (!find_room(memory, bytes, room) || room != Room::pageable)
    return answer(cudaErrorHostMemoryAlreadyRegistered);
  allocations_by_place()[place_of(memory)] = {bytes, Room::pinned, true};
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void* memory) {
  const Call call(Call::does_not_throw);
  if (call.error != cudaSuccess) return call.error;
  postpone_faults(finish_all);
  const auto found = allocations_by_place().find(place_of(memory));
  if (found == allocations_by_place().end() || !found->second.borrowed)
    return answer(cudaErrorHostMemoryNotRegistered);
  allocations_by_place().erase(found);
  found_begin = 1, found_end = 0;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* memory) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  Room room;
  find_room(memory, 1, room);
  void* place = const_cast<void*>(memory);
  attributes->type = room == Room::device   ? cudaMemoryTypeDevice
                     : room == Room::pinned ? cudaMemoryTypeHost
                                            : cudaMemoryTypeUnregistered;
  attributes->device = state().device;
  attributes->devicePointer = room == Room::pageable ? nullptr : place;
  attributes->hostPointer = room == Room::device ? nullptr : place;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  *total = state().memory;
  *free = state().memory - std::min(state().memory, state().used);
  return cudaSuccess;
}

#pragma once
// What tests say to the emulated device.
// KANBENCH_EMULATOR="memory=64M,devices=0,error=35,capability=80,schedule=7,lazy=1,fail=200:700"
// says the same to a whole program; "driver=11040" makes its driver that old, 0 takes it away, and
// "device=1" makes its device another than that of programs without it.

#include <cstddef>
#include <cstdint>

#include "cuda_runtime.h"

namespace emulator {

/// The order in which blocks, warps, lanes and lazy streams run is drawn from `seed`. Only sums
/// that atomics make may depend on it.
void set_schedule(std::uint64_t seed);
/// Work on streams waits until something waits for it, different streams then in any order. Else
/// it is done when it is asked for.
void set_lazy(bool lazy);
/// Bytes of the device's memory.
void set_memory(std::size_t bytes);
/// Compute capability, 90 by default.
void set_capability(int capability);
/// Which of the machine's devices the first is, where several programs each have their own.
void set_first_device(int number);
/// How many devices there are; with an `error`, what every call answers instead.
void set_devices(int count, cudaError_t error = cudaSuccess);
/// The `n`th call of the runtime from now on fails (1: the next), and all later ones where the
/// device would be lost. 0: none.
void fail_next(long n, cudaError_t error);

/// Calls of the runtime so far.
long calls();
/// Bytes allocated on the device, and how often.
std::size_t used_bytes();
std::size_t allocations();
/// Checks what surrounds each allocation; throws Fault.
void check_guards();
/// Whether AddressSanitizer is there, which ends the program where guards would be found changed.
constexpr bool sanitized() {
#if defined(__SANITIZE_ADDRESS__)
  return true;
#else
  return false;
#endif
}
/// As at the start: one device, no work under way, no error pending; memory stays allocated.
void reset();

}  // namespace emulator

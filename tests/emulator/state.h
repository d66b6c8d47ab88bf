#pragma once
// The emulated device's state, and what each call of the runtime begins with.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>

#include "emulator.h"
#include "grid.h"

namespace emulator {

struct State {
  std::recursive_mutex mutex;
  std::uint64_t seed = 0, launches = 0;
  Random streams{0};
  bool lazy = false;
  int devices = 1, device = 0, first_bus = 0, capability = 90;
  cudaError_t no_devices = cudaSuccess;
  int driver = CUDART_VERSION;
  std::size_t memory = std::size_t{4} << 30, used = 0, allocations = 0;
  long calls = 0, fail_at = 0;
  cudaError_t injected = cudaSuccess, sticky = cudaSuccess, last = cudaSuccess;
  /// Dynamic shared memory that a kernel was allowed.
  std::map<const void*, int> shared_limits;
  /// A fault found where none could be thrown.
  std::exception_ptr pending;

  State();
  ~State();
};

State& state();

/// Bytes of shared memory that a block may be allowed.
std::size_t most_shared();

/// Locks the device for a call of the runtime and says how it fails, if it is to. Those that
/// destructors make do not throw.
class Call {
 public:
  enum Throws { throws, does_not_throw };
  explicit Call(Throws throws = Throws::throws);
  cudaError_t error = cudaSuccess;

 private:
  std::lock_guard<std::recursive_mutex> lock_;
};

/// Remembers an error for cudaGetLastError().
cudaError_t answer(cudaError_t error);

/// Runs `work`, keeping a Fault for the next call that may throw it.
template <class Work>
void postpone_faults(Work&& work) {
  try {
    work();
  } catch (const Fault&) {
    if (!state().pending) state().pending = std::current_exception();
  }
}

}  // namespace emulator

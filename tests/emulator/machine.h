#pragma once
// What a kernel sees of the emulated device: its thread, the warp's and block's meeting points, and
// memory. A thread is a fiber; nothing here runs in parallel.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "numbers.h"
#include "vectors.h"

namespace emulator {

inline constexpr int kWarp = 32;

/// What a kernel did wrong. Names the block and the threads.
class Fault : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What lanes meet for: `compute` receives what each handed in and where each wants its result.
struct Collective {
  const char* name;
  void (*compute)(const void* const* in, void* const* out);
  /// Lanes whose thread has ended may be missing.
  bool without_ended = false;
};

struct Block;
struct Warp;
struct Stack;

struct Thread {
  dim3 index;
  int lane = 0;
  Warp* warp = nullptr;
  Block* block = nullptr;
  /// Null before it has begun and after it has ended.
  Stack* stack = nullptr;
  /// Asynchronous copies begun and not awaited.
  std::vector<std::pair<void*, const void*>> copies;
};

struct Block {
  dim3 index, size, grid;
  unsigned char* shared = nullptr;
  std::size_t shared_bytes = 0;
  unsigned threads = 0, waiting = 0, ended = 0;
  /// The votes of the barrier being gathered, and of the last one passed.
  bool votes = false, result = false;
};

/// The thread that runs.
inline Thread* current = nullptr;

/// Ends the kernel with a Fault that names block and thread.
[[noreturn]] void fail(const std::string& what);

/// Waits for the whole warp at `what`.
void meet(const Collective& what, const void* in, void* out);
/// Waits for the whole block.
void barrier();
/// The same; whether any thread voted for it.
bool barrier_or(bool vote);

inline int lane() { return current->lane; }
inline void* shared_memory() { return current->block->shared; }

namespace detail {

template <class T>
struct Shuffled {
  T value;
  int from;
};

template <class T>
void shuffle_all(const void* const* in, void* const* out) {
  for (int lane = 0; lane < kWarp; ++lane) {
    const int from = static_cast<const Shuffled<T>*>(in[lane])->from & (kWarp - 1);
    *static_cast<T*>(out[lane]) = static_cast<const Shuffled<T>*>(in[from])->value;
  }
}

template <class T>
inline constexpr Collective kShuffle{"a shuffle", shuffle_all<T>};

}  // namespace detail

template <class T>
T shuffle(T value, int from) {
  const detail::Shuffled<T> in{value, from};
  T out;
  meet(detail::kShuffle<T>, &in, &out);
  return out;
}
unsigned ballot(bool vote);

/// The tensor cores' products: fragments as the PTX manual lays them out.
extern const Collective kHalfProduct, kBfloatProduct, kTf32Product;
void multiply(const Collective& product, float (&c)[4], const std::uint32_t (&a)[4],
              std::uint32_t b0, std::uint32_t b1);

extern const Collective kLoad2, kLoad2Transposed, kLoad4, kLoad4Transposed;
void load_matrices(const Collective& load, std::uint32_t* registers, const void* row);

/// The 16 bytes arrive now or when the thread waits for them, as the schedule has it.
void copy_async(void* shared, const void* global);
void copy_async_wait();

/// Fails unless `bytes` bytes at `at`, so aligned, lie in one allocation of the device, or of the
/// host's pinned memory.
void require_global(const void* at, std::size_t bytes);
template <class T>
T* global(T* at, std::size_t bytes) {
  require_global(at, bytes);
  return at;
}

/// Runs `body` as every thread of a launch; returns when all have ended. Throws Fault.
void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& body);

}  // namespace emulator

#define threadIdx (emulator::current->index)
#define blockIdx (emulator::current->block->index)
#define blockDim (emulator::current->block->size)
#define gridDim (emulator::current->block->grid)
inline constexpr int warpSize = 32;

inline void __syncthreads() { emulator::barrier(); }
inline int __syncthreads_or(int vote) { return emulator::barrier_or(vote != 0); }
void __syncwarp();

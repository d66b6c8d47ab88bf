#pragma once
// Warps as grid.cpp runs them, and random numbers.

#include <cstdint>
#include <utility>

#include "machine.h"

namespace emulator {

struct Warp {
  Thread threads[kWarp];
  /// Lanes that could run; that wait for the others of the warp; of the block; that have ended.
  std::uint32_t ready = 0, meeting = 0, at_barrier = 0, ended = 0;
  const Collective* collective = nullptr;
  const void* in[kWarp] = {};
  void* out[kWarp] = {};
  /// Lanes run in the order start, start + stride, ...; `position` of them had their turn.
  unsigned start = 0, stride = 1, position = 0;
};

/// SplitMix64.
struct Random {
  std::uint64_t state;
  std::uint64_t next() {
    std::uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  /// Less than `bound`.
  std::uint64_t below(std::uint64_t bound) { return (next() >> 11) % bound; }
};

/// A source of its own for each launch, of the seed that set_schedule() gave.
Random next_random();

/// True in one of `one_in` cases, for the launch that runs.
bool draw(unsigned one_in);

}  // namespace emulator

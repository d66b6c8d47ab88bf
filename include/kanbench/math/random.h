#pragma once
// Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011). The same (key, counter) gives the same words on every processor.

#include <cstdint>

#include "kanbench/math/platform.h"

namespace kanbench {

/// Four 32-bit words, the counter and the result of Philox.
struct Words4 {
  std::uint32_t v[4];
};

/// Ten rounds of Philox on `counter` under the 64-bit key (k0, k1).
KB_HD Words4 philox(Words4 counter, std::uint32_t k0, std::uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter.v[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter.v[2];
    counter = {
        {static_cast<std::uint32_t>(b >> 32) ^ counter.v[1] ^ k0, static_cast<std::uint32_t>(b),
         static_cast<std::uint32_t>(a >> 32) ^ counter.v[3] ^ k1, static_cast<std::uint32_t>(a)}};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

/// The finaliser of splitmix64: spreads every input bit over the whole word.
KB_HD std::uint64_t mix64(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

/// A word's top 24 bits as a number in [0, 1).
KB_HD float unit_float(std::uint32_t word) {
  return static_cast<float>(word >> 8) * (1.0f / 16777216.0f);
}

/// One independent sequence of words: what it is for is folded into the key, place in it is
/// (index, step).
struct Stream {
  std::uint64_t key = 0;
  std::uint64_t step = 0;

  KB_HD Words4 words(std::uint64_t index) const {
    return philox({{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                    static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32)}},
                  static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32));
  }
};

/// What a stream of random words is drawn for; each purpose has its own sequence.
enum class Purpose : std::uint32_t {
  samples = 1,
  encoder = 2,
  decoder = 3,
  synth = 4,
  bricks = 5,
  brick_rows = 6,
  fourier_directions = 7,
  transforms = 8,
  errors = 9
};

/// The stream of `purpose` for one seed and rank, at `step`.
KB_HD Stream make_stream(std::uint64_t seed, std::uint32_t rank, Purpose purpose,
                         std::uint64_t step = 0) {
  const std::uint64_t who = (std::uint64_t{rank} << 32) | static_cast<std::uint32_t>(purpose);
  return {mix64(seed ^ mix64(who)), step};
}

}  // namespace kanbench

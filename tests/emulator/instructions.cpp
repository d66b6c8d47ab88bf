// What a warp computes together: votes, products of matrices, loads of matrices; and asynchronous
// copies.

#include <cstring>

#include "grid.h"
#include "machine.h"

namespace emulator {
namespace {

void gather_votes(const void* const* in, void* const* out) {
  unsigned votes = 0;
  for (int lane = 0; lane < kWarp; ++lane)
    if (*static_cast<const bool*>(in[lane])) votes |= 1u << lane;
  for (int lane = 0; lane < kWarp; ++lane) *static_cast<unsigned*>(out[lane]) = votes;
}
void nothing(const void* const*, void* const*) {}

constexpr Collective kBallot{"a vote", gather_votes};
constexpr Collective kSync{"__syncwarp", nothing, true};

/// What a lane hands in: registers of a, then of b.
struct Fragments {
  std::uint32_t registers[6];
};

// One 32-bit register as the numbers it holds.
struct Halves {
  static constexpr int count = 2;
  static float low(std::uint32_t bits) { return half_value(static_cast<std::uint16_t>(bits)); }
};
struct Bfloats {
  static constexpr int count = 2;
  static float low(std::uint32_t bits) { return bfloat_value(static_cast<std::uint16_t>(bits)); }
};
struct Tf32 {
  static constexpr int count = 1;
  static float low(std::uint32_t bits) { return tf32_value(bits); }
};

// Four numbers in a register of any processor.
using Four = float __attribute__((vector_size(16), may_alias));

// c[16x8] += a[16x8n] b[8nx8], n numbers a register: lane 4g + t holds in register r of a the
// numbers n t.. of row g + 8(r % 2), columns from 4n(r / 2); of b likewise column g, rows from
// 4n r; of c numbers 2t, 2t + 1 of rows g and g + 8.
template <class Numbers>
void multiply_all(const void* const* in, void* const* out) {
  constexpr int n = Numbers::count, depth = 8 * n;
  std::uint32_t bits[kWarp * 6];
  float value[n][kWarp * 6];
  for (int lane = 0; lane < kWarp; ++lane)
    std::memcpy(bits + lane * 6, in[lane], sizeof(Fragments));
  for (int i = 0; i < n; ++i)
    for (int at = 0; at < kWarp * 6; ++at) value[i][at] = Numbers::low(bits[at] >> 16 * i);
  float a[16][depth];
  alignas(16) float b[depth][8], sum[16][8];
  for (int lane = 0; lane < kWarp; ++lane)
    for (int i = 0; i < n; ++i) {
      const int group = lane / 4, place = lane % 4 * n + i;
      const float* v = value[i] + lane * 6;
      for (int r = 0; r < 4; ++r) a[group + r % 2 * 8][place + r / 2 * 4 * n] = v[r];
      for (int r = 0; r < 2; ++r) b[place + r * 4 * n][group] = v[4 + r];
    }
  for (int row = 0; row < 16; ++row) {
    Four low{}, high{};
    for (int k = 0; k < depth; ++k) {
      low += a[row][k] * reinterpret_cast<const Four&>(b[k][0]);
      high += a[row][k] * reinterpret_cast<const Four&>(b[k][4]);
    }
    reinterpret_cast<Four&>(sum[row][0]) = low;
    reinterpret_cast<Four&>(sum[row][4]) = high;
  }
  for (int lane = 0; lane < kWarp; ++lane) {
    auto* c = static_cast<float*>(out[lane]);
    for (int i = 0; i < 4; ++i) c[i] += sum[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
}

void require_shared(const void* at, int lane) {
  const Block& block = *current->block;
  const auto* place = static_cast<const unsigned char*>(at);
  if (place < block.shared || place + 16 > block.shared + block.shared_bytes)
    fail("lane " + std::to_string(lane) + " names 16 bytes outside the block's shared memory");
  if ((place - block.shared) % 16)
    fail("lane " + std::to_string(lane) + " names 16 bytes of shared memory that are not aligned");
}

template <int Count, bool Transposed>
void load_all(const void* const* in, void* const* out) {
  std::uint16_t matrix[Count][8][8];
  for (int row = 0; row < 8 * Count; ++row) {
    require_shared(in[row], row);
    std::memcpy(matrix[row / 8][row % 8], in[row], 16);
  }
  for (int lane = 0; lane < kWarp; ++lane)
    for (int m = 0; m < Count; ++m) {
      const int row = lane / 4, column = lane % 4 * 2;
      const std::uint32_t low = Transposed ? matrix[m][column][row] : matrix[m][row][column];
      const std::uint32_t high =
          Transposed ? matrix[m][column + 1][row] : matrix[m][row][column + 1];
      static_cast<std::uint32_t*>(out[lane])[m] = low | high << 16;
    }
}

}  // namespace

const Collective kHalfProduct{"mma_half", multiply_all<Halves>};
const Collective kBfloatProduct{"mma_bfloat", multiply_all<Bfloats>};
const Collective kTf32Product{"mma_tf32", multiply_all<Tf32>};
const Collective kLoad2{"load_matrix2", load_all<2, false>};
const Collective kLoad2Transposed{"load_matrix2_transposed", load_all<2, true>};
const Collective kLoad4{"load_matrix4", load_all<4, false>};
const Collective kLoad4Transposed{"load_matrix4_transposed", load_all<4, true>};

unsigned ballot(bool vote) {
  unsigned votes = 0;
  meet(kBallot, &vote, &votes);
  return votes;
}

void multiply(const Collective& product, float (&c)[4], const std::uint32_t (&a)[4],
              std::uint32_t b0, std::uint32_t b1) {
  const Fragments in{{a[0], a[1], a[2], a[3], b0, b1}};
  meet(product, &in, c);
}

void load_matrices(const Collective& load, std::uint32_t* registers, const void* row) {
  meet(load, row, registers);
}

void copy_async(void* shared, const void* global) {
  require_global(global, 16);
  require_shared(shared, current->lane);
  if (draw(2))
    std::memcpy(shared, global, 16);
  else
    current->copies.emplace_back(shared, global);
}

void copy_async_wait() {
  for (const auto& [to, from] : current->copies) std::memcpy(to, from, 16);
  current->copies.clear();
}

}  // namespace emulator

void __syncwarp() { emulator::meet(emulator::kSync, nullptr, nullptr); }

#pragma once
// The small number formats as bits: IEEE half, bfloat16 and TF32, rounded as the device rounds.

#include <bit>
#include <cstdint>

namespace emulator {

/// To the nearest half, ties to even; beyond 65504 infinity.
inline std::uint16_t half_bits(float value) {
  std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return 0x7fff;
  if (bits >= 0x47800000u) return sign | 0x7c00u;
  // Below 2^-14 the sum with 1/2 has the half's spacing, so that its own rounding is the right one.
  if (bits < 0x38800000u) {
    const float sum = std::bit_cast<float>(bits) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(sum) - 0x3f000000u));
  }
  bits += 0xfffu + (bits >> 13 & 1u);
  return static_cast<std::uint16_t>(sign | (bits - 0x38000000u) >> 13);
}

/// Exact, without branches so that loops of it become vectors.
inline float half_value(std::uint16_t half) {
  const std::uint32_t magnitude = std::uint32_t{half & 0x7fffu} << 13;
  const std::uint32_t scaled =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const std::uint32_t special = magnitude >= 0x0f800000u ? 0x7f800000u : 0u;
  return std::bit_cast<float>(scaled | special | std::uint32_t{half & 0x8000u} << 16);
}

/// To the nearest bfloat16, ties to even.
inline std::uint16_t bfloat_bits(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

inline float bfloat_value(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

/// To the nearest number with 10 bits behind the point, ties away from zero, as a float's bits.
inline std::uint32_t tf32_bits(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffffffu;
  return (bits + 0x1000u) & 0xffffe000u;
}

/// What is left of a float's bits when a TF32 product takes them.
inline float tf32_value(std::uint32_t bits) { return std::bit_cast<float>(bits & 0xffffe000u); }

}  // namespace emulator

#pragma once
// Half precision (IEEE 754 binary16) without the processor's help, in forms that vectorise.

#include <bit>
#include <cstdint>

namespace kanbench {

/// The nearest half, ties to even, of a number whose magnitude is below 65520.
inline std::uint16_t to_half(float number) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(number);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  // Below 2^-14 halves are multiples of 2^-24, as floats from 1/2 on are.
  const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
  const std::uint32_t small = std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u;
  const std::uint32_t large = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
  const std::uint32_t half = magnitude < (113u << 23) ? small : large;
  return static_cast<std::uint16_t>(half | ((bits >> 16) & 0x8000u));
}

/// A finite half's number.
inline float from_half(std::uint16_t half) {
  const std::uint32_t magnitude = half & 0x7fffu;
  const float small = static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f;
  const std::uint32_t large = (magnitude << 13) + (112u << 23);
  const std::uint32_t bits = magnitude < 0x400u ? std::bit_cast<std::uint32_t>(small) : large;
  return std::bit_cast<float>(bits | (static_cast<std::uint32_t>(half & 0x8000u) << 16));
}

}  // namespace kanbench

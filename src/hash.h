#pragma once
// A short name for a long text.

#include <cstdint>
#include <string>
#include <string_view>

namespace kanbench {

/// 8 hex digits: 64-bit FNV-1a (Fowler, Noll, Vo), its halves folded together.
inline std::string short_hash(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3;
  }
  auto folded = static_cast<std::uint32_t>(hash ^ (hash >> 32));
  std::string digits(8, '0');
  for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit, folded >>= 4)
    *digit = "0123456789abcdef"[folded & 15];
  return digits;
}

}  // namespace kanbench

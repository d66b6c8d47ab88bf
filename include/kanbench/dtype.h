#pragma once
// The voxel types of raw volumes.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "kanbench/error.h"

namespace kanbench {

enum class Dtype { uint8, int8, uint16, int16, uint32, int32, uint64, int64, float32, float64 };

/// Bytes of one voxel.
std::size_t size_of(Dtype dtype);

/// "uint8", "float32", ...
const char* name(Dtype dtype);

/// True and `dtype` set for "uint8", "u1", "float32", "f4" and the like; false for any other word.
bool parse_dtype(std::string_view word, Dtype& dtype);

/// Every name that a message may offer.
std::string dtype_names();

/// Calls visitor(T{}) with the C++ type of `dtype`.
template <class Visitor>
decltype(auto) visit(Dtype dtype, Visitor&& visitor) {
  switch (dtype) {
    case Dtype::uint8:
      return visitor(std::uint8_t{});
    case Dtype::int8:
      return visitor(std::int8_t{});
    case Dtype::uint16:
      return visitor(std::uint16_t{});
    case Dtype::int16:
      return visitor(std::int16_t{});
    case Dtype::uint32:
      return visitor(std::uint32_t{});
    case Dtype::int32:
      return visitor(std::int32_t{});
    case Dtype::uint64:
      return visitor(std::uint64_t{});
    case Dtype::int64:
      return visitor(std::int64_t{});
    case Dtype::float32:
      return visitor(float{});
    case Dtype::float64:
      return visitor(double{});
  }
  check(false, "unknown dtype");
  return visitor(std::uint8_t{});
}

}  // namespace kanbench

#pragma once
// Numbers from `begin` up to, not including, `end`.

#include <cstdint>

namespace kanbench {

struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

}  // namespace kanbench

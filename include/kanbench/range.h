#pragma once
// Numbers from `begin` up to, not including, `end`.

#include <algorithm>
#include <cstdint>

namespace kanbench {

struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

/// What `a` has of `b`; empty where they are apart.
inline Range overlap(const Range& a, const Range& b) {
  const std::int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

/// Where part `part` of `parts` of 0 ... all begins, the parts' sizes differing by one at most;
/// that of part `parts` is `all`.
inline std::int64_t start_of_part(std::int64_t all, std::int64_t part, std::int64_t parts) {
  // part * all / parts, without overflow.
  return all / parts * part + all % parts * part / parts;
}

}  // namespace kanbench

#pragma once
// Samples that are not spread evenly: the box they are drawn in is cut into equal bricks, a word
// says in which one a sample lies, three more where.

#include <cstdint>

#include "kanbench/math/platform.h"
#include "kanbench/math/random.h"

namespace kanbench {

/// Bricks an axis, x fastest; brick i is drawn by the words from ends[i - 1] up to, not including,
/// ends[i], the last by all that are left. `ends` lies in the memory of whoever draws; null where
/// samples are spread evenly.
struct SamplingGuide {
  int bricks[3] = {1, 1, 1};
  const std::uint32_t* ends = nullptr;

  /// The brick that `word` draws.
  KB_HD int find(std::uint32_t word) const {
    int low = 0, high = bricks[0] * bricks[1] * bricks[2] - 1;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (word < ends[middle])
        high = middle;
      else
        low = middle + 1;
    }
    return low;
  }

  /// Where in the box a sample lies, each number from 0 to 1.
  KB_HD void place(const Words4& words, float (&unit)[3]) const {
    int brick = find(words.v[3]);
    for (int d = 0; d < 3; ++d) {
      const float corner = static_cast<float>(brick % bricks[d]);
      brick /= bricks[d];
      unit[d] = (corner + unit_float(words.v[d])) / static_cast<float>(bricks[d]);
    }
  }
};

}  // namespace kanbench

#pragma once
// How much each brick counts along an axis: 1 in its core, linear across what it shares with a
// neighbour, whose weight is the rest. A trapezoid, 1 up to the volume's border.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kanbench/ensemble.h"

namespace kanbench {

/// One axis of a manifest's grid: `cuts` are the faces from 0 to the volume's size.
class AxisWeights {
 public:
  /// Without blending, and with no ghosts, a brick counts in its core only; a point on a face
  /// counts for the brick that begins there.
  AxisWeights(std::vector<std::int64_t> cuts, int ghost, bool blend) : cuts_(std::move(cuts)) {
    half_.assign(cuts_.size(), 0.0);
    // Ramps stay within half a core, so that no more than two bricks meet on an axis.
    for (std::size_t f = 1; blend && f + 1 < cuts_.size(); ++f)
      half_[f] = std::min({static_cast<double>(ghost), core(f - 1) / 2, core(f) / 2});
  }

  std::int64_t bricks() const { return static_cast<std::int64_t>(cuts_.size()) - 1; }
  std::int64_t voxels() const { return cuts_.back(); }

  /// The weight of `brick` at `position`, in voxels from the volume's corner.
  float at(std::int64_t brick, double position) const {
    const auto b = static_cast<std::size_t>(brick);
    const float below = b == 0 ? 0.0f : lower(b, position);
    const float mine = b + 1 == cuts_.size() - 1 ? 1.0f : lower(b + 1, position);
    // One of them is 0 or 1: neighbours' weights are a float and 1 less that float.
    return below > 0 ? 1.0f - below : mine;
  }

  /// Where `brick` counts at all.
  double low(std::int64_t brick) const {
    const auto b = static_cast<std::size_t>(brick);
    return static_cast<double>(cuts_[b]) - half_[b];
  }
  double high(std::int64_t brick) const {
    const auto b = static_cast<std::size_t>(brick) + 1;
    return static_cast<double>(cuts_[b]) + half_[b];
  }

 private:
  double core(std::size_t brick) const {
    return static_cast<double>(cuts_[brick + 1] - cuts_[brick]);
  }
  // The share of the brick before `face`: 1 before the ramp, 0 behind it.
  float lower(std::size_t face, double position) const {
    const double before = static_cast<double>(cuts_[face]) - position;
    if (half_[face] == 0) return before > 0 ? 1.0f : 0.0f;
    return static_cast<float>(std::clamp(0.5 + before / (2 * half_[face]), 0.0, 1.0));
  }

  std::vector<std::int64_t> cuts_;
  std::vector<double> half_;
};

/// The axis `d` of a manifest.
inline AxisWeights axis_weights(const Manifest& all, std::size_t d) {
  const std::int64_t counts[3] = {all.grid.x, all.grid.y, all.grid.z};
  const std::int64_t strides[3] = {1, all.grid.x, all.grid.x * all.grid.y};
  std::vector<std::int64_t> cuts{0};
  for (std::int64_t i = 0; i < counts[d]; ++i)
    cuts.push_back(all.bricks[static_cast<std::size_t>(i * strides[d])].core.high[d]);
  return {std::move(cuts), all.ghost, all.blend};
}

}  // namespace kanbench

#pragma once
// Wang's structural similarity by separable filters, a row of the map at a time, in double.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace kanbench::ssim {

/// Taps either side of the centre, and taps in all.
constexpr int radius = 5;
constexpr int taps = 2 * radius + 1;

/// The window along one axis: a Gaussian of sigma 1.5, its weights by distance from the centre.
const std::array<double, radius + 1>& window();

/// One axis of n voxels under the window: cropped, it yields the centres whose window lies within;
/// mirrored (without repeating the edge, as often as need be), every voxel.
struct Axis {
  std::int64_t n = 0;
  bool cropped = false;

  std::int64_t outputs() const { return cropped ? n - 2 * radius : n; }
  /// The voxel under the window's tap `tap` (0 ... 10) at output `output`.
  std::int64_t source(std::int64_t output, int tap) const;
};

/// Slices that the window covers along z, centre in the middle; one alone for the 2-D figure.
/// Values of each slice with x fastest, width * height.
struct Window {
  std::span<const float*const> original, reconstruction;
};

/// Sums of the SSIM map over the rows first ... first + sums.size() - 1 of the map's outputs along
/// y, one sum a row. Values in [0, 1] (C1 = 0.01^2, C2 = 0.03^2).
void row_sums(const Window& slices, const Axis& x, const Axis& y, std::int64_t first,
              std::span<double> sums);

}  // namespace kanbench::ssim

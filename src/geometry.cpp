#include "kanbench/geometry.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kanbench {
namespace {

using encoder::GridPlacement;

// Numbers of one grid, in the order of their use: four words at a time.
class Draws {
 public:
  Draws(const Stream& stream, int grid) : stream_(stream), grid_(grid) {}

  /// In [0, 1).
  double uniform() {
    const int i = used_++;
    const auto index =
        static_cast<std::uint64_t>(grid_) * kWords + static_cast<std::uint64_t>(i / 4);
    return unit_float(stream_.words(index).v[i % 4]);
  }
  double between(double low, double high) { return low + (high - low) * uniform(); }
  /// Box and Muller's first number.
  double normal(double deviation) {
    const double radius = std::sqrt(-2 * std::log(1.0 - uniform()));
    return deviation * radius * std::cos(2 * std::numbers::pi * uniform());
  }

 private:
  static constexpr std::uint64_t kWords = 16;
  Stream stream_;
  int grid_, used_ = 0;
};

// The published draws; "small" are grids of a third of an axis all over the volume.
void draw_similarity(GridPlacement placement, Draws& draws, float* numbers) {
  for (int d = 0; d < 3; ++d) {
    double scale = 1 - draws.between(0, 0.05), shift = draws.between(-0.05, 0.05);
    if (placement == GridPlacement::large) scale = 0.7 - draws.between(0, 0.3);
    if (placement == GridPlacement::small) {
      scale = 3 + draws.between(0, 0.2);
      shift = 8 / scale - draws.between(0, 16 / scale);
    }
    numbers[d] = static_cast<float>(std::log(scale));
    numbers[3 + d] = 0;
    numbers[7 + d] = static_cast<float>(shift);
  }
  numbers[6] = 1;
}

void draw_affine(GridPlacement placement, Draws& draws, float* numbers) {
  const double scale = placement == GridPlacement::large   ? 0.8
                       : placement == GridPlacement::small ? 8
                                                           : 1;
  for (int k = 0; k < 3; ++k) {
    for (int j = 0; j < 4; ++j)
      numbers[4 * k + j] = static_cast<float>((k == j ? scale : 0) + draws.normal(0.05));
    if (placement == GridPlacement::small)
      numbers[4 * k + 3] += static_cast<float>(draws.between(-1, 1)) * numbers[5 * k];
  }
}

}  // namespace

namespace {

// The published rate, or, where there are few steps, what brings an entry 0.8 on its way at most:
// of several lengths the best on volumes of different kind, and more makes grids rush.
double transform_rate(const encoder::AdaptiveMultiGrid& grids, double period) {
  constexpr double kWay = 0.8, kPublished = 1e-3, kMost = 1e-2;
  if (grids.transform_lrate > 0) return grids.transform_lrate;
  return std::clamp(2 * kWay / period, kPublished, kMost);
}

}  // namespace

GeometryStep geometry_step(const encoder::AdaptiveMultiGrid& grids, std::int64_t step,
                           std::int64_t steps) {
  // Below it a step's own rounding is larger.
  constexpr double kFrozen = 1e-8;
  const std::int64_t start = std::min<std::int64_t>(grids.transform_start, steps / 20);
  const double period = grids.transform_share * static_cast<double>(steps);
  const auto since = static_cast<double>(step - start);
  if (since < 0 || since >= period) return {};
  const double rate =
      transform_rate(grids, period) * 0.5 * (1 + std::cos(std::numbers::pi * since / period));
  if (rate <= kFrozen) return {};
  return {rate, step - start + 1};
}

UpdateStep geometry_adam(const GeometryStep& step) {
  Adam adam;
  adam.beta1 = 0.9f;
  adam.beta2 = 0.999f;
  adam.epsilon = 1e-15f;
  return adam.at(step.rate, step.number);
}

void draw_transforms(const encoder::AdaptiveMultiGrid& grids, const Stream& stream,
                     float* numbers) {
  const Transform transform = grids.transform;
  for (int g = 0; g < grids.n_grids; ++g) {
    Draws draws(stream, g);
    float* own = numbers + std::int64_t{g} * size(transform);
    if (transform == Transform::affine)
      draw_affine(grids.initialisation, draws, own);
    else
      draw_similarity(grids.initialisation, draws, own);
  }
}

Corners grid_corners(Transform transform, const float* numbers) {
  const AffineMap<double> map = map_of<double>(transform, numbers);
  double cofactor[3][3];
  const double determinant = cofactors(map.m, cofactor);
  Corners corners;
  for (int c = 0; c < 8; ++c) {
    const double y[3] = {c & 1 ? 1.0 : -1.0, c & 2 ? 1.0 : -1.0, c & 4 ? 1.0 : -1.0};
    for (int j = 0; j < 3; ++j) {
      double x = 0;
      for (int k = 0; k < 3; ++k) x += cofactor[k][j] * (y[k] - map.t[k]);
      corners[static_cast<std::size_t>(c)][static_cast<std::size_t>(j)] =
          0.5 * (x / determinant + 1);
    }
  }
  return corners;
}

}  // namespace kanbench

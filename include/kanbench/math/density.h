#pragma once
// The feature density of grids and the loss that moves them to where errors are large (Wurster et
// al., "Adaptively placed multi-grid scene representation networks", TVCG 2024):
//   rho(x) = sum over grids of |det M| exp(-k sum_d y_d^20),  y = M x + t,
//   p_i = rho_i / sum rho,  q_i ~ (p_i + eps)^(mean e / (e_i + eps)),
//   L = mean_i q_i (log(q_i + eps) - log(p_i + eps)), where q and sum rho count as constants.

#include <cmath>

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"
#include "kanbench/math/transform.h"

namespace kanbench {

inline constexpr double kDensityEpsilon = 1e-16;

/// Beyond it a bump is zero in double, while powers stay far below the largest float.
inline constexpr float kBumpReach = 1.6f;

KB_HD float minimum(float a, float b) { return a < b ? a : b; }
KB_HD double minimum(double a, double b) { return a < b ? a : b; }
KB_HD float maximum(float a, float b) { return a > b ? a : b; }
KB_HD double maximum(double a, double b) { return a > b ? a : b; }

/// y^19 by repeated squaring.
template <class T>
KB_HD T power19(T y) {
  const T y2 = y * y, y4 = y2 * y2, y8 = y4 * y4;
  return y8 * y8 * y2 * y;
}

/// A grid as the density sees it. Its determinant counts without its sign, which a free matrix may
/// turn; the constant factor of the published density, which no p_i depends on, is left out.
template <class T>
struct DensityGrid {
  AffineMap<T> map;
  T steepness, determinant, cofactor[3][3];

  DensityGrid() = default;
  KB_HD DensityGrid(Transform transform, const AffineMap<T>& m) : map(m) {
    steepness = transform == Transform::affine ? T(0.5) : T(1);
    determinant = cofactors(map.m, cofactor);
    if (determinant < T(0)) {
      determinant = -determinant;
      for (auto& row : cofactor)
        for (T& c : row) c = -c;
    }
  }

  /// exp(-k sum y^20) at x in [-1, 1]^3; y's 19th powers go to `power`. X: T or a pack of them.
  template <class X>
  KB_HD X bump(const X (&x)[3], X (&power)[3]) const {
    X sum(T(0));
    for (int k = 0; k < 3; ++k) {
      const X whole =
          X(map.m[k][0]) * x[0] + X(map.m[k][1]) * x[1] + X(map.m[k][2]) * x[2] + X(map.t[k]);
      const X y = maximum(minimum(whole, X(kBumpReach)), X(-kBumpReach));
      power[k] = power19(y);
      sum = sum + power[k] * y;
    }
    return exp(-(X(steepness) * sum));
  }
};

/// Sums over points of w h, w h y_k^19 and w h y_k^19 x_j, where w = dL/drho and h is the bump: all
/// that the gradient by a grid's map takes.
inline constexpr int kDensitySums = 13;

/// One point's part of the sums.
template <class X>
KB_HD void density_terms(const X (&x)[3], const X (&power)[3], X wh, X (&terms)[kDensitySums]) {
  terms[0] = wh;
  for (int k = 0; k < 3; ++k) {
    const X slope = wh * power[k];
    terms[1 + k] = slope;
    for (int j = 0; j < 3; ++j) terms[4 + 3 * k + j] = slope * x[j];
  }
}

/// The gradient by the grid's map.
template <class T>
KB_HD AffineMap<T> density_gradient(const DensityGrid<T>& grid, const T* sums) {
  AffineMap<T> d;
  const T factor = T(-20) * grid.steepness * grid.determinant;
  for (int k = 0; k < 3; ++k) {
    d.t[k] = factor * sums[1 + k];
    for (int j = 0; j < 3; ++j)
      d.m[k][j] = factor * sums[4 + 3 * k + j] + grid.cofactor[k][j] * sums[0];
  }
  return d;
}

/// The logarithm of a target before targets are made to add up to one: p at a density and a squared
/// error e among errors of that mean. At most 0, so that its exponential is finite.
KB_HD double log_target(double p, double e, double mean) {
  return log(p + kDensityEpsilon) * (mean / (e + kDensityEpsilon));
}

/// A point's part of the loss, and its slope by the point's density.
struct DensityLoss {
  double value, slope;
};
KB_HD DensityLoss density_loss(double p, double q, double rows, double all) {
  return {q * (log(q + kDensityEpsilon) - log(p + kDensityEpsilon)) / rows,
          -q / (rows * all * (p + kDensityEpsilon))};
}

}  // namespace kanbench

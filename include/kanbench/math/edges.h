#pragma once
// What an edge of a layer costs, for sparse networks (the regularisers of KAN, Liu et al., ICLR
// 2025): an edge's size is the mean of its coefficients' absolute values; a layer costs
// l1 * sum + entropy * H, where H = -sum p ln p is the entropy of the sizes' shares p = size / sum.

#include <cmath>
#include <cstdint>

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench {

/// Weights of the two terms; 0 leaves one out.
struct EdgePenalty {
  float l1 = 0, entropy = 0;
  bool wanted() const { return l1 != 0 || entropy != 0; }
};

/// Sums over a layer's edges: of their sizes, and of size * ln(size).
struct EdgeSums {
  double sizes = 0, logs = 0;

  KB_HD double entropy() const { return log(sizes) - logs / sizes; }
  double penalty(const EdgePenalty& penalty) const {
    return static_cast<double>(penalty.l1) * sizes +
           static_cast<double>(penalty.entropy) * entropy();
  }
};

/// Added to the size of each edge, so that one of size 0 has a share whose logarithm there is.
inline constexpr double kSmallestEdge = 1e-8;

/// The size of an edge of `count` coefficients.
template <class T>
KB_HD double edge_size(const T* coefficients, int count) {
  double size = 0;
  for (int k = 0; k < count; ++k) size += fabs(static_cast<double>(coefficients[k]));
  return kSmallestEdge + size / count;
}

/// The slope of a layer's penalty in the size of one of its edges.
KB_HD double edge_slope(const EdgePenalty& penalty, const EdgeSums& sums, double size) {
  return static_cast<double>(penalty.l1) - static_cast<double>(penalty.entropy) *
                                               (log(size / sums.sizes) + sums.entropy()) /
                                               sums.sizes;
}

/// Adds the gradient of an edge's `count` coefficients to `gradient`.
template <class T>
KB_HD void add_edge_slope(const EdgePenalty& penalty, const EdgeSums& sums, const T* coefficients,
                          int count, T* gradient) {
  const double slope = edge_slope(penalty, sums, edge_size(coefficients, count)) / count;
  for (int k = 0; k < count; ++k)
    gradient[k] += static_cast<T>(slope) * (step0(coefficients[k]) - step0(-coefficients[k]));
}

}  // namespace kanbench

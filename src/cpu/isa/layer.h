#pragma once
// One layer over a tile, forward and back. Inputs are expanded a block at a time, so that phi stays
// in the first cache, and expanded again on the way back rather than kept.

#include "cpu/isa/edges.h"
#include "cpu/isa/expansion.h"
#include "cpu/isa/input.h"
#include "cpu/isa/local.h"
#include "cpu/isa/product.h"

namespace kanbench::cpu::KB_ISA {
namespace {

/// Inner parameters of input i; null where they are fixed.
KB_HD const float* inner_of(const LayerTile& t, int i) {
  if (t.plan->inner < 0) return nullptr;
  return t.parameters + t.plan->inner + std::int64_t{i} * t.plan->inner_stride;
}

/// Adds the base branch of x or v to y[base_out][rows].
void forward_base(const LayerTile& t, const float* v, float* y) {
  const LayerPlan& plan = *t.plan;
  const float* x = plan.base_normalised ? v : t.x;
  float* phi = t.room + std::int64_t{plan.in} * t.rows;
  for (int i = 0; i < plan.in; i += kBlockPhi) {
    const int count = plan.in - i < kBlockPhi ? plan.in - i : kBlockPhi;
    expand_base(plan.base_activation, x + i * t.rows, std::int64_t{count} * t.rows, phi, nullptr);
    multiply(t.parameters + plan.base_weight + i, plan.in, phi, count, t.rows, y, plan.base_out);
  }
}

/// Adds to t.y, and what the base branch gives to base_y.
template <class B>
void forward_layer(const LayerTile& t, const B& basis, float* base_y) {
  const LayerPlan& plan = *t.plan;
  const int rows = t.rows, in = plan.in;
  float* phi = t.room + std::int64_t{in} * rows;
  const float* weight = t.parameters + plan.weight;
  const std::int64_t ld = std::int64_t{in} * plan.size;
  if (plan.norm) normalise(t);
  float* v = prepare_input(t);
  if (plan.base_weight >= 0) forward_base(t, v, base_y);
  if constexpr (kOnEdges<B>)
    if (plan.edges) return forward_edges(t, basis, v);
  if constexpr (std::is_same_v<B, basis::BSpline>)
    if (plan.local > 0) return forward_local(t, basis, v);
  if constexpr (kInPlace<B>) {
    apply(basis, v, std::int64_t{in} * rows);
    multiply(weight, ld, v, in, rows, t.y, plan.out);
  } else {
    const int block = block_inputs(plan);
    for (int i = 0; i < in; i += block) {
      const int count = in - i < block ? in - i : block;
      for (int j = 0; j < count; ++j)
        expand_input(basis, inner_of(t, i + j), v + (i + j) * rows, rows,
                     phi + j * plan.size * rows, nullptr);
      multiply(weight + i * plan.size, ld, phi, count * plan.size, rows, t.y, plan.out);
    }
  }
}

/// Gradients of weights from phi[n][rows] and dy, by columns or, for one output, lanes.
KB_HD void accumulate_weights(const OutputSlopes& d, const float* phi, int n, int rows, float* dw) {
  if (d.out == 1)
    accumulate_lanes(phi, n, d.dy, rows, dw);
  else
    accumulate_outer(phi, n, d.dyt, d.columns, rows, dw);
}

/// dx[M inputs][rows] (+)= slope * (w^T dy), the inputs of one coefficient each.
template <int M, class Slope>
KB_HD void pull_inputs(const OutputSlopes& d, int rows, const float* w, std::int64_t ld, float* dx,
                       bool add, Slope slope) {
  for (int s = 0; s < rows; s += kBlockPacks * kWidth) {
    Pack sums[M][kBlockPacks];
    pull_block<M, kBlockPacks>(w, ld, d.dy, d.out, rows, s, sums);
    _Pragma("GCC unroll 16") for (int m = 0; m < M; ++m)
        _Pragma("GCC unroll 16") for (int p = 0; p < kBlockPacks; ++p) {
      const std::int64_t at = std::int64_t{m} * rows + s + p * kWidth;
      const Pack pulled = sums[m][p] * slope(at);
      store(dx + at, add ? load(dx + at) + pulled : pulled);
    }
  }
}

template <class Slope>
void pull_all(const OutputSlopes& d, int rows, const float* w, std::int64_t ld, int in, float* dx,
              bool add, Slope slope) {
  int i = 0;
  for (; i + kBlockRows <= in; i += kBlockRows)
    pull_inputs<kBlockRows>(d, rows, w + i, ld, dx + i * rows, add,
                            [&](std::int64_t at) KB_INLINE { return slope(i * rows + at); });
  for (; i < in; ++i)
    pull_inputs<1>(d, rows, w + i, ld, dx + i * rows, add,
                   [&](std::int64_t at) KB_INLINE { return slope(i * rows + at); });
}

/// dx[rows] (+)= sum_k slope[k][rows] * (w[:][k])^T dy for M of one input's coefficients.
template <int M>
KB_HD void pull_coefficients(const OutputSlopes& d, int rows, const float* w, std::int64_t ld,
                             const float* slope, float* dx, bool add) {
  for (int s = 0; s < rows; s += kBlockPacks * kWidth) {
    Pack sums[M][kBlockPacks];
    pull_block<M, kBlockPacks>(w, ld, d.dy, d.out, rows, s, sums);
    _Pragma("GCC unroll 16") for (int p = 0; p < kBlockPacks; ++p) {
      Pack pulled = add ? load(dx + s + p * kWidth) : Pack(0.0f);
      for (int m = 0; m < M; ++m)
        pulled = pulled + sums[m][p] * load(slope + m * rows + s + p * kWidth);
      store(dx + s + p * kWidth, pulled);
    }
  }
}

KB_HD void pull_one_input(const OutputSlopes& d, int size, int rows, const float* w,
                          std::int64_t ld, const float* slope, float* dx) {
  int k = 0;
  for (; k + kBlockRows <= size; k += kBlockRows)
    pull_coefficients<kBlockRows>(d, rows, w + k, ld, slope + k * rows, dx, k > 0);
  for (; k < size; ++k) pull_coefficients<1>(d, rows, w + k, ld, slope + k * rows, dx, k > 0);
}

/// The slopes of one input's coefficients, dphi[size][rows], and through them the gradients of its
/// inner parameters and, unless null, of itself.
template <class B>
void pull_inner(const LayerTile& t, const B& basis, const OutputSlopes& d, int i, const float* v,
                const float* slope, float* dphi, float* sums, float* dv) {
  const LayerPlan& plan = *t.plan;
  const int rows = t.rows;
  pull_all(d, rows, t.parameters + plan.weight + std::int64_t{i} * plan.size,
           std::int64_t{plan.in} * plan.size, plan.size, dphi, false,
           [](std::int64_t) KB_INLINE { return Pack(1.0f); });
  if constexpr (kHasInner<B>)
    accumulate_inner(basis, inner_of(t, i), v + i * rows, rows, dphi,
                     sums + plan.dinner + std::int64_t{i} * plan.inner_stride * kMaxWidth);
  if (!dv) return;
  for (int s = 0; s < rows; s += kWidth) {
    Pack total(0.0f);
    for (int k = 0; k < plan.size; ++k)
      total = total + load(dphi + k * rows + s) * load(slope + k * rows + s);
    store(dv + i * rows + s, total);
  }
}

/// Adds the gradients of weights and inner parameters to `sums` and writes dv[in][rows] unless
/// null. A basis in place leaves its phi in v.
template <class B>
void backward_basis(const LayerTile& t, const B& basis, const OutputSlopes& d, float* v,
                    float* sums, float* dv) {
  const LayerPlan& plan = *t.plan;
  const int rows = t.rows, in = plan.in, size = plan.size;
  const float* weight = t.parameters + plan.weight;
  const std::int64_t ld = std::int64_t{in} * size;
  if constexpr (std::is_same_v<B, basis::BSpline>)
    if (plan.local > 0) return backward_local(t, basis, d, v, sums, dv);
  float* phi = t.room + std::int64_t{in} * rows;
  float* slope = phi + block_floats(plan, rows);
  if constexpr (kInPlace<B>) {
    if (copies(plan)) apply(basis, v, std::int64_t{in} * rows);
    accumulate_weights(d, v, in, rows, sums + plan.dweight);
    if (dv)
      pull_all(d, rows, weight, ld, in, dv, false,
               [&](std::int64_t at) KB_INLINE { return slope_from_phi(basis, load(v + at)); });
  } else {
    const int block = block_inputs(plan);
    for (int i = 0; i < in; i += block) {
      const int count = in - i < block ? in - i : block;
      for (int j = 0; j < count; ++j)
        expand_input(basis, inner_of(t, i + j), v + (i + j) * rows, rows, phi + j * size * rows,
                     slope + j * size * rows);
      accumulate_weights(d, phi, count * size, rows,
                         sums + plan.dweight + std::int64_t{i} * size * plan.columns);
      if (plan.inner >= 0)
        for (int j = 0; j < count; ++j)
          pull_inner(t, basis, d, i + j, v, slope + j * size * rows,
                     slope + block_floats(plan, rows), sums, dv);
      else if (dv && size == 1)
        pull_all(d, rows, weight + i, ld, count, dv + i * rows, false,
                 [&](std::int64_t at) KB_INLINE { return load(slope + at); });
      else if (dv)
        for (int j = 0; j < count; ++j)
          pull_one_input(d, size, rows, weight + std::int64_t{i + j} * size, ld,
                         slope + j * size * rows, dv + (i + j) * rows);
    }
  }
}

/// The base branch's way back, from the gradient of the output that it ends in: adds to its
/// weights' gradient and, unless null, to dx[in][rows].
void backward_base(const LayerTile& t, const float* x, const OutputSlopes& d, float* sums,
                   float* dx) {
  const LayerPlan& plan = *t.plan;
  const int rows = t.rows, in = plan.in;
  float* phi = t.room + std::int64_t{in} * rows;
  float* slope = phi + block_floats(plan, rows);
  for (int i = 0; i < in; i += kBlockPhi) {
    const int count = in - i < kBlockPhi ? in - i : kBlockPhi;
    expand_base(plan.base_activation, x + i * rows, std::int64_t{count} * rows, phi, slope);
    accumulate_weights(d, phi, count, rows, sums + plan.dbase + std::int64_t{i} * d.columns);
    if (dx)
      pull_all(d, rows, t.parameters + plan.base_weight + i, in, count, dx + i * rows, true,
               [&](std::int64_t at) KB_INLINE { return load(slope + at); });
  }
}

/// Given the gradient of the output, and `base`, that of the output that the base branch ends in,
/// whose transpose is made in `base_dyt` where it is another's, adds the layer's gradients to
/// `sums` and, unless null, writes dx[in][rows].
template <class B>
void backward_layer(const LayerTile& t, const B& basis, const OutputSlopes& d, OutputSlopes base,
                    float* base_dyt, float* sums, float* dx) {
  const LayerPlan& plan = *t.plan;
  const int rows = t.rows;
  if (plan.bias >= 0) accumulate_lanes(d.dy, plan.out, rows, sums + plan.dbias);
  float* v = prepare_input(t);
  if constexpr (kOnEdges<B>)
    plan.edges ? backward_edges(t, basis, v, d.dy, sums, dx)
               : backward_basis(t, basis, d, v, sums, dx);
  else
    backward_basis(t, basis, d, v, sums, dx);
  if (plan.base_weight >= 0 && base.dy != d.dy) {
    if (base.out > 1) transpose(base.dy, base.out, rows, base.columns, base_dyt);
    base.dyt = base_dyt;
  }
  if (plan.base_weight >= 0 && plan.base_normalised) {
    if (kInPlace<B>) prepare_input(t);
    backward_base(t, v, base, sums, dx);
  }
  if (dx) {
    activate_back(t, dx, sums);
    if (plan.norm) normalise_back(t, dx, sums);
  }
  if (plan.base_weight >= 0 && !plan.base_normalised) backward_base(t, t.x, base, sums, dx);
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

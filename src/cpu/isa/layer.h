#pragma once
// One layer over a tile, forward and back. Inputs are expanded a block at a time, so that phi stays
// in the first cache, and expanded again on the way back rather than kept.

#include "cpu/isa/expansion.h"
#include "cpu/isa/product.h"
#include "kanbench/math/layer.h"

namespace kanbench::cpu::KB_ISA {
namespace {

/// A layer's place in a tile: its input x[in][rows] (phi where the basis is in place), the
/// normalised input unit[in][rows] with inverse[rows] where it has a norm, and shared room.
struct LayerTile {
  const LayerPlan* plan;
  const float* parameters;
  int rows;
  float* x;
  float* unit;
  float* inverse;
  float* room;  // z [in][rows], then 2 blocks of phi
  float* y;
};

/// Whether the basis works on a copy of x: behind a norm, or where the base branch needs x too.
KB_HD bool copies(const LayerPlan& plan) { return plan.norm || plan.base_weight >= 0; }

/// The basis' input: z or a copy in `room`, else x itself.
KB_HD float* prepare_input(const LayerTile& t) {
  if (!copies(*t.plan)) return t.x;
  if (!t.plan->norm)
    for (std::int64_t i = 0; i < std::int64_t{t.plan->in} * t.rows; i += kWidth)
      store(t.room + i, load(t.x + i));
  return t.room;
}

void normalise(const LayerTile& t) {
  const int in = t.plan->in, rows = t.rows;
  const float* gamma = t.parameters + t.plan->norm_weight;
  const float* beta = t.parameters + t.plan->norm_bias;
  const Pack share(1.0f / in);
  for (int s = 0; s < rows; s += kWidth) {
    Pack mean(0.0f), squares(0.0f);
    for (int i = 0; i < in; ++i) mean = mean + load(t.x + i * rows + s);
    mean = mean * share;
    for (int i = 0; i < in; ++i) {
      const Pack d = load(t.x + i * rows + s) - mean;
      squares = squares + d * d;
    }
    const Pack inverse =
        Pack(1.0f) / sqrt(squares * share + Pack(static_cast<float>(kNormEpsilon)));
    store(t.inverse + s, inverse);
    for (int i = 0; i < in; ++i) {
      const Pack unit = (load(t.x + i * rows + s) - mean) * inverse;
      store(t.unit + i * rows + s, unit);
      store(t.room + i * rows + s, unit * Pack(gamma[i]) + Pack(beta[i]));
    }
  }
}

/// z again from unit, for the way back.
void restore_normalised(const LayerTile& t) {
  for (int i = 0; i < t.plan->in; ++i) {
    const Pack gamma(t.parameters[t.plan->norm_weight + i]);
    const Pack beta(t.parameters[t.plan->norm_bias + i]);
    for (int s = 0; s < t.rows; s += kWidth)
      store(t.room + i * t.rows + s, load(t.unit + i * t.rows + s) * gamma + beta);
  }
}

/// dz[in][rows] -> dx, through the norm; adds to dgamma and dbeta.
void normalise_back(const LayerTile& t, float* dz, float* sums) {
  const int in = t.plan->in, rows = t.rows;
  for (int i = 0; i < in; ++i) {
    accumulate_lanes(t.unit + i * rows, 1, dz + i * rows, rows,
                     sums + t.plan->dnorm_weight + i * kMaxWidth);
    accumulate_lanes(dz + i * rows, 1, rows, sums + t.plan->dnorm_bias + i * kMaxWidth);
  }
  const float* gamma = t.parameters + t.plan->norm_weight;
  const Pack share(1.0f / in);
  for (int s = 0; s < rows; s += kWidth) {
    Pack total(0.0f), dot(0.0f);
    for (int i = 0; i < in; ++i) {
      const Pack d = load(dz + i * rows + s) * Pack(gamma[i]);
      total = total + d;
      dot = dot + d * load(t.unit + i * rows + s);
    }
    total = total * share;
    dot = dot * share;
    const Pack inverse = load(t.inverse + s);
    for (int i = 0; i < in; ++i) {
      const Pack d = load(dz + i * rows + s) * Pack(gamma[i]);
      store(dz + i * rows + s, inverse * (d - total - load(t.unit + i * rows + s) * dot));
    }
  }
}

/// silu(x) of inputs [count][rows] and, where wanted, its slope.
void expand_silu(const float* x, std::int64_t count, float* phi, float* slope) {
  for (std::int64_t i = 0; i < count; i += kWidth) {
    const Pack v = load(x + i), half = sigmoid(v);
    store(phi + i, v * half);
    if (slope) store(slope + i, half * (Pack(1.0f) + v * (Pack(1.0f) - half)));
  }
}

template <class B>
void forward_layer(const LayerTile& t, const B& basis) {
  const LayerPlan& plan = *t.plan;
  const int rows = t.rows, in = plan.in;
  for (int o = 0; o < plan.out; ++o) {
    const Pack bias(plan.bias < 0 ? 0.0f : t.parameters[plan.bias + o]);
    for (int s = 0; s < rows; s += kWidth) store(t.y + o * rows + s, bias);
  }
  float* phi = t.room + std::int64_t{in} * rows;
  const float* weight = t.parameters + plan.weight;
  const std::int64_t ld = std::int64_t{in} * plan.size;
  if (plan.base_weight >= 0)
    for (int i = 0; i < in; i += kBlockPhi) {
      const int count = in - i < kBlockPhi ? in - i : kBlockPhi;
      expand_silu(t.x + i * rows, std::int64_t{count} * rows, phi, nullptr);
      multiply(t.parameters + plan.base_weight + i, in, phi, count, rows, t.y, plan.out);
    }
  if (plan.norm) normalise(t);
  float* input = prepare_input(t);
  if constexpr (kInPlace<B>) {
    apply(basis, input, std::int64_t{in} * rows);
    multiply(weight, ld, input, in, rows, t.y, plan.out);
  } else {
    const int block = block_inputs(plan);
    for (int i = 0; i < in; i += block) {
      const int count = in - i < block ? in - i : block;
      for (int j = 0; j < count; ++j)
        expand_input(basis, input + (i + j) * rows, rows, phi + j * plan.size * rows, nullptr);
      multiply(weight + i * plan.size, ld, phi, count * plan.size, rows, t.y, plan.out);
    }
  }
}

/// Gradients of a layer's weights from phi[n][rows] and dy, by columns or, for one output, lanes.
KB_HD void accumulate_weights(const LayerTile& t, const float* phi, int n, const float* dy,
                              const float* dyt, float* dw) {
  if (t.plan->out == 1)
    accumulate_lanes(phi, n, dy, t.rows, dw);
  else
    accumulate_outer(phi, n, dyt, t.plan->columns, t.rows, dw);
}

/// dx[M inputs][rows] (+)= slope * (w^T dy), the inputs of one coefficient each.
template <int M, class Slope>
KB_HD void pull_inputs(const LayerTile& t, const float* w, std::int64_t ld, const float* dy,
                       float* dx, bool add, Slope slope) {
  for (int s = 0; s < t.rows; s += kBlockPacks * kWidth) {
    Pack sums[M][kBlockPacks];
    pull_block<M, kBlockPacks>(w, ld, dy, t.plan->out, t.rows, s, sums);
    _Pragma("GCC unroll 16") for (int m = 0; m < M; ++m)
        _Pragma("GCC unroll 16") for (int p = 0; p < kBlockPacks; ++p) {
      const std::int64_t at = std::int64_t{m} * t.rows + s + p * kWidth;
      const Pack d = sums[m][p] * slope(at);
      store(dx + at, add ? load(dx + at) + d : d);
    }
  }
}

template <class Slope>
void pull_all(const LayerTile& t, const float* w, std::int64_t ld, int in, const float* dy,
              float* dx, bool add, Slope slope) {
  int i = 0;
  for (; i + kBlockRows <= in; i += kBlockRows)
    pull_inputs<kBlockRows>(t, w + i, ld, dy, dx + i * t.rows, add,
                            [&](std::int64_t at) KB_INLINE { return slope(i * t.rows + at); });
  for (; i < in; ++i)
    pull_inputs<1>(t, w + i, ld, dy, dx + i * t.rows, add,
                   [&](std::int64_t at) KB_INLINE { return slope(i * t.rows + at); });
}

/// dx[rows] (+)= sum_k slope[k][rows] * (w[:][k])^T dy for M of one input's coefficients.
template <int M>
KB_HD void pull_coefficients(const LayerTile& t, const float* w, std::int64_t ld, const float* dy,
                             const float* slope, float* dx, bool add) {
  for (int s = 0; s < t.rows; s += kBlockPacks * kWidth) {
    Pack sums[M][kBlockPacks];
    pull_block<M, kBlockPacks>(w, ld, dy, t.plan->out, t.rows, s, sums);
    _Pragma("GCC unroll 16") for (int p = 0; p < kBlockPacks; ++p) {
      Pack d = add ? load(dx + s + p * kWidth) : Pack(0.0f);
      for (int m = 0; m < M; ++m) d = d + sums[m][p] * load(slope + m * t.rows + s + p * kWidth);
      store(dx + s + p * kWidth, d);
    }
  }
}

KB_HD void pull_one_input(const LayerTile& t, const float* w, std::int64_t ld, const float* dy,
                          const float* slope, float* dx) {
  int k = 0;
  for (; k + kBlockRows <= t.plan->size; k += kBlockRows)
    pull_coefficients<kBlockRows>(t, w + k, ld, dy, slope + k * t.rows, dx, k > 0);
  for (; k < t.plan->size; ++k)
    pull_coefficients<1>(t, w + k, ld, dy, slope + k * t.rows, dx, k > 0);
}

/// Given dy[out][rows] and its transpose, adds the layer's gradients to `sums` and, unless null,
/// writes dx[in][rows].
template <class B>
void backward_layer(const LayerTile& t, const B& basis, const float* dy, const float* dyt,
                    float* sums, float* dx) {
  const LayerPlan& plan = *t.plan;
  const int rows = t.rows, in = plan.in;
  if (plan.bias >= 0) accumulate_lanes(dy, plan.out, rows, sums + plan.dbias);
  const float* weight = t.parameters + plan.weight;
  const std::int64_t ld = std::int64_t{in} * plan.size;
  if (plan.norm) restore_normalised(t);
  float* input = prepare_input(t);
  float* phi = t.room + std::int64_t{in} * rows;
  float* slope = phi + block_floats(plan, rows);
  if constexpr (kInPlace<B>) {
    if (copies(plan)) apply(basis, input, std::int64_t{in} * rows);
    accumulate_weights(t, input, in, dy, dyt, sums + plan.dweight);
    if (dx)
      pull_all(t, weight, ld, in, dy, dx, false,
               [&](std::int64_t at) KB_INLINE { return slope_from_phi(basis, load(input + at)); });
  } else {
    const int block = block_inputs(plan);
    for (int i = 0; i < in; i += block) {
      const int count = in - i < block ? in - i : block;
      for (int j = 0; j < count; ++j)
        expand_input(basis, input + (i + j) * rows, rows, phi + j * plan.size * rows,
                     slope + j * plan.size * rows);
      accumulate_weights(t, phi, count * plan.size, dy, dyt,
                         sums + plan.dweight + std::int64_t{i} * plan.size * plan.columns);
      for (int j = 0; dx && j < count; ++j)
        pull_one_input(t, weight + std::int64_t{i + j} * plan.size, ld, dy,
                       slope + j * plan.size * rows, dx + (i + j) * rows);
    }
  }
  if (plan.norm && dx) normalise_back(t, dx, sums);
  if (plan.base_weight < 0) return;
  for (int i = 0; i < in; i += kBlockPhi) {
    const int count = in - i < kBlockPhi ? in - i : kBlockPhi;
    expand_silu(t.x + i * rows, std::int64_t{count} * rows, phi, slope);
    accumulate_weights(t, phi, count, dy, dyt, sums + plan.dbase + std::int64_t{i} * plan.columns);
    if (dx)
      pull_all(t, t.parameters + plan.base_weight + i, in, count, dy, dx + i * rows, true,
               [&](std::int64_t at) KB_INLINE { return load(slope + at); });
  }
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

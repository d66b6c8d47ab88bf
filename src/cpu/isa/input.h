#pragma once
// A layer's input over a tile: v = activation(norm(x)), and the way back through both.

#include "cpu/isa/elementary.h"
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
  float* room;  // v [in][rows], then 3 blocks of phi
  float* y;
};

/// The gradient of an output, dy[out][rows], and its transpose [rows][columns].
struct OutputSlopes {
  const float *dy, *dyt;
  int out, columns;
};

/// Whether the basis works on a copy of x: behind a norm or an activation, or where the base branch
/// needs x too.
KB_HD bool copies(const LayerPlan& plan) {
  return plan.norm || plan.base_weight >= 0 || plan.activation != Activation::none;
}

KB_HD Pack share_of(const LayerTile& t) {
  return Pack(t.plan->share < 0 ? 0.0f : t.parameters[t.plan->share]);
}

void normalise(const LayerTile& t) {
  const int in = t.plan->in, rows = t.rows;
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
    for (int i = 0; i < in; ++i)
      store(t.unit + i * rows + s, (load(t.x + i * rows + s) - mean) * inverse);
  }
}

/// The activation's input at i, s: of the norm, if there is one, its affine part.
struct BeforeActivation {
  const LayerTile& t;
  KB_HD Pack operator()(int i, int s) const {
    const std::int64_t at = std::int64_t{i} * t.rows + s;
    if (!t.plan->norm) return load(t.x + at);
    return load(t.unit + at) * Pack(t.parameters[t.plan->norm_weight + i]) +
           Pack(t.parameters[t.plan->norm_bias + i]);
  }
};

/// v: in the room where it is not x itself.
float* prepare_input(const LayerTile& t) {
  const LayerPlan& plan = *t.plan;
  if (!copies(plan)) return t.x;
  const BeforeActivation u{t};
  const Pack share = share_of(t);
  for (int i = 0; i < plan.in; ++i)
    for (int s = 0; s < t.rows; s += kWidth)
      store(t.room + i * t.rows + s, kanbench::activate(plan.activation, u(i, s), share));
  return t.room;
}

/// dv[in][rows] -> the gradient of the activation's input, in place; adds to dshare.
void activate_back(const LayerTile& t, float* dv, float* sums) {
  const LayerPlan& plan = *t.plan;
  if (plan.activation == Activation::none) return;
  const BeforeActivation u{t};
  const Dual<Pack> share(share_of(t));
  for (int i = 0; i < plan.in; ++i)
    for (int s = 0; s < t.rows; s += kWidth) {
      const Pack x = u(i, s), d = load(dv + i * t.rows + s);
      if (plan.share >= 0) {
        float* lanes = sums + plan.dshare + s % kMaxWidth;
        store(lanes, load(lanes) - d * max0(-x));
      }
      const Dual<Pack> v = kanbench::activate(plan.activation, Dual<Pack>(x, Pack(1.0f)), share);
      store(dv + i * t.rows + s, d * v.d);
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

/// The base branch's activation of [count][rows] numbers and, where wanted, its slope.
void expand_base(Activation activation, const float* x, std::int64_t count, float* phi,
                 float* slope) {
  for (std::int64_t i = 0; i < count; i += kWidth) {
    const Pack v = load(x + i);
    if (!slope) {
      store(phi + i, kanbench::activate(activation, v, Pack(0.0f)));
      continue;
    }
    const Dual<Pack> b = kanbench::activate(activation, Dual<Pack>(v, Pack(1.0f)), Dual<Pack>());
    store(phi + i, b.v);
    store(slope + i, b.d);
  }
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

#pragma once
// Layers whose edges each take the basis at a place of their own, a (v - t): nothing is shared
// between outputs, so an edge is expanded where it is used.

#include "cpu/isa/expansion.h"
#include "cpu/isa/input.h"

namespace kanbench::cpu::KB_ISA {
namespace {

/// One edge's numbers.
struct Edge {
  Pack weight, scale, shift;
};

KB_HD Edge edge_at(const LayerTile& t, int o, int i) {
  const std::int64_t at = std::int64_t{o} * t.plan->in + i;
  return {Pack(t.parameters[t.plan->weight + at]), Pack(t.parameters[t.plan->scale + at]),
          Pack(t.parameters[t.plan->shift + at])};
}

/// A basis' one function and its slope at z; wavelets that share a bell have theirs by hand.
template <class B>
KB_HD Dual<Pack> value_and_slope(const B& basis, Pack z) {
  Dual<Pack> found;
  basis.eval(Dual<Pack>(z, Pack(1.0f)), [&](int, Dual<Pack> phi) KB_INLINE { found = phi; });
  return found;
}
KB_HD Dual<Pack> value_and_slope(const basis::Wavelet& basis, Pack z) {
  using Kind = basis::WaveletKind;
  if (basis.kind == Kind::meyer || basis.kind == Kind::shannon)
    return value_and_slope<basis::Wavelet>(basis, z);
  const Pack z2 = z * z, one(1.0f);
  const Pack bell = exp_within(maximum(Pack(-0.5f) * z2, Pack(-87.0f)));
  if (basis.kind == Kind::dog) return {-z * bell, (z2 - one) * bell};
  if (basis.kind == Kind::morlet) {
    Pack sine, cosine;
    sin_cos(Pack(5.0f) * z, sine, cosine);
    return {cosine * bell, -(Pack(5.0f) * sine + z * cosine) * bell};
  }
  const Pack high = Pack(0.86732507f) * bell;
  return {(z2 - one) * high, z * (Pack(3.0f) - z2) * high};
}

template <class B>
void forward_edges(const LayerTile& t, const B& basis, const float* v) {
  const int rows = t.rows;
  for (int o = 0; o < t.plan->out; ++o)
    for (int i = 0; i < t.plan->in; ++i) {
      const Edge edge = edge_at(t, o, i);
      float* y = t.y + o * rows;
      for (int s = 0; s < rows; s += kWidth) {
        const Pack z = edge.scale * (load(v + i * rows + s) - edge.shift);
        store(y + s, load(y + s) + edge.weight * value_and_slope(basis, z).v);
      }
    }
}

/// Adds to the edges' gradients and writes dv[in][rows] unless null.
template <class B>
void backward_edges(const LayerTile& t, const B& basis, const float* v, const float* dy,
                    float* sums, float* dv) {
  const LayerPlan& plan = *t.plan;
  const int rows = t.rows;
  for (int i = 0; i < plan.in; ++i) {
    if (dv)
      for (int s = 0; s < rows; s += kWidth) store(dv + i * rows + s, Pack(0.0f));
    for (int o = 0; o < plan.out; ++o) {
      const Edge edge = edge_at(t, o, i);
      Pack dweight(0.0f), dscale(0.0f), dshift(0.0f);
      for (int s = 0; s < rows; s += kWidth) {
        const Pack off = load(v + i * rows + s) - edge.shift, d = load(dy + o * rows + s);
        const Dual<Pack> phi = value_and_slope(basis, edge.scale * off);
        const Pack slope = d * edge.weight * phi.d, moved = slope * edge.scale;
        dweight = dweight + d * phi.v;
        dscale = dscale + slope * off;
        dshift = dshift - moved;
        if (dv) store(dv + i * rows + s, load(dv + i * rows + s) + moved);
      }
      const std::int64_t at = std::int64_t{i} * plan.columns + o;
      sums[plan.dweight + at] += sum_halves(dweight);
      sums[plan.dscale + at] += sum_halves(dscale);
      sums[plan.dshift + at] += sum_halves(dshift);
    }
  }
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

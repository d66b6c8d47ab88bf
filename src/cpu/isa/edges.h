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

template <class B>
void forward_edges(const LayerTile& t, const B& basis, const float* v) {
  const int rows = t.rows;
  for (int o = 0; o < t.plan->out; ++o)
    for (int i = 0; i < t.plan->in; ++i) {
      const Edge edge = edge_at(t, o, i);
      float* y = t.y + o * rows;
      for (int s = 0; s < rows; s += kWidth)
        basis.eval(edge.scale * (load(v + i * rows + s) - edge.shift),
                   [&](int, Pack phi) KB_INLINE { store(y + s, load(y + s) + edge.weight * phi); });
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
        basis.eval(Dual<Pack>(edge.scale * off, Pack(1.0f)), [&](int, Dual<Pack> phi) KB_INLINE {
          const Pack slope = d * edge.weight * phi.d;
          dweight = dweight + d * phi.v;
          dscale = dscale + slope * off;
          dshift = dshift - slope * edge.scale;
          if (dv) store(dv + i * rows + s, load(dv + i * rows + s) + slope * edge.scale);
        });
      }
      const std::int64_t at = std::int64_t{i} * plan.columns + o;
      sums[plan.dweight + at] += sum(dweight);
      sums[plan.dscale + at] += sum(dscale);
      sums[plan.dshift + at] += sum(dshift);
    }
  }
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

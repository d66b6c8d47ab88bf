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

/// A wavelet whose kind is known when its loop is compiled.
template <basis::WaveletKind kKind>
struct WaveletOf {};

/// Calls work(basis), a wavelet's as the WaveletOf its kind.
template <class B, class Work>
KB_HD void with_kind(const B& basis, Work&& work) {
  work(basis);
}
template <class Work>
void with_kind(const basis::Wavelet& basis, Work&& work) {
  using Kind = basis::WaveletKind;
  switch (basis.kind) {
    case Kind::mexican_hat:
      return work(WaveletOf<Kind::mexican_hat>());
    case Kind::morlet:
      return work(WaveletOf<Kind::morlet>());
    case Kind::dog:
      return work(WaveletOf<Kind::dog>());
    case Kind::meyer:
      return work(WaveletOf<Kind::meyer>());
    case Kind::shannon:
      return work(WaveletOf<Kind::shannon>());
  }
}

/// A basis' one function and its slope at z; wavelets that share a bell have theirs by hand.
template <class B>
KB_HD Dual<Pack> value_and_slope(const B& basis, Pack z) {
  Dual<Pack> found;
  basis.eval(Dual<Pack>(z, Pack(1.0f)), [&](int, Dual<Pack> phi) KB_INLINE { found = phi; });
  return found;
}
template <basis::WaveletKind kKind>
KB_HD Dual<Pack> value_and_slope(WaveletOf<kKind>, Pack z) {
  using Kind = basis::WaveletKind;
  if constexpr (kKind == Kind::meyer || kKind == Kind::shannon) {
    return value_and_slope(basis::Wavelet{kKind}, z);
  } else {
    const Pack z2 = z * z, one(1.0f);
    // e^(-z^2 / 2)
    const Pack bell = exp2_within(maximum(Pack(-0.72134752f) * z2, Pack(-126.0f)));
    if constexpr (kKind == Kind::dog) return {-z * bell, (z2 - one) * bell};
    if constexpr (kKind == Kind::morlet) {
      Pack sine, cosine;
      sin_cos(Pack(5.0f) * z, sine, cosine);
      return {cosine * bell, -(Pack(5.0f) * sine + z * cosine) * bell};
    }
    const Pack high = Pack(0.86732507f) * bell;
    return {(z2 - one) * high, z * (Pack(3.0f) - z2) * high};
  }
}

template <class B>
void forward_edges(const LayerTile& t, const B& of, const float* v) {
  const int rows = t.rows;
  with_kind(of, [&](const auto& basis) KB_INLINE {
    for (int o = 0; o < t.plan->out; ++o)
      for (int s = 0; s < rows; s += kWidth) {
        Pack y = load(t.y + o * rows + s);
        for (int i = 0; i < t.plan->in; ++i) {
          const Edge edge = edge_at(t, o, i);
          const Pack z = edge.scale * (load(v + i * rows + s) - edge.shift);
          y = y + edge.weight * value_and_slope(basis, z).v;
        }
        store(t.y + o * rows + s, y);
      }
  });
}

template <class B>
void backward_edge_rows(const LayerTile& t, const B& basis, const float* v, const float* dy,
                        float* sums, float* dv) {
  const LayerPlan& plan = *t.plan;
  const int rows = t.rows;
  for (int i = 0; i < plan.in; ++i) {
    if (dv)
      for (int s = 0; s < rows; s += kWidth) store(dv + i * rows + s, Pack(0.0f));
    for (int o = 0; o < plan.out; ++o) {
      const Edge edge = edge_at(t, o, i);
      // What is the edge's alone comes after the rows.
      const Pack pull = edge.weight * edge.scale;
      Pack dweight(0.0f), dplace(0.0f), doff(0.0f);
      for (int s = 0; s < rows; s += kWidth) {
        const Pack off = load(v + i * rows + s) - edge.shift, d = load(dy + o * rows + s);
        const Dual<Pack> phi = value_and_slope(basis, edge.scale * off);
        const Pack slope = d * phi.d;
        dweight = dweight + d * phi.v;
        dplace = dplace + slope;
        doff = doff + slope * off;
        if (dv) store(dv + i * rows + s, load(dv + i * rows + s) + pull * slope);
      }
      const std::int64_t at = std::int64_t{i} * plan.columns + o;
      sums[plan.dweight + at] += sum_halves(dweight);
      sums[plan.dscale + at] += sum_halves(edge.weight * doff);
      sums[plan.dshift + at] -= sum_halves(pull * dplace);
    }
  }
}

/// Adds to the edges' gradients and writes dv[in][rows] unless null.
template <class B>
void backward_edges(const LayerTile& t, const B& of, const float* v, const float* dy, float* sums,
                    float* dv) {
  with_kind(of, [&](const auto& basis) { backward_edge_rows(t, basis, v, dy, sums, dv); });
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

#pragma once
// Expansions of any basis, known at run time only, into shared memory: a chunk of a warp's inputs
// at a time, at one place of a kernel for values and one for values and slopes.

#include "kernels/fused_forward.h"
#include "kernels/pair.h"

namespace kanbench::cuda {

/// Stands where the other kernels name their expansion.
struct AnyBasis {
  static constexpr int kSize = kMostCoefficients + 1;
};

/// A warp's rows, of slopes in F's numbers and of kept inputs in floats.
template <class F, int W>
struct BasisShape {
  static_assert(F::kPadding == FactorTf32::kPadding);
  static constexpr int kRows = 16, kChunks = W / 16, kRowStride = W + F::kPadding;
};

/// basis.eval() where the length of its loops is one of kLeast to kMost and known, so that its
/// arrays are registers.
template <auto kLength, int kLeast, int kMost, class B, class T, class Emit>
KB_DEVICE void eval_unrolled(B basis, T x, Emit&& emit) {
  if constexpr (kLeast < kMost)
    if (basis.*kLength != kLeast) return eval_unrolled<kLength, kLeast + 1, kMost>(basis, x, emit);
  basis.*kLength = kLeast;
  basis.eval(x, emit);
}

/// Calls emit(k, phi_k(x)); inner parameter p, where those are `read`, is value(p).
template <class B, class T, class Inner, class Emit>
KB_DEVICE void eval(const B& basis, T x, bool read, const Inner& value, Emit&& emit) {
  if constexpr (kFusedInner<B>)
    basis.eval(x, value, emit);
  else if constexpr (kFusedByInput<B>)
    read ? basis.eval(x, value, emit) : basis.eval(x, emit);
  else if constexpr (std::is_same_v<B, basis::BSpline>)
    eval_unrolled<&B::order, 0, B::kMostOrder>(basis, x, emit);
  else if constexpr (std::is_same_v<B, basis::Bernstein>)
    eval_unrolled<&B::degree, 0, kMostFusedBernstein>(basis, x, emit);
  else
    basis.eval(x, emit);
}

/// Where a warp's numbers of one layer are.
template <class F>
struct BasisRows {
  const FusedPlan& plan;
  const FusedShape& shape;
  int l;
  const WarpRows<F>& rows;
  /// Of all layers but the first, whose inputs are features.
  const float* inputs;
  const float2* statistics;
  unsigned char* shared;

  KB_DEVICE const float* inner() const {
    return reinterpret_cast<const float*>(shared + shape.vectors) + plan.inner_begin() +
           plan.expansions[l].inner_at;
  }
  /// From one input's to the next's; 0 where all have the same.
  KB_DEVICE int inner_stride() const {
    const FusedExpansion& own = plan.expansions[l];
    return own.by_input ? own.inner : 0;
  }
};

template <class F, int W, bool kSave>
KB_DEVICE BasisRows<F> basis_rows(const FusedPlan& plan, const FusedShape& shape, int l,
                                  const WarpRows<F>& rows, unsigned char* shared) {
  using S = BasisShape<F, W>;
  // Where nothing is kept, each layer's inputs lie where the last one's did.
  const int place = l > 0 && kSave ? l : 1;
  return {plan,
          shape,
          l,
          rows,
          saved_rows<S, FactorTf32>(shape, place, rows.warp, shared),
          saved_statistics<S>(shape, place, rows.warp, shared),
          shared};
}

/// Two inputs side by side: after the norm's affine part, and before the norm.
struct PairInput {
  Pair z, x;
};

template <class F, int W>
KB_DEVICE PairInput load_inputs(const BasisRows<F>& from, int c, int row, int column) {
  if (from.l == 0) {
    const std::int64_t at = from.rows.row0 + row;
    float2 x{0, 0};
    if (at < from.rows.valid)
      x = F::load_pair(from.rows.features + ((c * 2 + column / 8) * from.rows.stride + at) * 8 +
                       column % 8);
    return {{x.x, x.y}, {x.x, x.y}};
  }
  const int place = c * 16 + column;
  const float2 unit =
      FactorTf32::load_pair(from.inputs + row * BasisShape<F, W>::kRowStride + place);
  if (!from.plan.layers[from.l].norm) return {{unit.x, unit.y}, {unit.x, unit.y}};
  const float2 weight =
      FactorTf32::load_pair(vector_of<W>(from.shape, from.l, 1, from.shared) + place);
  const float2 bias =
      FactorTf32::load_pair(vector_of<W>(from.shape, from.l, 2, from.shared) + place);
  const float2 s = from.statistics[row];
  const float deviation = reciprocal_approx(s.y);
  return {{fmaf(unit.x, weight.x, bias.x), fmaf(unit.y, weight.y, bias.y)},
          {fmaf(unit.x, deviation, s.x), fmaf(unit.y, deviation, s.x)}};
}

/// Stores an expansion's values, and where there are any its slopes.
template <class F>
KB_DEVICE void store_value(Pair value, typename F::Element* phi, typename F::Element*) {
  F::store_pair(phi, value.a, value.b);
}
template <class F>
KB_DEVICE void store_value(Dual<Pair> value, typename F::Element* phi,
                           typename F::Element* slopes) {
  F::store_pair(phi, value.v.a, value.v.b);
  F::store_pair(slopes, value.d.a, value.d.b);
}

/// x as a T, the one that slopes are taken by.
template <class T>
KB_DEVICE T variable(Pair x) {
  if constexpr (std::is_same_v<T, Pair>)
    return x;
  else
    return T(x, Pair(1));
}

/// Expands chunk `c` into the warp's tiles, function k in columns 16k to 16k + 15; T is Pair, or
/// Dual<Pair> where slopes are wanted.
template <class F, int W, class T>
KB_DEVICE void expand_chunk(const BasisRows<F>& from, int c, typename F::Element* phi,
                            typename F::Element* slopes) {
  const FusedLayer& layer = from.plan.layers[from.l];
  const FusedExpansion& own = from.plan.expansions[from.l];
  const int g = lane_id() >> 2, t = lane_id() & 3;
  const int stride = from.inner_stride();
#pragma unroll 1
  for (int part = 0; part < 4; ++part) {
    const int row = (part & 1) * 8 + g, column = (part >> 1) * 8 + 2 * t;
    const PairInput in = load_inputs<F, W>(from, c, row, column);
    const float* inner = from.inner() + (c * 16 + column) * stride;
    const auto value = [=](int p) { return T(Pair(inner[p], inner[p + stride])); };
    const auto put = [&](int k, T value) {
      store_value<F>(value, phi + row * from.shape.phi_stride + k * 16 + column,
                     slopes + row * from.shape.slope_stride + k * 16 + column);
    };
    const T v = activate(own.activation, variable<T>(in.z), T(0));
    visit(own.basis, [&](const auto& basis) { eval(basis, v, own.inner > 0, value, put); });
    if (layer.base)
      put(layer.size,
          activate(own.base_activation, own.base_normalised ? v : variable<T>(in.x), T(0)));
  }
  __syncwarp();
}

}  // namespace kanbench::cuda

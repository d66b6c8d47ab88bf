#pragma once
// The fused decoder whose layers have any basis each, known at run time only, so that one kernel
// serves them all. A warp expands a chunk of its inputs into shared memory, at one place of the
// kernel on the way there and one on the way back, where slopes lie beside values; products take
// from there as many functions as the layer has. Inputs of layers are kept in float32.

#include "kernels/fused_backward.h"
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

template <class B, class T, class Emit>
KB_DEVICE void eval(const B& basis, T x, Emit&& emit) {
  if constexpr (std::is_same_v<B, basis::BSpline>)
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

/// Expands chunk `c` into the warp's tiles, function k in columns 16k to 16k + 15; T is Pair, or
/// Dual<Pair> where slopes are wanted.
template <class F, int W, class T>
KB_DEVICE void expand_chunk(const BasisRows<F>& from, int c, typename F::Element* phi,
                            typename F::Element* slopes) {
  const FusedLayer& layer = from.plan.layers[from.l];
  const int g = lane_id() >> 2, t = lane_id() & 3;
  const auto variable = [](Pair x) {
    if constexpr (std::is_same_v<T, Pair>)
      return x;
    else
      return T(x, Pair(1));
  };
#pragma unroll 1
  for (int part = 0; part < 4; ++part) {
    const int row = (part & 1) * 8 + g, column = (part >> 1) * 8 + 2 * t;
    const PairInput in = load_inputs<F, W>(from, c, row, column);
    const auto put = [&](int k, T value) {
      store_value<F>(value, phi + row * from.shape.phi_stride + k * 16 + column,
                     slopes + row * from.shape.slope_stride + k * 16 + column);
    };
    const T v = activate(layer.activation, variable(in.z), T(0));
    visit(layer.basis, [&](const auto& basis) { eval(basis, v, put); });
    if (layer.base)
      put(layer.size,
          activate(layer.base_activation, layer.base_normalised ? v : variable(in.x), T(0)));
  }
  __syncwarp();
}

/// sum += a chunk's functions times their weights.
template <class F, int kOut, int kColumns>
KB_DEVICE void multiply_functions(const typename F::Element* phi, int stride,
                                  const typename F::Element* tiles, int functions,
                                  float (&sum)[1][kColumns][4]) {
#pragma unroll 1
  for (int k = 0; k < functions; ++k, tiles += kOut * 128) {
    const typename F::Left a = F::rows(phi + k * 16, stride);
    if constexpr (kOut == 1) {
      typename F::Right b;
      F::weights(tiles, b);
      F::multiply(sum[0][0], a, b);
    } else {
#pragma unroll
      for (int j = 0; j < kOut; j += 2) {
        typename F::Right b[2];
        F::weights(tiles + j * 128, b);
        F::multiply(sum[0][j], a, b[0]);
        F::multiply(sum[0][j + 1], a, b[1]);
      }
    }
  }
}

/// All layers, as forward().
template <class F, int W, bool kSave>
KB_DEVICE void forward_bases(const FusedPlan& plan, const FusedShape& shape, const void* weights,
                             const WarpRows<F>& rows, unsigned char* shared,
                             float (&out)[1][1][4]) {
  using S = BasisShape<F, W>;
  using Element = typename F::Element;
  Element* phi = reinterpret_cast<Element*>(shared + shape.phi) + rows.warp * 16 * shape.phi_stride;
  float y[1][W / 8][4];
#pragma unroll 1
  for (int l = 0; l < plan.count; ++l) {
    const FusedLayer& layer = plan.layers[l];
    const bool last = l + 1 == plan.count;
    const BasisRows<F> from = basis_rows<F, W, kSave>(plan, shape, l, rows, shared);
    const Element* tiles = nullptr;
    begin_sum<W>(shape, l, shared, y);
#pragma unroll 1
    for (int c = 0; c < layer.chunks; ++c) {
      if (c % plan.round == 0)
        tiles = fetch_round<Element>(plan, shape, l, c / plan.round, plan.round * layer.functions,
                                     weights, shared);
      expand_chunk<F, W, Pair>(from, c, phi, nullptr);
      const Element* own = tiles + c % plan.round * layer.functions * layer.out_tiles * 128;
      if (last)
        multiply_functions<F, 1>(phi, shape.phi_stride, own, layer.functions, y);
      else
        multiply_functions<F, W / 8>(phi, shape.phi_stride, own, layer.functions, y);
      // The next chunk comes in the same place.
      __syncwarp();
    }
    if (last) break;
    RowStatistics<1> s;
    const bool norm = plan.layers[l + 1].norm;
    normalise(norm, y, s);
    save_inputs<S, FactorTf32>(shape, kSave ? l + 1 : 1, rows.warp, norm, y, s, shared);
    __syncwarp();
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) out[0][0][i] = y[0][0][i];
}

/// Turns dy into the slopes of a chunk's inputs: `dz` past the norm's affine part, `dx` of what
/// function number `past` took from before the norm.
template <class S, class F, int kOut>
KB_DEVICE void pull_back(const FusedShape& shape, const typename F::Element* dy,
                         const typename F::Element* tiles, int functions, int past,
                         const typename F::Element* slopes, Chunk<1>& dz, Chunk<1>& dx) {
  const int g = lane_id() >> 2, t = lane_id() & 3;
  dz = {};
  dx = {};
#pragma unroll 1
  for (int k = 0; k < functions; ++k) {
    float dphi[1][2][4];
    multiply_back<S, F, 1, kOut>(dy, tiles + k * kOut * 128, dphi);
#pragma unroll
    for (int j = 0; j < 2; ++j)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float2 slope =
            F::load_pair(slopes + (h * 8 + g) * shape.slope_stride + k * 16 + j * 8 + 2 * t);
        const float a = slope.x * dphi[0][j][2 * h], b = slope.y * dphi[0][j][2 * h + 1];
        dz.v[0][j][2 * h] += k == past ? 0.0f : a;
        dz.v[0][j][2 * h + 1] += k == past ? 0.0f : b;
        dx.v[0][j][2 * h] += k == past ? a : 0.0f;
        dx.v[0][j][2 * h + 1] += k == past ? b : 0.0f;
      }
  }
}

/// The norm's affine part on the way back: adds to its gradients and to what backward_norm() takes.
template <class S, int W>
KB_DEVICE void backward_affine(const BackwardLayer& layer, int c, const RowStatistics<1>& s,
                               Chunk<1>& dz, float (&sum)[1][2], float (&dot)[1][2]) {
  Chunk<1> unit;
  load_saved<S, FactorTf32>(layer, c, unit);
  add_norm_gradient<W>(unit, dz, layer.l, c, layer.partials);
  const float* weight = vector_of<W>(layer.shape, layer.l, 1, layer.shared) + c * 16;
#pragma unroll
  for (int j = 0; j < 2; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float d = dz.v[0][j][i] * weight[j * 8 + 2 * (lane_id() & 3) + (i & 1)];
      sum[0][i >> 1] += d;
      dot[0][i >> 1] = fmaf(d, unit.v[0][j][i], dot[0][i >> 1]);
      dz.v[0][j][i] = d * s.inverse[0][i >> 1];
    }
}

/// Writes the slopes of a chunk of features. True if one overflowed.
template <class F>
KB_DEVICE bool store_feature_slopes(const WarpRows<F>& rows, int c, const Chunk<1>& d,
                                    typename F::Element* to) {
  const int g = lane_id() >> 2, t = lane_id() & 3;
  bool overflow = false;
#pragma unroll
  for (int j = 0; j < 2; ++j)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const std::int64_t row = rows.row0 + h * 8 + g;
      if (row >= rows.valid) continue;
      const float a = d.v[0][j][2 * h], b = d.v[0][j][2 * h + 1];
      overflow |= !(fabsf(a) <= F::kLargest) || !(fabsf(b) <= F::kLargest);
      F::store_pair(to + ((c * 2 + j) * rows.stride + row) * 8 + 2 * t, a, b);
    }
  return overflow;
}

/// Adds to the block's partial sums what the chunks of a round that ends with `c` give.
template <class F, int W>
KB_DEVICE void add_round_gradient(const BackwardLayer& layer, int c) {
  using S = BasisShape<F, W>;
  using Element = typename F::Element;
  const FusedLayer& here = layer.plan.layers[layer.l];
  const int round = c / layer.plan.round, tiles = here.functions * 16 * here.out_tiles * 8;
  const auto* phi = reinterpret_cast<const Element*>(layer.shared + layer.shape.phi);
  const auto* dy = reinterpret_cast<const Element*>(layer.shared + layer.shape.dy);
  float* to = layer.partials.tiles + std::int64_t{round} * layer.plan.round * tiles;
  const int count = (c - round * layer.plan.round + 1) * here.functions;
  __syncthreads();
  if (here.out_tiles == 1)
    add_weight_gradient<S, F, 2, 1>(phi, layer.shape.phi_stride, dy, layer.shape.rows(), count,
                                    layer.partials, to);
  else
    add_weight_gradient<S, F, 2, W / 8>(phi, layer.shape.phi_stride, dy, layer.shape.rows(), count,
                                        layer.partials, to);
  __syncthreads();
}

/// One layer: `d` is its outputs' slopes and becomes its inputs'; the first layer's go to `to`
/// instead. True if one of those overflowed.
template <class F, int W>
KB_DEVICE bool backward_basis(const BackwardLayer& layer, const WarpRows<F>& rows,
                              float (&d)[1][W / 8][4], typename F::Element* to) {
  using S = BasisShape<F, W>;
  using Element = typename F::Element;
  const FusedShape& shape = layer.shape;
  const FusedLayer& here = layer.plan.layers[layer.l];
  const BasisRows<F> from = basis_rows<F, W, true>(layer.plan, shape, layer.l, rows, layer.shared);
  Element* phi =
      reinterpret_cast<Element*>(layer.shared + shape.phi) + rows.warp * 16 * shape.phi_stride;
  Element* slopes =
      reinterpret_cast<Element*>(layer.shared + shape.slopes) + rows.warp * 16 * shape.slope_stride;
  const Element* dy = share_slopes<S, F>(layer, d);
  if (here.bias) add_bias_gradient<W>(d, layer.l, layer.partials);
  const RowStatistics<1> s = load_statistics<S, 1>(layer);
  float sum[1][2] = {}, dot[1][2] = {};
  const int past = here.base && !here.base_normalised ? here.size : -1;
  const Element* tiles = nullptr;
  bool overflow = false;
#pragma unroll 1
  for (int c = 0; c < here.chunks; ++c) {
    const int place = c % layer.plan.round;
    if (place == 0)
      tiles = fetch_round<Element>(layer.plan, shape, layer.l, c / layer.plan.round,
                                   layer.plan.round * here.functions, layer.weights, layer.shared);
    expand_chunk<F, W, Dual<Pair>>(from, c, phi + place * here.functions * 16, slopes);
    const Element* own = tiles + place * here.functions * here.out_tiles * 128;
    Chunk<1> dz, dx;
    if (here.out_tiles == 1)
      pull_back<S, F, 1>(shape, dy, own, here.functions, past, slopes, dz, dx);
    else
      pull_back<S, F, W / 8>(shape, dy, own, here.functions, past, slopes, dz, dx);
    if (here.norm) backward_affine<S, W>(layer, c, s, dz, sum, dot);
#pragma unroll
    for (int j = 0; j < 2; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) dz.v[0][j][i] += dx.v[0][j][i];
    if (layer.l == 0) overflow |= store_feature_slopes<F>(rows, c, dz, to);
      // Chosen among registers, as an array of them has no index that is not known.
#pragma unroll
    for (int j = 0; j < W / 8; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) d[0][j][i] = j / 2 == c ? dz.v[0][j % 2][i] : d[0][j][i];
    // The next chunk's slopes come in the same place.
    __syncwarp();
    if (place + 1 == layer.plan.round || c + 1 == here.chunks) add_round_gradient<F, W>(layer, c);
  }
  if (layer.l > 0 && here.norm) backward_norm<S, FactorTf32>(layer, s, sum, dot, d);
  return overflow;
}

/// All layers, as backward_layers().
template <class F, int W, class GetLayer>
KB_DEVICE bool backward_bases(GetLayer&& layer, const WarpRows<F>& rows, int count,
                              const float (&dy)[1][1][4], typename F::Element* dfeatures) {
  float d[1][W / 8][4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) d[0][0][i] = dy[0][0][i];
  bool overflow = false;
#pragma unroll 1
  for (int l = count - 1; l >= 0; --l)
    overflow |= backward_basis<F, W>(layer(l), rows, d, dfeatures);
  return overflow;
}

}  // namespace kanbench::cuda

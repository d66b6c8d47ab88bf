#pragma once
// The fused decoder whose layers have any basis each, so that one kernel serves them all: a warp
// expands its inputs into shared memory, on the way back slopes beside values, and products take
// from there as many functions as the layer has. Inputs of layers are kept in float32.

#include "kernels/fused_expand.h"
#include "kernels/fused_kernels.h"

namespace kanbench::cuda {

/// A warp's 16 rows of the block's tile `at`.
template <class F>
KB_DEVICE typename F::Element* tile_of(unsigned char* at, int stride, int warp) {
  return reinterpret_cast<typename F::Element*>(at) + warp * 16 * stride;
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

/// All layers; see Passes.
template <class F, int W, bool kSave>
KB_DEVICE void forward_bases(const FusedPlan& plan, const FusedShape& shape, const void* weights,
                             const WarpRows<F>& rows, unsigned char* shared,
                             float (&out)[1][1][4]) {
  using S = BasisShape<F, W>;
  using Element = typename F::Element;
  Element* phi = tile_of<F>(shared + shape.phi, shape.phi_stride, rows.warp);
  float y[1][W / 8][4];
#pragma unroll 1
  for (int l = 0; l < plan.count; ++l) {
    const FusedLayer& layer = plan.layers[l];
    const bool last = l + 1 == plan.count;
    const int functions = plan.expansions[l].functions;
    const BasisRows<F> from = basis_rows<F, W, kSave>(plan, shape, l, rows, shared);
    const Element* tiles = nullptr;
    begin_sum<W>(shape, l, shared, y);
#pragma unroll 1
    for (int c = 0; c < layer.chunks; ++c) {
      if (c % plan.round == 0)
        tiles = fetch_round<Element>(plan, shape, l, c / plan.round, functions,
                                     plan.round * functions, weights, shared);
      expand_chunk<F, W, Pair>(from, c, phi, nullptr);
      const Element* own = tiles + c % plan.round * functions * layer.out_tiles * 128;
      if (last)
        multiply_functions<F, 1>(phi, shape.phi_stride, own, functions, y);
      else
        multiply_functions<F, W / 8>(phi, shape.phi_stride, own, functions, y);
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
/// function number `past` took from before the norm. Where asked to, it keeps the functions' own in
/// place of their inputs' `slopes`.
template <class S, class F, int kOut>
KB_DEVICE void pull_back(const FusedShape& shape, const typename F::Element* dy,
                         const typename F::Element* tiles, int functions, int past, bool keep,
                         typename F::Element* slopes, Chunk<1>& dz, Chunk<1>& dx) {
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
        auto* at = slopes + (h * 8 + g) * shape.slope_stride + k * 16 + j * 8 + 2 * t;
        const float2 slope = F::load_pair(at);
        if (keep) F::store_pair(at, dphi[0][j][2 * h], dphi[0][j][2 * h + 1]);
        const float a = slope.x * dphi[0][j][2 * h], b = slope.y * dphi[0][j][2 * h + 1];
        dz.v[0][j][2 * h] += k == past ? 0.0f : a;
        dz.v[0][j][2 * h + 1] += k == past ? 0.0f : b;
        dx.v[0][j][2 * h] += k == past ? a : 0.0f;
        dx.v[0][j][2 * h + 1] += k == past ? b : 0.0f;
      }
  }
}

/// Adds a chunk's gradients of the layer's own inner parameters, one after the other; `dphi` are
/// its functions' slopes, which this lane has left there.
template <class F, int W>
KB_DEVICE void add_layer_gradient(const BasisRows<F>& from, int c, const typename F::Element* dphi,
                                  const Partials& p) {
  const FusedExpansion& own = from.plan.expansions[from.l];
  const int g = lane_id() >> 2, t = lane_id() & 3;
  const float* inner = from.inner();
  float* to = p.vectors + from.plan.inner_begin() + own.inner_at;
#pragma unroll 1
  for (int q = 0; q < own.inner; ++q) {
    const auto value = [&](int r) {
      return Dual<Pair>(Pair(inner[r]), Pair(r == q ? 1.0f : 0.0f));
    };
    float sum = 0;
#pragma unroll 1
    for (int part = 0; part < 4; ++part) {
      const int row = (part & 1) * 8 + g, column = (part >> 1) * 8 + 2 * t;
      const Pair z = load_inputs<F, W>(from, c, row, column).z;
      const Dual<Pair> v(activate(own.activation, z, Pair(0)));
      visit(own.basis, [&]<class B>(const B& basis) {
        if constexpr (kFusedInner<B>)
          basis.eval(v, value, [&](int k, Dual<Pair> phi) {
            const float2 d = F::load_pair(dphi + row * from.shape.slope_stride + k * 16 + column);
            sum += d.x * phi.d.a + d.y * phi.d.b;
          });
      });
    }
    sum = warp_sum(sum);
    if (lane_id() == 0) to[q] = (p.fresh && c == 0 ? 0.0f : to[q]) + sum;
  }
}

/// The sum over the lanes of one t.
KB_DEVICE float column_sum(float v) {
  v += shuffle_xor(v, 4);
  v += shuffle_xor(v, 8);
  return v + shuffle_xor(v, 16);
}

/// The same for inner parameters that are each input's own. A lane takes a column at a time, its
/// two rows side by side; of a pass whose parameters are one function's each, lane g is given those
/// of functions g and g + 8.
template <class F, int W>
KB_DEVICE void add_input_gradient(const BasisRows<F>& from, int c, const typename F::Element* dphi,
                                  const Partials& p) {
  const FusedExpansion& own = from.plan.expansions[from.l];
  const int g = lane_id() >> 2, t = lane_id() & 3, stride = from.shape.slope_stride;
  float* const vectors = p.vectors + from.plan.inner_begin() + own.inner_at;
  const auto add = [&](float* at, float sum) { *at = vector_before(at, p) + sum; };
  __syncwarp();
#pragma unroll 1
  for (int q = 0; q < 4; ++q) {
    const int even = (q >> 1) * 8 + 2 * t, e = q & 1, first = (c * 16 + even + e) * own.inner;
    const Pair low = load_inputs<F, W>(from, c, g, even).z;
    const Pair high = load_inputs<F, W>(from, c, g + 8, even).z;
    const Pair z = e == 0 ? Pair(low.a, high.a) : Pair(low.b, high.b);
    const Dual<Pair> v(activate(own.activation, z, Pair(0)));
    const float* inner = from.inner() + first;
    visit(own.basis, [&]<class B>(const B& basis) {
      if constexpr (kFusedByInput<B>) {
#pragma unroll 1
        for (int pass = 0; pass < basis.passes(); ++pass) {
          const bool one = basis.size() == 1 || basis.target(pass, 0) == basis.target(pass, 1);
          const auto value = [&](int r) {
            return Dual<Pair>(Pair(inner[r]), Pair(basis.pass(r) == pass ? 1.0f : 0.0f));
          };
          float all = 0, mine[2] = {0, 0};
          basis.eval(v, value, [&](int k, Dual<Pair> phi) {
            const auto* at = dphi + g * stride + k * 16 + even;
            const float2 d = F::load_pair(at), below = F::load_pair(at + 8 * stride);
            const float sum =
                (e == 0 ? d.x : d.y) * phi.d.a + (e == 0 ? below.x : below.y) * phi.d.b;
            if (one) {
              all += sum;
              return;
            }
            const float total = column_sum(sum);
            mine[0] = k == g ? total : mine[0];
            mine[1] = k == g + 8 ? total : mine[1];
          });
          float* to = vectors + first;
          if (one) {
            all = column_sum(all);
            if (g == 0) add(to + basis.target(pass, 0), all);
          } else {
#pragma unroll
            for (int half = 0; half < 2; ++half)
              if (g + 8 * half < basis.size())
                add(to + basis.target(pass, g + 8 * half), mine[half]);
          }
          __syncwarp();
        }
      }
    });
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
  const int functions = layer.plan.expansions[layer.l].functions;
  const int round = c / layer.plan.round, tiles = functions * 16 * here.out_tiles * 8;
  const auto* phi = reinterpret_cast<const Element*>(layer.shared + layer.shape.phi);
  const auto* dy = reinterpret_cast<const Element*>(layer.shared + layer.shape.dy);
  float* to = layer.partials.tiles + std::int64_t{round} * layer.plan.round * tiles;
  const int count = (c - round * layer.plan.round + 1) * functions;
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
  const FusedExpansion& expansion = layer.plan.expansions[layer.l];
  const int functions = expansion.functions;
  const BasisRows<F> from = basis_rows<F, W, true>(layer.plan, shape, layer.l, rows, layer.shared);
  Element* phi = tile_of<F>(layer.shared + shape.phi, shape.phi_stride, rows.warp);
  Element* slopes = tile_of<F>(layer.shared + shape.slopes, shape.slope_stride, rows.warp);
  const Element* dy = share_slopes<S, F>(layer, d);
  if (here.bias) add_bias_gradient<W>(d, layer.l, layer.partials);
  const RowStatistics<1> s = load_statistics<S, 1>(layer);
  float sum[1][2] = {}, dot[1][2] = {};
  const int past = here.base && !expansion.base_normalised ? here.size : -1;
  const Element* tiles = nullptr;
  bool overflow = false;
#pragma unroll 1
  for (int c = 0; c < here.chunks; ++c) {
    const int place = c % layer.plan.round;
    if (place == 0)
      tiles = fetch_round<Element>(layer.plan, shape, layer.l, c / layer.plan.round, functions,
                                   layer.plan.round * functions, layer.weights, layer.shared);
    expand_chunk<F, W, Dual<Pair>>(from, c, phi + place * functions * 16, slopes);
    const Element* own = tiles + place * functions * here.out_tiles * 128;
    Chunk<1> dz, dx;
    if (here.out_tiles == 1)
      pull_back<S, F, 1>(shape, dy, own, functions, past, expansion.learned, slopes, dz, dx);
    else
      pull_back<S, F, W / 8>(shape, dy, own, functions, past, expansion.learned, slopes, dz, dx);
    if (expansion.by_input)
      add_input_gradient<F, W>(from, c, slopes, layer.partials);
    else if (expansion.learned)
      add_layer_gradient<F, W>(from, c, slopes, layer.partials);
    if (here.norm) backward_affine<S, W>(layer, c, s, dz, sum, dot);
#pragma unroll
    for (int j = 0; j < 2; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) dz.v[0][j][i] += dx.v[0][j][i];
    if (layer.l == 0) overflow |= store_feature_slopes<F>(rows, c, dz, to);
    set_chunk(d, c, dz);
    // The next chunk's slopes come in the same place.
    __syncwarp();
    if (place + 1 == layer.plan.round || c + 1 == here.chunks) add_round_gradient<F, W>(layer, c);
  }
  if (layer.l > 0 && here.norm) backward_norm<S, FactorTf32>(layer, s, sum, dot, d);
  return overflow;
}

/// All layers; see Passes.
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

template <class F, int W>
struct Passes<F, AnyBasis, W, 1> {
  template <bool kSave>
  KB_DEVICE static void forward(const FusedPlan& plan, const FusedShape& shape, const void* weights,
                                const WarpRows<F>& rows, unsigned char* shared,
                                float (&out)[1][1][4]) {
    forward_bases<F, W, kSave>(plan, shape, weights, rows, shared, out);
  }
  template <class GetLayer>
  KB_DEVICE static bool backward(GetLayer&& layer, const WarpRows<F>& rows, int count,
                                 const float (&dy)[1][1][4], typename F::Element* dfeatures) {
    return backward_bases<F, W>(layer, rows, count, dy, dfeatures);
  }
};

template <class F>
inline constexpr int kWidestTwice<F, AnyBasis> = 32;
template <class F, int W>
inline constexpr bool kBuilt<F, AnyBasis, W> = W < 128;

}  // namespace kanbench::cuda

#pragma once
// The way back through a fused decoder. Layer by layer and a round of chunks at a time, each warp
// expands its rows again, leaves the expansion in shared memory and takes the slopes of its inputs;
// then all warps together multiply the block's expansions with its slopes, each a part of the
// weights' gradient, which the block adds to partial sums of its own.

#include "kernels/fused_gradient.h"

namespace kanbench::cuda {

/// A warp's view of one layer on the way back.
struct BackwardLayer {
  const FusedPlan& plan;
  const FusedShape& shape;
  int l, warp;
  const void* weights;
  unsigned char* shared;
  Partials partials;
};

/// Leaves the warp's slopes in shared memory, for itself and its block; returns the warp's.
template <class S, class F, int kTiles, int kOut>
KB_DEVICE typename F::Element* share_slopes(const BackwardLayer& layer,
                                            const float (&dy)[kTiles][kOut][4]) {
  typename F::Element* all = reinterpret_cast<typename F::Element*>(layer.shared + layer.shape.dy);
  typename F::Element* mine = all + layer.warp * S::kRows * S::kRowStride;
  const int g = lane_id() >> 2, t = lane_id() & 3;
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int j = 0; j < kOut; ++j)
#pragma unroll
      for (int h = 0; h < 2; ++h)
        F::store_pair(mine + (m * 16 + h * 8 + g) * S::kRowStride + j * 8 + 2 * t, dy[m][j][2 * h],
                      dy[m][j][2 * h + 1]);
  __syncwarp();
  return mine;
}

/// The slopes of one function of a chunk: dy times the weights' transpose.
template <class S, class F, int kTiles, int kOut>
KB_DEVICE void multiply_back(const typename F::Element* dy, const typename F::Element* tiles,
                             float (&dphi)[kTiles][2][4]) {
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int j = 0; j < 2; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) dphi[m][j][i] = 0;
#pragma unroll
  for (int o = 0; o < kOut; o += 2) {
    typename F::Right b[2];
    if constexpr (kOut == 1)
      F::weights_transposed_single(tiles, b);
    else
      F::weights_transposed(tiles + o * 128, b);
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
      const typename F::Left a = kOut == 1
                                     ? F::rows_single(dy + m * 16 * S::kRowStride, S::kRowStride)
                                     : F::rows(dy + m * 16 * S::kRowStride + o * 8, S::kRowStride);
      F::multiply(dphi[m][0], a, b[0]);
      F::multiply(dphi[m][1], a, b[1]);
    }
  }
}

/// Expands the inputs that `input(m, j, i)` gives into a chunk's columns of the block's tile `phi`.
template <class S, class F, class X, int kTiles, class GetInput>
KB_DEVICE void store_expansion(const X& expansion, typename F::Element* phi, GetInput&& input) {
  const int g = lane_id() >> 2, t = lane_id() & 3;
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int j = 0; j < 2; ++j)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float value[2][X::kSize];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const Input in = input(m, j, 2 * h + e);
          expansion.expand(in.z, in.x, value[e]);
        }
        typename F::Element* row = phi + (m * 16 + h * 8 + g) * S::kPhiStride + j * 8 + 2 * t;
#pragma unroll
        for (int k = 0; k < X::kSize; ++k) F::store_pair(row + k * 16, value[0][k], value[1][k]);
      }
}

/// Expands chunk `c` again into the block's tile `phi` (this chunk's first column), and turns dy
/// into the slopes of the chunk: `dz` of the input after the norm's affine part, `dx` of what
/// passed the norm by.
template <class F, class X, int W, int kTiles, int kOut>
KB_DEVICE void backward_chunk(const BackwardLayer& layer, int c, const Chunk<kTiles>& chunk,
                              const RowStatistics<kTiles>& s, const typename F::Element* dy,
                              const typename F::Element* tiles, typename F::Element* phi,
                              Chunk<kTiles>& dz, Chunk<kTiles>& dx) {
  using S = Shape16<F, X, W, kTiles>;
  const X expansion = X::of(layer.plan.layers[layer.l]);
  const int g = lane_id() >> 2, t = lane_id() & 3;
  const bool affine = X::kNorm && layer.l > 0;
  const float* norm_weight = vector_of<W>(layer.shape, layer.l, 1, layer.shared) + c * 16;
  const float* norm_bias = vector_of<W>(layer.shape, layer.l, 2, layer.shared) + c * 16;
  const auto input = [&](int m, int j, int i) {
    const int column = j * 8 + 2 * t + (i & 1);
    return restore<X>(chunk.v[m][j][i], s.mean[m][i >> 1], s.inverse[m][i >> 1],
                      affine ? norm_weight[column] : 1.0f, affine ? norm_bias[column] : 0.0f);
  };
  store_expansion<S, F, X, kTiles>(expansion, phi, input);
  typename X::Slope slope[kTiles][2][4];
  // In a row, each of the widest's would keep all of dy in registers.
#pragma unroll(W < 128 ? X::kSize : 1)
  for (int k = 0; k < X::kSize; ++k) {
    float dphi[kTiles][2][4];
    multiply_back<S, F, kTiles, kOut>(dy, tiles + k * kOut * 128, dphi);
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int j = 0; j < 2; ++j)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const float2 pair =
              F::load_pair(phi + (m * 16 + h * 8 + g) * S::kPhiStride + k * 16 + j * 8 + 2 * t);
          slope[m][j][2 * h].add(k, pair.x, dphi[m][j][2 * h]);
          slope[m][j][2 * h + 1].add(k, pair.y, dphi[m][j][2 * h + 1]);
        }
  }
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int j = 0; j < 2; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Input in = input(m, j, i);
        expansion.finish(slope[m][j][i], in.z, in.x, dz.v[m][j][i], dx.v[m][j][i]);
      }
}

/// Chunk `c` of what the layer's forward pass saved.
template <class S, class F, int kTiles>
KB_DEVICE void load_saved(const BackwardLayer& layer, int c, Chunk<kTiles>& chunk) {
  const typename F::Element* rows =
      saved_rows<S, F>(layer.shape, layer.l, layer.warp, layer.shared);
  const int g = lane_id() >> 2, t = lane_id() & 3;
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int j = 0; j < 2; ++j)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float2 pair =
            F::load_pair(rows + (m * 16 + h * 8 + g) * S::kRowStride + c * 16 + j * 8 + 2 * t);
        chunk.v[m][j][2 * h] = pair.x;
        chunk.v[m][j][2 * h + 1] = pair.y;
      }
}

template <class S, int kTiles>
KB_DEVICE RowStatistics<kTiles> load_statistics(const BackwardLayer& layer) {
  RowStatistics<kTiles> s = no_norm<kTiles>();
  if (!layer.plan.layers[layer.l].norm) return s;
  const float2* rows = saved_statistics<S>(layer.shape, layer.l, layer.warp, layer.shared);
  const int g = lane_id() >> 2;
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float2 pair = rows[m * 16 + h * 8 + g];
      s.mean[m][h] = pair.x;
      s.inverse[m][h] = pair.y;
    }
  return s;
}

/// Takes out of dx what moves a row's mean and deviation: the norm's own way back.
template <class S, class F, int kTiles, int kColumns>
KB_DEVICE void backward_norm(const BackwardLayer& layer, const RowStatistics<kTiles>& s,
                             const float (&sum)[kTiles][2], const float (&dot)[kTiles][2],
                             float (&dx)[kTiles][kColumns][4]) {
  constexpr float kShare = 1.0f / (kColumns * 8);
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float a = quad_sum(sum[m][h]) * kShare * s.inverse[m][h];
      const float b = quad_sum(dot[m][h]) * kShare * s.inverse[m][h];
#pragma unroll
      for (int c = 0; c < kColumns / 2; ++c) {
        const typename F::Element* row =
            saved_rows<S, F>(layer.shape, layer.l, layer.warp, layer.shared) +
            (m * 16 + h * 8 + (lane_id() >> 2)) * S::kRowStride + c * 16 + 2 * (lane_id() & 3);
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const float2 unit = F::load_pair(row + j * 8);
          dx[m][2 * c + j][2 * h] -= fmaf(unit.x, b, a);
          dx[m][2 * c + j][2 * h + 1] -= fmaf(unit.y, b, a);
        }
      }
    }
}

/// One layer whose inputs were saved: from dy to dx, gradients of its parameters on the way.
template <class F, class X, int W, int kTiles, int kOut>
KB_DEVICE void backward_layer(const BackwardLayer& layer, const float (&dy)[kTiles][kOut][4],
                              float (&dx)[kTiles][W / 8][4]) {
  using S = Shape16<F, X, W, kTiles>;
  using Element = typename F::Element;
  const FusedLayer& here = layer.plan.layers[layer.l];
  Element* phi = reinterpret_cast<Element*>(layer.shared + layer.shape.phi);
  Element* my_phi = phi + layer.warp * S::kRows * S::kPhiStride;
  const Element* my_dy = share_slopes<S, F>(layer, dy);
  if (here.bias) add_bias_gradient<W>(dy, layer.l, layer.partials);
  const RowStatistics<kTiles> s = load_statistics<S, kTiles>(layer);
  float sum[kTiles][2] = {}, dot[kTiles][2] = {};
  const Element* tiles = nullptr;
#pragma unroll S::kUnroll
  for (int c = 0; c < S::kChunks; ++c) {
    if (c % S::kRound == 0)
      tiles = fetch_round<Element>(layer.plan, layer.shape, layer.l, c / S::kRound, X::kSize,
                                   S::kRoundTiles, layer.weights, layer.shared);
    const int place = c % S::kRound * X::kSize;
    Chunk<kTiles> unit, dz, past;
    load_saved<S, F>(layer, c, unit);
    backward_chunk<F, X, W, kTiles, kOut>(layer, c, unit, s, my_dy, tiles + place * kOut * 128,
                                          my_phi + place * 16, dz, past);
    // Read again rather than kept: registers are what there is least of.
    if constexpr (X::kNorm) load_saved<S, F>(layer, c, unit);
    if (X::kNorm && here.norm) add_norm_gradient<W>(unit, dz, layer.l, c, layer.partials);
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int j = 0; j < 2; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float d = dz.v[m][j][i];
          if constexpr (X::kNorm) {
            const int column = c * 16 + j * 8 + 2 * (lane_id() & 3) + (i & 1);
            d *= vector_of<W>(layer.shape, layer.l, 1, layer.shared)[column];
            sum[m][i >> 1] += d;
            dot[m][i >> 1] = fmaf(d, unit.v[m][j][i], dot[m][i >> 1]);
            d *= s.inverse[m][i >> 1];
          }
          dz.v[m][j][i] = d + past.v[m][j][i];
        }
    set_chunk(dx, c, dz);
    if ((c + 1) % S::kRound != 0) continue;
    __syncthreads();
    add_weight_gradient<S, F, kGradientUnit<X, kOut>, kOut>(
        phi, S::kPhiStride, reinterpret_cast<const Element*>(layer.shared + layer.shape.dy),
        layer.shape.rows(), S::kRoundTiles, layer.partials,
        layer.partials.tiles + std::int64_t{c / S::kRound} * S::kRoundTiles * 16 * kOut * 8);
    __syncthreads();
  }
  if constexpr (X::kNorm)
    if (here.norm) backward_norm<S, F>(layer, s, sum, dot, dx);
}

/// The first layer: writes the features' slopes over them or to `to`. True if one overflowed.
template <class F, class X, int W, int kTiles>
KB_DEVICE bool backward_features(const BackwardLayer& layer, const WarpRows<F>& rows,
                                 const float (&dy)[kTiles][W / 8][4], typename F::Element* to) {
  using S = Shape16<F, X, W, kTiles>;
  using Element = typename F::Element;
  constexpr int kOut = W / 8;
  const FusedLayer& here = layer.plan.layers[0];
  Element* phi = reinterpret_cast<Element*>(layer.shared + layer.shape.phi);
  Element* my_phi = phi + layer.warp * S::kRows * S::kPhiStride;
  const Element* my_dy = share_slopes<S, F>(layer, dy);
  if (here.bias) add_bias_gradient<W>(dy, 0, layer.partials);
  const RowStatistics<kTiles> none = no_norm<kTiles>();
  const int g = lane_id() >> 2, t = lane_id() & 3;
  bool overflow = false;
  const Element* tiles = nullptr;
#pragma unroll 1
  for (int c = 0; c < here.chunks; ++c) {
    const int place = c % S::kRound * X::kSize;
    if (place == 0)
      tiles = fetch_round<Element>(layer.plan, layer.shape, 0, c / S::kRound, X::kSize,
                                   S::kRoundTiles, layer.weights, layer.shared);
    Chunk<kTiles> unit, dz, past;
    load_features<F>(rows.features, rows.stride, rows.row0, rows.valid, c, unit);
    backward_chunk<F, X, W, kTiles, kOut>(layer, c, unit, none, my_dy, tiles + place * kOut * 128,
                                          my_phi + place * 16, dz, past);
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int j = 0; j < 2; ++j)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const std::int64_t row = rows.row0 + m * 16 + h * 8 + g;
          if (row >= rows.valid) continue;
          const float a = dz.v[m][j][2 * h] + past.v[m][j][2 * h];
          const float b = dz.v[m][j][2 * h + 1] + past.v[m][j][2 * h + 1];
          overflow |= !(fabsf(a) <= F::kLargest) || !(fabsf(b) <= F::kLargest);
          F::store_pair(to + ((c * 2 + j) * rows.stride + row) * 8 + 2 * t, a, b);
        }
    const bool last = c + 1 == here.chunks;
    if ((c + 1) % S::kRound != 0 && !last) continue;
    const int round = c / S::kRound;
    __syncthreads();
    add_weight_gradient<S, F, kGradientUnit<X, kOut>, kOut>(
        phi, S::kPhiStride, reinterpret_cast<const Element*>(layer.shared + layer.shape.dy),
        layer.shape.rows(), (c - round * S::kRound + 1) * X::kSize, layer.partials,
        layer.partials.tiles + std::int64_t{round} * S::kRoundTiles * 16 * kOut * 8);
    __syncthreads();
  }
  return overflow;
}

/// All ways through a decoder. An expansion that is not made in registers has its own.
template <class F, class X, int W, int kTiles>
struct Passes {
  /// From features to `out`, whose column 0 is the model's number before the output activation.
  /// With kSave what backward() needs stays in shared memory.
  template <bool kSave>
  KB_DEVICE static void forward(const FusedPlan& plan, const FusedShape& shape, const void* weights,
                                const WarpRows<F>& rows, unsigned char* shared,
                                float (&out)[kTiles][1][4]) {
    cuda::forward<F, X, W, kTiles, kSave>(plan, shape, weights, rows, shared, out);
  }

  /// From the last layer's slopes to the features'; `layer(l)` is the warp's view of one. True if a
  /// feature's overflowed.
  template <class GetLayer>
  KB_DEVICE static bool backward(GetLayer&& layer, const WarpRows<F>& rows, int count,
                                 const float (&dy)[kTiles][1][4], typename F::Element* dfeatures) {
    float d[kTiles][W / 8][4] = {};
    backward_layer<F, X, W, kTiles, 1>(layer(count - 1), dy, d);
#pragma unroll 1
    for (int l = count - 2; l > 0; --l) {
      float next[kTiles][W / 8][4] = {};
      backward_layer<F, X, W, kTiles, W / 8>(layer(l), d, next);
#pragma unroll
      for (int m = 0; m < kTiles; ++m)
#pragma unroll
        for (int j = 0; j < W / 8; ++j)
#pragma unroll
          for (int i = 0; i < 4; ++i) d[m][j][i] = next[m][j][i];
    }
    return backward_features<F, X, W, kTiles>(layer(0), rows, d, dfeatures);
  }
};

}  // namespace kanbench::cuda

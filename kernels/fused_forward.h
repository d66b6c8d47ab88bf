#pragma once
// The way through a fused decoder, from features to the last layer's sums.

#include "kernels/fused_layer.h"

namespace kanbench::cuda {

/// A warp's place in its block and what it reads. `features` may lie in shared memory.
template <class F>
struct WarpRows {
  int warp = 0;
  typename F::Element* features = nullptr;
  std::int64_t stride = 0, row0 = 0, valid = 0;
};

/// Saves the inputs of layer l, after the norm but before its affine part, for the way back.
template <class S, class F, int kTiles, int kColumns>
KB_DEVICE void save_inputs(const FusedShape& shape, int l, int warp, bool norm,
                           const float (&x)[kTiles][kColumns][4], const RowStatistics<kTiles>& s,
                           unsigned char* shared) {
  typename F::Element* rows = saved_rows<S, F>(shape, l, warp, shared);
  const int g = lane_id() >> 2, t = lane_id() & 3;
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = m * 16 + h * 8 + g;
#pragma unroll
      for (int j = 0; j < kColumns; ++j)
        F::store_pair(rows + row * S::kRowStride + j * 8 + 2 * t, x[m][j][2 * h],
                      x[m][j][2 * h + 1]);
      if (norm && t == 0)
        saved_statistics<S>(shape, l, warp, shared)[row] = float2{s.mean[m][h], s.inverse[m][h]};
    }
}

/// Layer l of inputs in registers.
template <class F, class X, int W, int kTiles, int kOut>
KB_DEVICE void forward_layer(const FusedPlan& plan, const FusedShape& shape, int l,
                             const void* weights, const float (&x)[kTiles][W / 8][4],
                             const RowStatistics<kTiles>& s, unsigned char* shared,
                             float (&sum)[kTiles][kOut][4]) {
  using S = Shape16<F, X, W, kTiles>;
  const X expansion = X::of(plan.layers[l]);
  begin_sum<W>(shape, l, shared, sum);
  const typename F::Element* tiles = nullptr;
#pragma unroll S::kUnroll
  for (int c = 0; c < S::kChunks; ++c) {
    if (c % S::kRound == 0)
      tiles = fetch_round<typename F::Element>(plan, shape, l, c / S::kRound, X::kSize,
                                               S::kRoundTiles, weights, shared);
    const Chunk<kTiles> chunk = get_chunk(x, c);
    typename F::Left a[kTiles][X::kSize];
    expand<F, X, W>(expansion, shape, l, c, chunk, s, shared, a);
    multiply<F, X, kTiles, kOut>(a, tiles + c % S::kRound * X::kSize * kOut * 128, sum);
  }
}

/// The first layer, whose inputs are features.
template <class F, class X, int W, int kTiles>
KB_DEVICE void forward_features(const FusedPlan& plan, const FusedShape& shape, const void* weights,
                                const WarpRows<F>& rows, unsigned char* shared,
                                float (&sum)[kTiles][W / 8][4]) {
  using S = Shape16<F, X, W, kTiles>;
  const FusedLayer& layer = plan.layers[0];
  const X expansion = X::of(layer);
  const RowStatistics<kTiles> none = no_norm<kTiles>();
  begin_sum<W>(shape, 0, shared, sum);
  const typename F::Element* tiles = nullptr;
#pragma unroll 1
  for (int c = 0; c < layer.chunks; ++c) {
    if (c % S::kRound == 0)
      tiles = fetch_round<typename F::Element>(plan, shape, 0, c / S::kRound, X::kSize,
                                               S::kRoundTiles, weights, shared);
    Chunk<kTiles> chunk;
    load_features<F>(rows.features, rows.stride, rows.row0, rows.valid, c, chunk);
    typename F::Left a[kTiles][X::kSize];
    expand<F, X, W>(expansion, shape, 0, c, chunk, none, shared, a);
    multiply<F, X, kTiles, W / 8>(a, tiles + c % S::kRound * X::kSize * (W / 8) * 128, sum);
  }
}

/// All layers; `out` column 0 is the model's number before the output activation. With kSave the
/// inputs of all layers but the first stay in shared memory.
template <class F, class X, int W, int kTiles, bool kSave>
KB_DEVICE void forward(const FusedPlan& plan, const FusedShape& shape, const void* weights,
                       const WarpRows<F>& rows, unsigned char* shared, float (&out)[kTiles][1][4]) {
  using S = Shape16<F, X, W, kTiles>;
  float x[kTiles][W / 8][4];
  RowStatistics<kTiles> s = no_norm<kTiles>();
  forward_features<F, X, W>(plan, shape, weights, rows, shared, x);
  const int last = plan.count - 1;
#pragma unroll 1
  for (int l = 1; l <= last; ++l) {
    const bool norm = X::kNorm && plan.layers[l].norm;
    if constexpr (X::kNorm) normalise(norm, x, s);
    if constexpr (kSave) save_inputs<S, F>(shape, l, rows.warp, norm, x, s, shared);
    if (l == last) break;
    float y[kTiles][W / 8][4];
    forward_layer<F, X, W>(plan, shape, l, weights, x, s, shared, y);
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int j = 0; j < W / 8; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) x[m][j][i] = y[m][j][i];
  }
  forward_layer<F, X, W>(plan, shape, last, weights, x, s, shared, out);
}

}  // namespace kanbench::cuda

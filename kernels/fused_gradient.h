#pragma once
// Gradients of a fused decoder's parameters: a block multiplies the expansions of its rows with
// their slopes, and adds to partial sums of its own, in a fixed order.

#include "kernels/fused_forward.h"

namespace kanbench::cuda {

/// Where a warp's or a block's partial sums of one layer are.
struct Partials {
  /// This layer's tiles, [tile of 16 inputs][16][out_tiles * 8]; this warp's vectors, of all
  /// layers.
  float* tiles;
  float* vectors;
  /// The block's first rows: what was there before counts for nothing.
  bool fresh;
};

/// Sums over a warp's rows of column 8j + 2t + e, in the lanes of g = 0.
KB_DEVICE float column_sum(float v) {
  v += shuffle_xor(v, 4);
  v += shuffle_xor(v, 8);
  return v + shuffle_xor(v, 16);
}

/// Two numbers of a warp's vectors as they were, asked for before what is added to them is known.
KB_DEVICE float2 vectors_before(const float* at, const Partials& p) {
  return p.fresh ? float2{0, 0} : *reinterpret_cast<const float2*>(at);
}

/// Adds the columns' sums of dy to the layer's bias gradient.
template <int W, int kTiles, int kOut>
KB_DEVICE void add_bias_gradient(const float (&dy)[kTiles][kOut][4], int l, const Partials& p) {
  const int lane = lane_id();
  float* at = p.vectors + l * 3 * W + 2 * (lane & 3);
  float2 before[kOut];
#pragma unroll
  for (int j = 0; j < kOut; ++j) before[j] = vectors_before(at + j * 8, p);
#pragma unroll
  for (int j = 0; j < kOut; ++j) {
    float sum[2] = {0, 0};
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[i & 1] += dy[m][j][i];
    const float a = column_sum(sum[0]), b = column_sum(sum[1]);
    if (lane < 4) *reinterpret_cast<float2*>(at + j * 8) = float2{before[j].x + a, before[j].y + b};
  }
}

/// The block's share of the weights' gradient: expansions' transpose times slopes, tiles of 16
/// expanded inputs by 8 outputs shared out among the warps.
template <class S, class F, int kUnit, int kOut>
KB_DEVICE void add_weight_gradient(const typename F::Element* phi, int phi_stride,
                                   const typename F::Element* dy, int rows, int tiles,
                                   const Partials& p, float* to) {
  constexpr int kPairs = kOut == 1 ? 1 : kOut / 2, kSide = kOut == 1 ? 1 : 2;
  const int warp = static_cast<int>(threadIdx.x) >> 5, warps = static_cast<int>(blockDim.x) >> 5;
  const int g = lane_id() >> 2, t = lane_id() & 3;
  const int units = (tiles + kUnit - 1) / kUnit * kPairs;
  for (int unit = warp; unit < units; unit += warps) {
    const int first = unit / kPairs * kUnit, pair = unit % kPairs;
    const auto place = [&](int i, int q, int h) {
      return reinterpret_cast<float2*>(to + ((first + i) * 16 + h * 8 + g) * (kOut * 8) +
                                       (pair * 2 + q) * 8 + 2 * t);
    };
    // Asked for before the products, so that they are there after them.
    float2 before[kUnit][kSide][2] = {};
    if (!p.fresh)
#pragma unroll
      for (int i = 0; i < kUnit; ++i)
#pragma unroll
        for (int q = 0; q < kSide; ++q)
#pragma unroll
          for (int h = 0; h < 2; ++h)
            if (first + i < tiles) before[i][q][h] = *place(i, q, h);
    float sum[kUnit][kSide][4] = {};
    for (int row = 0; row < rows; row += 16) {
      typename F::Right b[2];
      if constexpr (kOut == 1)
        F::rows_to_sum(dy + row * S::kRowStride, S::kRowStride, b[0]);
      else
        F::rows_to_sum(dy + row * S::kRowStride + pair * 16, S::kRowStride, b);
#pragma unroll
      for (int i = 0; i < kUnit; ++i) {
        if (first + i >= tiles) continue;
        const typename F::Left a =
            F::rows_transposed(phi + row * phi_stride + (first + i) * 16, phi_stride);
#pragma unroll
        for (int q = 0; q < kSide; ++q) F::multiply(sum[i][q], a, b[q]);
      }
    }
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
      if (first + i >= tiles) continue;
#pragma unroll
      for (int q = 0; q < kSide; ++q)
#pragma unroll
        for (int h = 0; h < 2; ++h)
          *place(i, q, h) = float2{before[i][q][h].x + sum[i][q][2 * h],
                                   before[i][q][h].y + sum[i][q][2 * h + 1]};
    }
  }
}

/// Adds a chunk's gradients of the norm's weight and bias.
template <int W, int kTiles>
KB_DEVICE void add_norm_gradient(const Chunk<kTiles>& unit, const Chunk<kTiles>& dz, int l, int c,
                                 const Partials& p) {
  const int lane = lane_id();
  float* at = p.vectors + l * 3 * W + W + c * 16 + 2 * (lane & 3);
  float2 before[2][2];
#pragma unroll
  for (int j = 0; j < 2; ++j)
#pragma unroll
    for (int part = 0; part < 2; ++part) before[j][part] = vectors_before(at + part * W + j * 8, p);
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    float weight[2] = {0, 0}, bias[2] = {0, 0};
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        weight[i & 1] = fmaf(dz.v[m][j][i], unit.v[m][j][i], weight[i & 1]);
        bias[i & 1] += dz.v[m][j][i];
      }
    const float w0 = column_sum(weight[0]), w1 = column_sum(weight[1]);
    const float b0 = column_sum(bias[0]), b1 = column_sum(bias[1]);
    if (lane >= 4) continue;
    *reinterpret_cast<float2*>(at + j * 8) = float2{before[j][0].x + w0, before[j][0].y + w1};
    *reinterpret_cast<float2*>(at + W + j * 8) = float2{before[j][1].x + b0, before[j][1].y + b1};
  }
}

/// How many tiles of expanded inputs a warp multiplies at a time.
template <class X, int W>
inline constexpr int kGradientUnit = X::kSize == 9 ? 3 : (W == 16 ? 1 : 2);

}  // namespace kanbench::cuda

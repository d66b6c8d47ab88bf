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

/// Sums over a warp's rows of eight numbers that each of its lanes holds; a lane of row g is given
/// number g's. By halves: seven shuffles, where a sum for itself each would take 24.
KB_DEVICE float sum_rows(float (&v)[8]) {
  const int g = lane_id() >> 2;
  // Lanes are known to be together here, so that shuffles need not look.
  __syncwarp();
#pragma unroll
  for (int half = 4; half > 0; half /= 2)
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const bool upper = (g & half) != 0;
      const float kept = upper ? v[i + half] : v[i], sent = upper ? v[i] : v[i + half];
      v[i] = kept + shuffle_xor(sent, half * 4);
    }
  return v[0];
}

/// A number of a warp's vectors as it was, asked for before what is added to it is known.
KB_DEVICE float vector_before(const float* at, const Partials& p) { return p.fresh ? 0 : *at; }

/// Adds the columns' sums of dy to the layer's bias gradient.
template <int W, int kTiles, int kOut>
KB_DEVICE void add_bias_gradient(const float (&dy)[kTiles][kOut][4], int l, const Partials& p) {
  // Four tiles of outputs have eight columns a lane.
  constexpr int kGroups = (kOut + 3) / 4;
  const int g = lane_id() >> 2, t = lane_id() & 3;
  float* at = p.vectors + l * 3 * W + (g >> 1) * 8 + 2 * t + (g & 1);
  const bool holds = (g >> 1) < kOut;
  float before[kGroups] = {};
#pragma unroll
  for (int q = 0; q < kGroups; ++q)
    if (holds) before[q] = vector_before(at + q * 32, p);
#pragma unroll
  for (int q = 0; q < kGroups; ++q) {
    float v[8] = {};
#pragma unroll
    for (int j = 0; j < 4 && q * 4 + j < kOut; ++j)
#pragma unroll
      for (int m = 0; m < kTiles; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) v[2 * j + (i & 1)] += dy[m][q * 4 + j][i];
    const float sum = sum_rows(v);
    if (holds) at[q * 32] = before[q] + sum;
  }
}

/// The block's share of the weights' gradient: expansions' transpose times slopes, tiles of 16
/// expanded inputs by 8 outputs shared out among the warps. Columns past the last tile are
/// multiplied with the others, and left.
template <class S, class F, int kUnit, int kOut>
KB_DEVICE void add_weight_gradient(const typename F::Element* phi, int phi_stride,
                                   const typename F::Element* dy, int rows, int tiles,
                                   const Partials& p, float* to) {
  constexpr int kPairs = kOut == 1 ? 1 : kOut / 2, kSide = kOut == 1 ? 1 : 2;
  const int warp = static_cast<int>(threadIdx.x) >> 5, warps = static_cast<int>(blockDim.x) >> 5;
  const int g = lane_id() >> 2, t = lane_id() & 3;
  const int units = (tiles + kUnit - 1) / kUnit * kPairs;
#pragma unroll 1
  for (int unit = warp; unit < units; unit += warps) {
    const int first = unit / kPairs * kUnit, pair = unit % kPairs;
    float* const lane_to = to + (first * 16 + g) * (kOut * 8) + pair * 16 + 2 * t;
    const auto place = [&](int i, int q, int h) {
      return reinterpret_cast<float2*>(lane_to + (i * 16 + h * 8) * (kOut * 8) + q * 8);
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
    const typename F::Element *left = phi + first * 16, *right = dy + pair * 16;
#pragma unroll 2
    for (int row = 0; row < rows; row += 16) {
      // All are under way before the first is waited for.
      typename F::Right b[2];
      if constexpr (kOut == 1)
        F::rows_to_sum(right, S::kRowStride, b[0]);
      else
        F::rows_to_sum(right, S::kRowStride, b);
      typename F::Left a[kUnit];
#pragma unroll
      for (int i = 0; i < kUnit; ++i) a[i] = F::rows_transposed(left + i * 16, phi_stride);
#pragma unroll
      for (int i = 0; i < kUnit; ++i)
#pragma unroll
        for (int q = 0; q < kSide; ++q) F::multiply(sum[i][q], a[i], b[q]);
      left += 16 * phi_stride;
      right += 16 * S::kRowStride;
    }
#pragma unroll
    for (int i = 0; i < kUnit; ++i)
#pragma unroll
      for (int q = 0; q < kSide; ++q)
#pragma unroll
        for (int h = 0; h < 2; ++h)
          if (first + i < tiles)
            store_two(place(i, q, h), before[i][q][h].x + sum[i][q][2 * h],
                      before[i][q][h].y + sum[i][q][2 * h + 1]);
  }
}

/// Adds a chunk's gradients of the norm's weight and bias.
template <int W, int kTiles>
KB_DEVICE void add_norm_gradient(const Chunk<kTiles>& unit, const Chunk<kTiles>& dz, int l, int c,
                                 const Partials& p) {
  const int g = lane_id() >> 2, t = lane_id() & 3;
  float* at =
      p.vectors + l * 3 * W + W + (g >> 2) * W + c * 16 + (g >> 1) % 2 * 8 + 2 * t + (g & 1);
  const float before = vector_before(at, p);
  float v[8] = {};
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int j = 0; j < 2; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float& weight = v[2 * j + (i & 1)];
        weight = fmaf(dz.v[m][j][i], unit.v[m][j][i], weight);
        v[4 + 2 * j + (i & 1)] += dz.v[m][j][i];
      }
  *at = before + sum_rows(v);
}

/// How many tiles of expanded inputs a warp multiplies at a time, so that eight warps have work and
/// none has twice another's.
template <class X, int kOut>
inline constexpr int kGradientUnit = X::kSize == 1 ? (kOut < 8 ? 1 : 2)
                                     : kOut == 8   ? 5
                                                   : 2;

}  // namespace kanbench::cuda

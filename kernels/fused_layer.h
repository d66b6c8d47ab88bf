#pragma once
// The pieces of a fused decoder that a warp runs on its own 16 or 32 rows: inputs, expansion,
// products with weights, norm. Fragments are those of fragment.h: with g = lane / 4, t = lane % 4,
// number [m][j][2h + e] of a lane is that of row 16m + 8h + g, column 8j + 2t + e.

#include "kanbench/math/layer.h"
#include "kernels/fragment.h"
#include "kernels/fused.h"

namespace kanbench::cuda {

/// What the kernels of one configuration know when they are compiled: products in F, expansion X,
/// hidden layers of W, kTiles times 16 rows a warp.
template <class F, class X, int W, int kTiles>
struct Shape16 {
  static constexpr int kColumns = W / 8, kChunks = W / 16;
  /// Chunks of 16 inputs that are in hand at once: an expansion to nine takes a chunk at a time.
  static constexpr int kRound = X::kSize == 1 ? kChunks : 1;
  /// Chunks whose code stands one after the other. Nine functions are long enough: several times
  /// that does not fit the instruction cache, and kernels wait for their own code.
  static constexpr int kUnroll = X::kSize == 1 ? kChunks : 1;
  /// Tiles of 16 expanded inputs at once, and their row in shared memory.
  static constexpr int kRoundTiles = kRound * X::kSize;
  static constexpr int kPhiStride = kRoundTiles * 16 + F::kPadding;
  static constexpr int kRowStride = W + F::kPadding;
  static constexpr int kRows = 16 * kTiles;
};

/// A round of the weights of a layer whose inputs become `functions` numbers, for so many tiles of
/// 16 of those, in shared memory. Where not all are there for good, the block fetches it: all of
/// its threads call this together.
template <class Element>
KB_DEVICE const Element* fetch_round(const FusedPlan& plan, const FusedShape& shape, int l,
                                     int round, int functions, int round_tiles, const void* global,
                                     unsigned char* shared) {
  const FusedLayer& layer = plan.layers[l];
  const std::int64_t first = std::int64_t{round} * round_tiles * layer.out_tiles * 128;
  Element* here = reinterpret_cast<Element*>(shared + shape.weights);
  if (shape.resident) return here + layer.weights + first;
  const int left = layer.chunks * functions - round * round_tiles;
  const int bytes = (left < round_tiles ? left : round_tiles) * layer.out_tiles * 128 *
                    static_cast<int>(sizeof(Element));
  const auto* from = reinterpret_cast<const unsigned char*>(static_cast<const Element*>(global) +
                                                            layer.weights + first);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x) * 16; i < bytes;
       i += static_cast<int>(blockDim.x) * 16)
    copy_async16(reinterpret_cast<unsigned char*>(here) + i, from + i);
  copy_async_wait();
  __syncthreads();
  return here;
}

/// Brings vectors, and weights where they stay, into shared memory.
KB_DEVICE void fetch_parameters(const FusedPlan& plan, const FusedShape& shape, const void* weights,
                                const float* vectors, unsigned char* shared) {
  float* here = reinterpret_cast<float*>(shared + shape.vectors);
  for (int i = static_cast<int>(threadIdx.x); i < plan.vectors; i += static_cast<int>(blockDim.x))
    here[i] = vectors[i];
  if (shape.resident) {
    const std::int64_t bytes = plan.weights * plan.element_bytes();
    for (std::int64_t i = threadIdx.x * 16; i < bytes; i += blockDim.x * 16)
      copy_async16(shared + shape.weights + i, static_cast<const unsigned char*>(weights) + i);
    copy_async_wait();
  }
  __syncthreads();
}

/// Bias, norm weight and norm bias (part 0, 1, 2) of layer l.
template <int W>
KB_DEVICE const float* vector_of(const FusedShape& shape, int l, int part,
                                 const unsigned char* shared) {
  return reinterpret_cast<const float*>(shared + shape.vectors) + (l * 3 + part) * W;
}

/// 16 columns of a warp's rows.
template <int kTiles>
struct Chunk {
  float v[kTiles][2][4];
};

/// Columns of chunk `c`, chosen among registers, of which an array can have no index that is not
/// known.
template <int kTiles, int kColumns>
KB_DEVICE Chunk<kTiles> get_chunk(const float (&x)[kTiles][kColumns][4], int c) {
  Chunk<kTiles> chunk = {};
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int j = 0; j < kColumns; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        chunk.v[m][j % 2][i] = j / 2 == c ? x[m][j][i] : chunk.v[m][j % 2][i];
  return chunk;
}
template <int kTiles, int kColumns>
KB_DEVICE void set_chunk(float (&x)[kTiles][kColumns][4], int c, const Chunk<kTiles>& chunk) {
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int j = 0; j < kColumns; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) x[m][j][i] = j / 2 == c ? chunk.v[m][j % 2][i] : x[m][j][i];
}

/// Chunk `c` of features that lie as [8 features][row][8]; rows past `valid` are zero.
template <class F, int kTiles>
KB_DEVICE void load_features(const typename F::Element* features, std::int64_t stride,
                             std::int64_t row0, std::int64_t valid, int c, Chunk<kTiles>& chunk) {
  const int g = lane_id() >> 2, t = lane_id() & 3;
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int j = 0; j < 2; ++j)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const std::int64_t row = row0 + m * 16 + h * 8 + g;
        float2 pair{0, 0};
        if (row < valid) pair = F::load_pair(features + ((c * 2 + j) * stride + row) * 8 + 2 * t);
        chunk.v[m][j][2 * h] = pair.x;
        chunk.v[m][j][2 * h + 1] = pair.y;
      }
}

/// A norm's statistics of the lane's rows.
template <int kTiles>
struct RowStatistics {
  float mean[kTiles][2], inverse[kTiles][2];
};

/// The statistics of rows that no norm has seen.
template <int kTiles>
KB_DEVICE RowStatistics<kTiles> no_norm() {
  RowStatistics<kTiles> s;
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      s.mean[m][h] = 0;
      s.inverse[m][h] = 1;
    }
  return s;
}

/// x becomes (x - mean) / deviation over its row; statistics of no norm leave it as it is.
template <int kTiles, int kColumns>
KB_DEVICE void normalise(bool norm, float (&x)[kTiles][kColumns][4], RowStatistics<kTiles>& s) {
#pragma unroll
  for (int m = 0; m < kTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      s.mean[m][h] = 0;
      s.inverse[m][h] = 1;
      if (!norm) continue;
      float sum = 0, squares = 0;
#pragma unroll
      for (int j = 0; j < kColumns; ++j) sum += x[m][j][2 * h] + x[m][j][2 * h + 1];
      const float mean = quad_sum(sum) * (1.0f / (kColumns * 8));
#pragma unroll
      for (int j = 0; j < kColumns; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          x[m][j][2 * h + e] -= mean;
          squares = fmaf(x[m][j][2 * h + e], x[m][j][2 * h + e], squares);
        }
      const float variance = quad_sum(squares) * (1.0f / (kColumns * 8));
      const float inverse = rsqrt_approx(variance + static_cast<float>(kNormEpsilon));
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        x[m][j][2 * h] *= inverse;
        x[m][j][2 * h + 1] *= inverse;
      }
      s.mean[m][h] = mean;
      s.inverse[m][h] = inverse;
    }
}

/// An input as the expansion takes it: after the norm's affine part, and before the norm.
struct Input {
  float z, x;
};
template <class X>
KB_DEVICE Input restore(float unit, float mean, float inverse, float weight, float bias) {
  if constexpr (!X::kNorm) return {unit, unit};
  return {fmaf(unit, weight, bias), fmaf(unit, reciprocal_approx(inverse), mean)};
}

/// Expands chunk `c` of layer l into left factors, one for each function.
template <class F, class X, int W, int kTiles>
KB_DEVICE void expand(const X& expansion, const FusedShape& shape, int l, int c,
                      const Chunk<kTiles>& chunk, const RowStatistics<kTiles>& s,
                      const unsigned char* shared, typename F::Left (&a)[kTiles][X::kSize]) {
  const int t = lane_id() & 3;
  const bool affine = X::kNorm && l > 0;
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const int column = c * 16 + j * 8 + 2 * t;
    float weight[2] = {1, 1}, bias[2] = {0, 0};
    if (affine)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        weight[e] = vector_of<W>(shape, l, 1, shared)[column + e];
        bias[e] = vector_of<W>(shape, l, 2, shared)[column + e];
      }
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float phi[2][X::kSize];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const Input in = restore<X>(chunk.v[m][j][2 * h + e], s.mean[m][h], s.inverse[m][h],
                                      weight[e], bias[e]);
          expansion.expand(in.z, in.x, phi[e]);
        }
#pragma unroll
        for (int k = 0; k < X::kSize; ++k) F::set(a[m][k], j, h, phi[0][k], phi[1][k]);
      }
  }
}

/// sum += expanded chunk times its weights; `weights` are this chunk's tiles.
template <class F, class X, int kTiles, int kOut>
KB_DEVICE void multiply(const typename F::Left (&a)[kTiles][X::kSize],
                        const typename F::Element* weights, float (&sum)[kTiles][kOut][4]) {
#pragma unroll
  for (int k = 0; k < X::kSize; ++k) {
    const typename F::Element* tiles = weights + k * kOut * 128;
    if constexpr (kOut == 1) {
      typename F::Right b;
      F::weights(tiles, b);
#pragma unroll
      for (int m = 0; m < kTiles; ++m) F::multiply(sum[m][0], a[m][k], b);
    } else {
#pragma unroll
      for (int j = 0; j < kOut; j += 2) {
        typename F::Right b[2];
        F::weights(tiles + j * 128, b);
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
          F::multiply(sum[m][j], a[m][k], b[0]);
          F::multiply(sum[m][j + 1], a[m][k], b[1]);
        }
      }
    }
  }
}

/// sum = layer l's bias.
template <int W, int kTiles, int kOut>
KB_DEVICE void begin_sum(const FusedShape& shape, int l, const unsigned char* shared,
                         float (&sum)[kTiles][kOut][4]) {
  const float* bias = vector_of<W>(shape, l, 0, shared);
  const int t = lane_id() & 3;
#pragma unroll
  for (int j = 0; j < kOut; ++j) {
    const float low = bias[j * 8 + 2 * t], high = bias[j * 8 + 2 * t + 1];
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
      sum[m][j][0] = sum[m][j][2] = low;
      sum[m][j][1] = sum[m][j][3] = high;
    }
  }
}

/// Where a lane's rows of saved inputs and of their statistics are.
template <class S, class F>
KB_DEVICE typename F::Element* saved_rows(const FusedShape& shape, int l, int warp,
                                          unsigned char* shared) {
  return reinterpret_cast<typename F::Element*>(shared + shape.saved) +
         ((l - 1) * shape.rows() + warp * S::kRows) * S::kRowStride;
}
template <class S>
KB_DEVICE float2* saved_statistics(const FusedShape& shape, int l, int warp,
                                   unsigned char* shared) {
  return reinterpret_cast<float2*>(shared + shape.statistics) + (l - 1) * shape.rows() +
         warp * S::kRows;
}

}  // namespace kanbench::cuda

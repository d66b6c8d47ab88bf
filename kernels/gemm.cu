// Products of matrices without cuBLAS: tiles of 64 x 64, on tensor cores where tf32 is wanted, and
// two plain kernels for products with a very short side. A long inner dimension is cut into parts
// whose sums are added in their order, so that the bits depend on the sizes alone.

#include <algorithm>

#include "kanbench/error.h"
#include "kernels/device.h"
#include "kernels/gemm.h"

namespace kanbench::cuda {
namespace {

constexpr int kTile = 64;
constexpr int kDepth = 16;
constexpr int kThreads = 128;
constexpr int kEach = kTile * kDepth / kThreads;
// A row of a tile in shared memory: 8 floats beyond the tile let the lanes of a fragment, eight
// along a row and four rows, meet 32 different banks.
constexpr int kPitch = kTile + 8;
constexpr int kThin = 4;
// Blocks that fill a large device twice over.
constexpr std::int64_t kBlocks = 264;
// cuBLAS takes over from weights of this size.
constexpr std::int64_t kCublasWeights = 2048;

// The inner dimension in parts of `length`; part z writes its sums to sums + z * m * n.
struct Parts {
  std::int64_t count = 1, length = 0;
  float* sums = nullptr;
};

// What block z of the grid writes to, and whether it adds.
struct Target {
  float* data;
  std::int64_t stride;
  bool add;
};

KB_DEVICE Target target_of(const Product& p, const Parts& parts) {
  if (parts.count == 1) return {p.c, p.c_stride, p.add};
  return {parts.sums + blockIdx.z * p.m * p.n, p.n, false};
}

KB_DEVICE void put(const Target& to, std::int64_t i, std::int64_t j, float value) {
  float& at = to.data[i * to.stride + j];
  at = to.add ? at + value : value;
}

// This thread's share of a tile: number e of it is (across, deep), kAlong where neighbours in
// memory are neighbours in depth.
template <bool kAlong>
KB_DEVICE int across(int e) {
  const int t = static_cast<int>(threadIdx.x);
  return kAlong ? t / kDepth + e * (kThreads / kDepth) : t % kTile;
}
template <bool kAlong>
KB_DEVICE int deep(int e) {
  const int t = static_cast<int>(threadIdx.x);
  return kAlong ? t % kDepth : t / kTile + e * (kThreads / kTile);
}

// Reads the tile from (first, k) of a matrix that is `count` wide across and ends at `end` in
// depth.
template <bool kAlong>
KB_DEVICE void fetch(const Matrix& matrix, std::int64_t first, std::int64_t count, std::int64_t k,
                     std::int64_t end, float (&own)[kEach]) {
  const std::int64_t i = first + across<kAlong>(0), d = k + deep<kAlong>(0);
  // From one number to the next only one of the two coordinates moves.
  constexpr int kStep = kThreads / (kAlong ? kDepth : kTile);
  const std::int64_t left = i >= count || d >= end ? 0 : kAlong ? count - i : end - d;
  const int within = static_cast<int>(left < kTile ? left : kTile);
  const float* at = matrix.data + (kAlong ? i * matrix.stride + d : d * matrix.stride + i);
#pragma unroll
  for (int e = 0; e < kEach; ++e, at += kStep * matrix.stride)
    own[e] = e * kStep < within ? *at : 0.0f;
}

template <bool kAlong, bool kTensor>
KB_DEVICE void put_tile(const float (&own)[kEach], float* tile) {
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int at = deep<kAlong>(e) * kPitch + across<kAlong>(e);
    if constexpr (kTensor) {
      reinterpret_cast<std::uint32_t*>(tile)[at] = to_tf32(own[e]);
    } else {
      tile[at] = own[e];
    }
  }
}

// Eight rows by four columns a thread.
KB_DEVICE void multiply_tile(const float* a, const float* b, float (&sums)[8][4]) {
  const int row = static_cast<int>(threadIdx.x) / 16 * 8;
  const int column = static_cast<int>(threadIdx.x) % 16 * 4;
#pragma unroll 4
  for (int d = 0; d < kDepth; ++d) {
    float x[8], y[4];
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = a[d * kPitch + row + i];
#pragma unroll
    for (int j = 0; j < 4; ++j) y[j] = b[d * kPitch + column + j];
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[i][j] += x[i] * y[j];
  }
}

// Each of the four warps takes a quarter, 32 x 32: fragment f is at rows f / 4, columns f % 4.
KB_DEVICE void multiply_tile_tensor(const float* a, const float* b, float (&sums)[8][4]) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = lane_id();
  const auto* left = reinterpret_cast<const std::uint32_t*>(a) + warp / 2 * 32 + lane / 4;
  const auto* right = reinterpret_cast<const std::uint32_t*>(b) + warp % 2 * 32 + lane / 4;
#pragma unroll
  for (int d = lane % 4; d < kDepth; d += 8) {
    std::uint32_t x[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      x[i][0] = left[d * kPitch + 16 * i];
      x[i][1] = left[d * kPitch + 16 * i + 8];
      x[i][2] = left[(d + 4) * kPitch + 16 * i];
      x[i][3] = left[(d + 4) * kPitch + 16 * i + 8];
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::uint32_t low = right[d * kPitch + 8 * j], high = right[(d + 4) * kPitch + 8 * j];
      mma_tf32(sums[j], x[0], low, high);
      mma_tf32(sums[4 + j], x[1], low, high);
    }
  }
}

template <bool kTensor>
KB_DEVICE void put_sums(const Product& p, const Target& to, std::int64_t row, std::int64_t column,
                        const float (&sums)[8][4]) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
#pragma unroll
  for (int f = 0; f < 8; ++f)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      std::int64_t i = row, j = column;
      if constexpr (kTensor) {
        i += warp / 2 * 32 + f / 4 * 16 + lane / 4 + e / 2 * 8;
        j += warp % 2 * 32 + f % 4 * 8 + lane % 4 * 2 + e % 2;
      } else {
        i += thread / 16 * 8 + f;
        j += thread % 16 * 4 + e;
      }
      if (i < p.m && j < p.n) put(to, i, j, sums[f][e]);
    }
}

template <bool kTransposedA, bool kTransposedB, bool kTensor>
KB_KERNEL2(kThreads, 3)
multiply_kernel(Product p, Parts parts) {
  KB_SHARED(float, tiles);
  float *a = tiles, *b = tiles + kDepth * kPitch;
  const std::int64_t column = std::int64_t{blockIdx.x} * kTile;
  const std::int64_t begin = blockIdx.z * parts.length;
  const std::int64_t end = begin + parts.length < p.k ? begin + parts.length : p.k;
  for (std::int64_t row = std::int64_t{blockIdx.y} * kTile; row < p.m;
       row += std::int64_t{gridDim.y} * kTile) {
    float sums[8][4] = {}, next_a[kEach], next_b[kEach];
    fetch<!kTransposedA>(p.a, row, p.m, begin, end, next_a);
    fetch<kTransposedB>(p.b, column, p.n, begin, end, next_b);
    for (std::int64_t k = begin; k < end; k += kDepth) {
      __syncthreads();
      put_tile<!kTransposedA, kTensor>(next_a, a);
      put_tile<kTransposedB, kTensor>(next_b, b);
      __syncthreads();
      if (k + kDepth < end) {
        fetch<!kTransposedA>(p.a, row, p.m, k + kDepth, end, next_a);
        fetch<kTransposedB>(p.b, column, p.n, k + kDepth, end, next_b);
      }
      if constexpr (kTensor) {
        multiply_tile_tensor(a, b, sums);
      } else {
        multiply_tile(a, b, sums);
      }
    }
    put_sums<kTensor>(p, target_of(p, parts), row, column, sums);
  }
}

// A thread an element, for few rows of c or few terms of each sum; b is not transposed.
KB_KERNEL(256)
multiply_thin_kernel(Product p) {
  const std::int64_t j = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (j >= p.n) return;
  const std::int64_t along = p.a.transposed ? p.a.stride : 1;
  for (std::int64_t i = blockIdx.y; i < p.m; i += gridDim.y) {
    const float* a = p.a.data + i * (p.a.transposed ? 1 : p.a.stride);
    float sum = 0;
    for (std::int64_t k = 0; k < p.k; ++k) sum += a[k * along] * p.b.data[k * p.b.stride + j];
    put({p.c, p.c_stride, p.add}, i, j, sum);
  }
}

// A block an element, for long sums of few elements; b is transposed.
KB_KERNEL(256)
multiply_dots_kernel(Product p, Parts parts) {
  KB_SHARED(float, tiles);
  const std::int64_t j = blockIdx.x;
  const std::int64_t begin = blockIdx.z * parts.length;
  const std::int64_t end = begin + parts.length < p.k ? begin + parts.length : p.k;
  for (std::int64_t i = blockIdx.y; i < p.m; i += gridDim.y) {
    const float *a = p.a.data + i * p.a.stride, *b = p.b.data + j * p.b.stride;
    float sum = 0;
    for (std::int64_t k = begin + threadIdx.x; k < end; k += blockDim.x) sum += a[k] * b[k];
    sum = block_sum(sum, tiles);
    if (threadIdx.x == 0) put(target_of(p, parts), i, j, sum);
  }
}

KB_KERNEL(256)
sum_parts_kernel(Product p, Parts parts) {
  const std::int64_t at = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const std::int64_t size = p.m * p.n;
  if (at >= size) return;
  float sum = 0;
  for (std::int64_t z = 0; z < parts.count; ++z) sum += parts.sums[z * size + at];
  put({p.c, p.c_stride, p.add}, at / p.n, at % p.n, sum);
}

unsigned blocks_of(std::int64_t count, int threads) {
  return static_cast<unsigned>(ceil_divide(count, threads));
}
unsigned at_most_65535(std::int64_t count) {
  return static_cast<unsigned>(std::min<std::int64_t>(count, 65535));
}

// Only sums over rows are long enough to be cut, and theirs are the transposed b.
Parts cut(const Product& p, std::int64_t blocks, std::int64_t shortest) {
  const std::int64_t most = std::max<std::int64_t>(1, kBlocks / blocks);
  const std::int64_t count = p.b.transposed ? std::min(most, ceil_divide(p.k, shortest)) : 1;
  Parts parts;
  parts.length = round_up(ceil_divide(p.k, count), kDepth);
  parts.count = ceil_divide(p.k, parts.length);
  return parts;
}

template <bool kTensor>
void launch_tiles(const Product& p, const Parts& parts, cudaStream_t stream) {
  const Grid grid{dim3(blocks_of(p.n, kTile), at_most_65535(ceil_divide(p.m, kTile)),
                       static_cast<unsigned>(parts.count)),
                  dim3(kThreads), 2 * kDepth * kPitch * sizeof(float), stream};
  if (p.a.transposed) {
    launch(multiply_kernel<true, false, kTensor>, grid, p, parts);
  } else if (p.b.transposed) {
    launch(multiply_kernel<false, true, kTensor>, grid, p, parts);
  } else {
    launch(multiply_kernel<false, false, kTensor>, grid, p, parts);
  }
}

}  // namespace

Gemm::Gemm(Precision precision, GemmChoice choice) : precision_(precision), choice_(choice) {
  check(precision == Precision::fp32 || precision == Precision::tf32,
        "products are taken in fp32 or tf32");
  if (choice == GemmChoice::automatic && !why_no_cublas().empty()) choice_ = GemmChoice::own;
}

bool Gemm::suits_cublas(const Product& p) const {
  if (choice_ == GemmChoice::own || !Cublas::takes(p)) return false;
  return choice_ == GemmChoice::cublas ||
         p.m * p.n * p.k / std::max({p.m, p.n, p.k}) >= kCublasWeights;
}

void Gemm::multiply(const Product& product, cudaStream_t stream) {
  check(!(product.a.transposed && product.b.transposed), "a product of two transposed matrices");
  if (!suits_cublas(product)) return multiply_own(product, stream);
  if (!cublas_) cublas_ = std::make_unique<Cublas>(precision_);
  cublas_->multiply(product, stream);
}

void Gemm::multiply_own(const Product& p, cudaStream_t stream) {
  const bool dots = p.b.transposed && std::min(p.m, p.n) <= kThin;
  if (!p.b.transposed && (p.m <= 2 || p.k <= kThin)) {
    const Grid grid{dim3(blocks_of(p.n, 256), at_most_65535(p.m)), dim3(256), 0, stream};
    return launch(multiply_thin_kernel, grid, p);
  }
  Parts parts = dots ? cut(p, p.m * p.n, 4096)
                     : cut(p, ceil_divide(p.m, kTile) * ceil_divide(p.n, kTile), 256);
  // Enough for any product, so that it never moves and recorded graphs stay valid.
  if (parts.count > 1) parts.sums = parts_.reserve(kBlocks * kTile * kTile);
  if (dots) {
    const Grid grid{
        dim3(static_cast<unsigned>(p.n), at_most_65535(p.m), static_cast<unsigned>(parts.count)),
        dim3(256), 32 * sizeof(float), stream};
    launch(multiply_dots_kernel, grid, p, parts);
  } else if (precision_ == Precision::tf32) {
    launch_tiles<true>(p, parts, stream);
  } else {
    launch_tiles<false>(p, parts, stream);
  }
  if (parts.count > 1)
    launch(sum_parts_kernel, Grid{dim3(blocks_of(p.m * p.n, 256)), dim3(256), 0, stream}, p, parts);
}

}  // namespace kanbench::cuda

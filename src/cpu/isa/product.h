#pragma once
// Products of small matrices over tiles, feature-major: rows are features, columns samples. Sums
// stay in registers; every loop over a block is unrolled by force, without which the compiler
// spills them.

#include "cpu/isa/pack.h"
#include "cpu/isa/transpose.h"
#include "cpu/kernels.h"

namespace kanbench::cpu::KB_ISA {
namespace {

/// y[M][rows] += w[M][ld] x[n][rows] for one block of samples from s.
template <int M, int P>
KB_HD void product_block(const float* w, std::int64_t ld, const float* x, int n, int rows, int s,
                         float* y) {
  Pack sums[M][P];
  _Pragma("GCC unroll 16") for (int m = 0; m < M; ++m)
      _Pragma("GCC unroll 16") for (int p = 0; p < P; ++p) sums[m][p] =
          load(y + m * rows + s + p * kWidth);
  const float* column = x + s;
  for (int i = 0; i < n; ++i, column += rows) {
    Pack in[P];
    _Pragma("GCC unroll 16") for (int p = 0; p < P; ++p) in[p] = load(column + p * kWidth);
    _Pragma("GCC unroll 16") for (int m = 0; m < M; ++m) {
      const Pack weight(w[m * ld + i]);
      _Pragma("GCC unroll 16") for (int p = 0; p < P; ++p) sums[m][p] = sums[m][p] + weight * in[p];
    }
  }
  _Pragma("GCC unroll 16") for (int m = 0; m < M; ++m)
      _Pragma("GCC unroll 16") for (int p = 0; p < P; ++p)
          store(y + m * rows + s + p * kWidth, sums[m][p]);
}

/// y[out][rows] += w[out][ld] x[n][rows].
void multiply(const float* w, std::int64_t ld, const float* x, int n, int rows, float* y, int out) {
  constexpr int M = kBlockRows, P = kBlockPacks;
  for (int s = 0; s < rows; s += P * kWidth) {
    int o = 0;
    for (; o + M <= out; o += M) product_block<M, P>(w + o * ld, ld, x, n, rows, s, y + o * rows);
    for (; o < out; ++o) product_block<1, P>(w + o * ld, ld, x, n, rows, s, y + o * rows);
  }
}

/// sums[M][P] = (w[out][ld] columns k ... k + M - 1)^T dy[out][rows], samples from s.
template <int M, int P>
KB_HD void pull_block(const float* w, std::int64_t ld, const float* dy, int out, int rows, int s,
                      Pack (&sums)[M][P]) {
  _Pragma("GCC unroll 16") for (int m = 0; m < M; ++m)
      _Pragma("GCC unroll 16") for (int p = 0; p < P; ++p) sums[m][p] = Pack(0.0f);
  for (int o = 0; o < out; ++o) {
    Pack in[P];
    _Pragma("GCC unroll 16") for (int p = 0; p < P; ++p) in[p] =
        load(dy + o * rows + s + p * kWidth);
    _Pragma("GCC unroll 16") for (int m = 0; m < M; ++m) {
      const Pack weight(w[o * ld + m]);
      _Pragma("GCC unroll 16") for (int p = 0; p < P; ++p) sums[m][p] = sums[m][p] + weight * in[p];
    }
  }
}

/// dw[M][columns] += x[M][rows] dyt[rows][columns], for P packs of columns.
template <int M, int P>
KB_HD void outer_block(const float* x, const float* dyt, int columns, int rows, float* dw) {
  Pack sums[M][P];
  _Pragma("GCC unroll 16") for (int m = 0; m < M; ++m)
      _Pragma("GCC unroll 16") for (int p = 0; p < P; ++p) sums[m][p] =
          load(dw + m * columns + p * kWidth);
  for (int s = 0; s < rows; ++s) {
    Pack in[P];
    _Pragma("GCC unroll 16") for (int p = 0; p < P; ++p) in[p] =
        load(dyt + s * columns + p * kWidth);
    _Pragma("GCC unroll 16") for (int m = 0; m < M; ++m) {
      const Pack value(x[m * rows + s]);
      _Pragma("GCC unroll 16") for (int p = 0; p < P; ++p) sums[m][p] = sums[m][p] + value * in[p];
    }
  }
  _Pragma("GCC unroll 16") for (int m = 0; m < M; ++m)
      _Pragma("GCC unroll 16") for (int p = 0; p < P; ++p)
          store(dw + m * columns + p * kWidth, sums[m][p]);
}

template <int M, int P>
KB_HD void outer_rows(const float* x, int n, const float* dyt, int columns, int rows, float* dw) {
  int k = 0;
  for (; k + M <= n; k += M) outer_block<M, P>(x + k * rows, dyt, columns, rows, dw + k * columns);
  for (; k < n; ++k) outer_block<1, P>(x + k * rows, dyt, columns, rows, dw + k * columns);
}

/// dw[n][columns] += x[n][rows] dyt[rows][columns]; columns is a multiple of kMaxWidth.
void accumulate_outer(const float* x, int n, const float* dyt, int columns, int rows, float* dw) {
  constexpr int M = kBlockRows, P = kOuterPacks;
  int c = 0;
  for (; c + P * kWidth <= columns; c += P * kWidth)
    outer_rows<M * kBlockPacks / P, P>(x, n, dyt + c, columns, rows, dw + c);
  for (; c + 2 * kWidth <= columns; c += 2 * kWidth)
    outer_rows<M * kBlockPacks / 2, 2>(x, n, dyt + c, columns, rows, dw + c);
  for (; c < columns; c += kWidth) outer_rows<M, 1>(x, n, dyt + c, columns, rows, dw + c);
}

/// sums[n][kMaxWidth] += x[n][rows] * y[rows], by sample lane.
void accumulate_lanes(const float* x, int n, const float* y, int rows, float* sums) {
  for (int k = 0; k < n; ++k)
    for (int lane = 0; lane < kMaxWidth; lane += kWidth) {
      Pack total = load(sums + k * kMaxWidth + lane);
      for (int s = lane; s < rows; s += kMaxWidth)
        total = total + load(x + k * rows + s) * load(y + s);
      store(sums + k * kMaxWidth + lane, total);
    }
}

/// sums[n][kMaxWidth] += x[n][rows], by sample lane.
void accumulate_lanes(const float* x, int n, int rows, float* sums) {
  for (int k = 0; k < n; ++k)
    for (int lane = 0; lane < kMaxWidth; lane += kWidth) {
      Pack total = load(sums + k * kMaxWidth + lane);
      for (int s = lane; s < rows; s += kMaxWidth) total = total + load(x + k * rows + s);
      store(sums + k * kMaxWidth + lane, total);
    }
}

/// dyt[rows][columns] = dy[out][rows]^T, padded with zeros; rows and columns are multiples of 8.
void transpose(const float* dy, int out, int rows, int columns, float* dyt) {
  for (int o = 0; o < columns; o += 8) {
    const int there = out - o < 8 ? out - o : 8;
    for (int s = 0; s < rows; s += 8)
      transpose_square(dy + o * rows + s, rows, there, dyt + s * columns + o, columns);
  }
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

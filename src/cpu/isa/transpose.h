#pragma once
// 8 x 8 transposition in registers.

#include "cpu/isa/pack.h"

namespace kanbench::cpu::KB_ISA {
namespace {

using Eight = float __attribute__((vector_size(32)));
using LooseEight = float __attribute__((vector_size(32), aligned(4), may_alias));

/// to[j][i] = from[i][j] for an 8 x 8 square; rows of `from` at or past `there` count as zero.
KB_HD void transpose_square(const float* from, std::int64_t from_stride, int there, float* to,
                            std::int64_t to_stride) {
  Eight r[8], t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i)
    r[i] =
        i < there ? Eight(*reinterpret_cast<const LooseEight*>(from + i * from_stride)) : Eight{};
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 4) {
    r[i] = __builtin_shufflevector(t[i], t[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    r[i + 1] = __builtin_shufflevector(t[i], t[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    r[i + 2] = __builtin_shufflevector(t[i + 1], t[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    r[i + 3] = __builtin_shufflevector(t[i + 1], t[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    t[i] = __builtin_shufflevector(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    t[i + 4] = __builtin_shufflevector(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) *reinterpret_cast<LooseEight*>(to + i * to_stride) = t[i];
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

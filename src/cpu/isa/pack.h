#pragma once
// A register of floats, and what the compiler's vector types cannot say of it. With math/platform.h
// the only place where one instruction set differs from another.

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kanbench/math/platform.h"

namespace kanbench::cpu::KB_ISA {
namespace {

#if defined(__AVX512F__)
inline constexpr int kWidth = 16;
/// Registers that a block of sums may take: outputs x packs.
inline constexpr int kBlockRows = 8, kBlockPacks = 2, kOuterPacks = 4;
#elif defined(__AVX2__)
inline constexpr int kWidth = 8;
inline constexpr int kBlockRows = 4, kBlockPacks = 2, kOuterPacks = 2;
#else
inline constexpr int kWidth = 4;
inline constexpr int kBlockRows = 4, kBlockPacks = 2, kOuterPacks = 2;
#endif

using Vec = float __attribute__((vector_size(4 * kWidth)));
using LooseVec = float __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));
using Words = std::uint32_t __attribute__((vector_size(4 * kWidth)));
using LooseWords = std::uint32_t __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));
using Ints = std::int32_t __attribute__((vector_size(4 * kWidth)));

/// kWidth floats with arithmetic by lane.
struct Pack {
  Vec v;
  Pack() = default;
  KB_HD Pack(Vec x) : v(x) {}
  KB_HD Pack(float x) : v(x - Vec{}) {}
  KB_HD explicit Pack(double x) : Pack(static_cast<float>(x)) {}
  KB_HD explicit Pack(int x) : Pack(static_cast<float>(x)) {}
  friend KB_HD Pack operator+(Pack a, Pack b) { return a.v + b.v; }
  friend KB_HD Pack operator-(Pack a, Pack b) { return a.v - b.v; }
  friend KB_HD Pack operator*(Pack a, Pack b) { return a.v * b.v; }
  friend KB_HD Pack operator/(Pack a, Pack b) { return a.v / b.v; }
  friend KB_HD Pack operator-(Pack a) { return -a.v; }
};

KB_HD Pack load(const float* from) { return Vec(*reinterpret_cast<const LooseVec*>(from)); }
KB_HD void store(float* to, Pack x) { *reinterpret_cast<LooseVec*>(to) = x.v; }
KB_HD Words load_words(const std::uint32_t* from) {
  return Words(*reinterpret_cast<const LooseWords*>(from));
}
KB_HD void store_words(std::uint32_t* to, Words x) { *reinterpret_cast<LooseWords*>(to) = x; }

/// Keeps what was done to x from being folded away.
KB_HD void keep(Pack& x) {
#if defined(__aarch64__)
  asm volatile("" : "+w"(x.v));
#else
  asm volatile("" : "+v"(x.v));
#endif
}

KB_HD Pack minimum(Pack a, Pack b) { return a.v < b.v ? a.v : b.v; }
KB_HD Pack maximum(Pack a, Pack b) { return a.v > b.v ? a.v : b.v; }
KB_HD Pack max0(Pack x) { return maximum(x, Pack(0.0f)); }
KB_HD Pack step0(Pack x) { return x.v > Vec{} ? Pack(1.0f).v : Vec{}; }
/// `then` where x is not zero, else `otherwise`.
KB_HD Pack where_nonzero(Pack x, Pack then, Pack otherwise) {
  return x.v != Vec{} ? then.v : otherwise.v;
}

/// Whole part of x >= 0.
KB_HD Words truncate(Pack x) { return (Words) __builtin_convertvector(x.v, Ints); }
KB_HD Pack to_pack(Words x) { return __builtin_convertvector((Ints)x, Vec); }

/// Whether every lane is +0 or -0.
KB_HD bool all_zero(Pack x) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)x.v, _mm512_setzero_ps(), _CMP_NEQ_UQ) == 0;
#elif defined(__AVX2__)
  const __m256 zero = _mm256_setzero_ps();
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)x.v, zero, _CMP_NEQ_UQ)) == 0;
#elif defined(__SSE2__)
  return _mm_movemask_ps(_mm_cmpneq_ps((__m128)x.v, _mm_setzero_ps())) == 0;
#else
  bool zero = true;
  for (int i = 0; i < kWidth; ++i) zero &= x.v[i] == 0;
  return zero;
#endif
}

/// Sum of the lanes, always in the same order.
KB_HD float sum(Pack x) {
  float total = 0;
  for (int i = 0; i < kWidth; ++i) total += x.v[i];
  return total;
}

/// Sum of the lanes, by halves.
KB_HD float sum_halves(Pack x) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)x.v);
#elif defined(__AVX2__)
  const __m256 v = (__m256)x.v;
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
  return sum(x);
#endif
}

/// p * 2^n for whole n within what float can say.
KB_HD Pack scale_by_power(Pack p, Pack n) {
#if defined(__AVX512F__)
  return (Vec)_mm512_scalef_ps((__m512)p.v, (__m512)n.v);
#else
  const Ints bits = (__builtin_convertvector(n.v, Ints) + 127) << 23;
  return p * Pack((Vec)bits);
#endif
}

/// x = n ln 2 + r with whole n and |r| <= ln 2 / 2, after Cody and Waite.
KB_HD void reduce(Pack x, Pack& n, Pack& r) {
  const Vec magic = Pack(12582912.0f).v;
  n = (x.v * 1.44269504f + magic) - magic;
  r = (x.v - n.v * 0.693359375f) + n.v * 2.12194440e-4f;
}

/// e^x to 3e-7 for -87 < x < 88.
KB_HD Pack exp_within(Pack x) {
  Pack n, r;
  reduce(x, n, r);
  Vec p = r.v * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r.v + 8.3334519073e-3f;
  p = p * r.v + 4.1665795894e-2f;
  p = p * r.v + 1.6666665459e-1f;
  p = p * r.v + 5.0000001201e-1f;
  return scale_by_power(p * (r.v * r.v) + r.v + 1.0f, n);
}

/// 2^x to 2e-7 for -126 <= x < 127: the polynomial of degree 5 that is least far off.
KB_HD Pack exp2_within(Pack x) {
  const Vec magic = Pack(12582912.0f).v;
  const Vec n = (x.v + magic) - magic, r = x.v - n;
  Vec p = r * 1.3276472e-3f + 9.6755413e-3f;
  p = p * r + 5.5507133e-2f;
  p = p * r + 2.4022120e-1f;
  p = p * r + 6.9314697e-1f;
  return scale_by_power(p * r + 1.0f, n);
}

/// e^x and e^-x for |x| < 87: both from the even and odd parts of one series.
KB_HD void exp_both(Pack x, Pack& up, Pack& down) {
  Pack n, r;
  reduce(x, n, r);
  const Vec s = r.v * r.v;
  const Vec even = ((s * (1.0f / 720) + 1.0f / 24) * s + 0.5f) * s + 1.0f;
  const Vec odd = (((s * (1.0f / 5040) + 1.0f / 120) * s + 1.0f / 6) * s + 1.0f) * r.v;
  up = scale_by_power(even + odd, n);
  down = scale_by_power(even - odd, -n);
}

/// e^x, x held within what float can say.
KB_HD Pack exp(Pack x) { return exp_within(minimum(maximum(x, Pack(-87.3f)), Pack(88.3f))); }

KB_HD Pack sqrt(Pack x) {
#if defined(__AVX512F__)
  return (Vec)_mm512_sqrt_ps((__m512)x.v);
#elif defined(__AVX2__)
  return (Vec)_mm256_sqrt_ps((__m256)x.v);
#elif defined(__SSE2__)
  return (Vec)_mm_sqrt_ps((__m128)x.v);
#else
  Vec y = x.v;
  for (int i = 0; i < kWidth; ++i) y[i] = __builtin_sqrtf(y[i]);
  return y;
#endif
}

/// table[index] for each lane.
KB_HD Pack gather(const float* table, Words index) {
#if defined(__AVX512F__)
  return (Vec)_mm512_i32gather_ps((__m512i)index, table, 4);
#elif defined(__AVX2__)
  return (Vec)_mm256_i32gather_ps(table, (__m256i)index, 4);
#else
  Vec y;
  for (int i = 0; i < kWidth; ++i) y[i] = table[index[i]];
  return y;
#endif
}

/// a = table[2 * index], b = table[2 * index + 1] for each lane.
KB_HD void gather_pair(const float* table, Words index, Pack& a, Pack& b) {
#if defined(__AVX512F__)
  const __m512i i = (__m512i)index;
  const __m512 low = _mm512_castpd_ps(
      _mm512_i32gather_pd(_mm512_castsi512_si256(i), reinterpret_cast<const double*>(table), 8));
  const __m512 high = _mm512_castpd_ps(_mm512_i32gather_pd(
      _mm512_extracti64x4_epi64(i, 1), reinterpret_cast<const double*>(table), 8));
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  a = (Vec)_mm512_permutex2var_ps(low, even, high);
  b = (Vec)_mm512_permutex2var_ps(low, odd, high);
#elif defined(__AVX2__)
  const __m256i i = (__m256i)index;
  const __m256 low = _mm256_castpd_ps(
      _mm256_i32gather_pd(reinterpret_cast<const double*>(table), _mm256_castsi256_si128(i), 8));
  const __m256 high = _mm256_castpd_ps(_mm256_i32gather_pd(reinterpret_cast<const double*>(table),
                                                           _mm256_extracti128_si256(i, 1), 8));
  const __m256 even = _mm256_shuffle_ps(low, high, 0x88), odd = _mm256_shuffle_ps(low, high, 0xDD);
  a = (Vec)_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(even), 0xD8));
  b = (Vec)_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(odd), 0xD8));
#else
  for (int i = 0; i < kWidth; ++i) {
    a.v[i] = table[2 * index[i]];
    b.v[i] = table[2 * index[i] + 1];
  }
#endif
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

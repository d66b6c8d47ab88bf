#pragma once
// The instructions as what they mean, over the threads of tests/emulator; what each is for stands
// in kernels/device_ptx.h. Included by kernels/device.h alone.

#include <cmath>
#include <cstring>

#define KB_DEVICE inline
#define KB_KERNEL(threads) [[maybe_unused]] void
#define KB_KERNEL2(threads, blocks) [[maybe_unused]] void
/// Declares `type* name`, the block's dynamic shared memory.
#define KB_SHARED(type, name) type* name = static_cast<type*>(emulator::shared_memory())

namespace kanbench::cuda {

template <class To, class From>
KB_DEVICE To same_bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

KB_DEVICE int lane_id() { return emulator::lane(); }
template <class T>
KB_DEVICE T shuffle_xor(T value, int mask) {
  return emulator::shuffle(value, emulator::lane() ^ mask);
}
template <class T>
KB_DEVICE T shuffle(T value, int lane) {
  return emulator::shuffle(value, lane);
}
KB_DEVICE unsigned ballot(bool vote) { return emulator::ballot(vote); }
KB_DEVICE bool any(bool vote) { return emulator::ballot(vote) != 0; }
KB_DEVICE bool sync_or(bool vote) { return emulator::barrier_or(vote); }

/// Zero in place of a number too small to be normal, as .ftz instructions give.
KB_DEVICE float flush(float x) {
  return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x;
}
KB_DEVICE float exp2_approx(float x) { return flush(std::exp2(flush(x))); }
/// Rounded to 11 bits, which is about what the instruction guarantees.
KB_DEVICE float tanh_approx(float x) { return same_bits<float>(emulator::tf32_bits(std::tanh(x))); }
KB_DEVICE float sin_approx(float x) { return flush(std::sin(flush(x))); }
KB_DEVICE float cos_approx(float x) { return flush(std::cos(flush(x))); }
KB_DEVICE float reciprocal_approx(float x) { return flush(1.0f / flush(x)); }
KB_DEVICE float rsqrt_approx(float x) { return 1.0f / std::sqrt(flush(x)); }
KB_DEVICE float sqrt_approx(float x) { return std::sqrt(flush(x)); }

KB_DEVICE std::uint32_t pack_half(float low, float high) {
  return emulator::half_bits(low) | std::uint32_t{emulator::half_bits(high)} << 16;
}
KB_DEVICE float2 unpack_half(std::uint32_t pair) {
  return {emulator::half_value(static_cast<std::uint16_t>(pair)),
          emulator::half_value(static_cast<std::uint16_t>(pair >> 16))};
}
KB_DEVICE std::uint32_t pack_bfloat(float low, float high) {
  return emulator::bfloat_bits(low) | std::uint32_t{emulator::bfloat_bits(high)} << 16;
}
KB_DEVICE float2 unpack_bfloat(std::uint32_t pair) {
  return {same_bits<float>(pair << 16), same_bits<float>(pair & 0xffff0000u)};
}
KB_DEVICE std::uint32_t to_tf32(float x) { return emulator::tf32_bits(x); }

KB_DEVICE void mma_half(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                        std::uint32_t b1) {
  emulator::multiply(emulator::kHalfProduct, c, a, b0, b1);
}
KB_DEVICE void mma_bfloat(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                          std::uint32_t b1) {
  emulator::multiply(emulator::kBfloatProduct, c, a, b0, b1);
}
KB_DEVICE void mma_tf32(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                        std::uint32_t b1) {
  emulator::multiply(emulator::kTf32Product, c, a, b0, b1);
}

KB_DEVICE void load_matrix4(std::uint32_t (&r)[4], const void* row) {
  emulator::load_matrices(emulator::kLoad4, r, row);
}
KB_DEVICE void load_matrix4_transposed(std::uint32_t (&r)[4], const void* row) {
  emulator::load_matrices(emulator::kLoad4Transposed, r, row);
}
KB_DEVICE void load_matrix2(std::uint32_t (&r)[2], const void* row) {
  emulator::load_matrices(emulator::kLoad2, r, row);
}
KB_DEVICE void load_matrix2_transposed(std::uint32_t (&r)[2], const void* row) {
  emulator::load_matrices(emulator::kLoad2Transposed, r, row);
}

KB_DEVICE void copy_async16(void* shared, const void* global) {
  emulator::copy_async(shared, global);
}
KB_DEVICE void copy_async_wait() { emulator::copy_async_wait(); }

template <class V>
KB_DEVICE V load_once(const V* at) {
  static_assert(sizeof(V) == 4 || sizeof(V) == 8 || sizeof(V) == 16);
  return *emulator::global(at, sizeof(V));
}
template <class V>
KB_DEVICE V load_cached(const V* at) {
  return *emulator::global(at, sizeof(V));
}

KB_DEVICE void store_two(float2* at, float a, float b) { *emulator::global(at, 8) = float2{a, b}; }
KB_DEVICE void add1(float* at, float v) { *emulator::global(at, 4) += v; }
KB_DEVICE void add2(float* at, float2 v) {
  emulator::global(at, 8);
  at[0] += v.x;
  at[1] += v.y;
}
KB_DEVICE void add4(float* at, float4 v) {
  emulator::global(at, 16);
  at[0] += v.x;
  at[1] += v.y;
  at[2] += v.z;
  at[3] += v.w;
}
KB_DEVICE void add_half2(std::uint32_t* at, std::uint32_t v) {
  const float2 a = unpack_half(*emulator::global(at, 4)), b = unpack_half(v);
  *at = pack_half(a.x + b.x, a.y + b.y);
}
KB_DEVICE void add_bfloat2(std::uint32_t* at, std::uint32_t v) {
  const float2 a = unpack_bfloat(*emulator::global(at, 4)), b = unpack_bfloat(v);
  *at = pack_bfloat(a.x + b.x, a.y + b.y);
}
KB_DEVICE void add_half8(uint4* at, uint4 v) {
  emulator::global(at, 16);
  add_half2(&at->x, v.x);
  add_half2(&at->y, v.y);
  add_half2(&at->z, v.z);
  add_half2(&at->w, v.w);
}
KB_DEVICE void add_u64(unsigned long long* at, unsigned long long v) {
  *emulator::global(at, 8) += v;
}
KB_DEVICE void max_u32(unsigned* at, unsigned v) {
  if (*emulator::global(at, 4) < v) *at = v;
}
KB_DEVICE void or_u32(unsigned* at, unsigned v) { *emulator::global(at, 4) |= v; }

}  // namespace kanbench::cuda

#pragma once
// __half as CUDA has it.

#include "cuda_runtime.h"

struct __half_raw {
  unsigned short x;
};

struct alignas(2) __half {
  unsigned short bits;
  __half() = default;
  __half(float value) : bits(emulator::half_bits(value)) {}
  __half(double value) : __half(static_cast<float>(value)) {}
  __half(int value) : __half(static_cast<float>(value)) {}
  __half(__half_raw raw) : bits(raw.x) {}
  operator float() const { return emulator::half_value(bits); }
  operator __half_raw() const { return {bits}; }
};
using half = __half;

struct alignas(4) __half2 {
  __half x, y;
};
using half2 = __half2;

inline __half __float2half(float x) { return __half(x); }
inline __half __float2half_rn(float x) { return __half(x); }
inline __half __double2half(double x) { return __half(static_cast<float>(x)); }
inline float __half2float(__half x) { return emulator::half_value(x.bits); }
inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
inline __half2 __float22half2_rn(float2 v) { return {__half(v.x), __half(v.y)}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline float2 __half22float2(__half2 v) { return {__half2float(v.x), __half2float(v.y)}; }
inline __half2 __float2half2_rn(float x) { return {__half(x), __half(x)}; }
inline __half __low2half(__half2 v) { return v.x; }
inline __half __high2half(__half2 v) { return v.y; }
inline float __low2float(__half2 v) { return __half2float(v.x); }
inline float __high2float(__half2 v) { return __half2float(v.y); }
inline unsigned short __half_as_ushort(__half x) { return x.bits; }
inline __half __ushort_as_half(unsigned short bits) { return __half(__half_raw{bits}); }

inline __half operator+(__half a, __half b) { return __half(__half2float(a) + __half2float(b)); }
inline __half operator-(__half a, __half b) { return __half(__half2float(a) - __half2float(b)); }
inline __half operator*(__half a, __half b) { return __half(__half2float(a) * __half2float(b)); }
inline __half operator/(__half a, __half b) { return __half(__half2float(a) / __half2float(b)); }
inline __half operator-(__half a) { return __ushort_as_half(a.bits ^ 0x8000u); }
inline __half2 __hadd2(__half2 a, __half2 b) { return {a.x + b.x, a.y + b.y}; }
inline __half2 __hmul2(__half2 a, __half2 b) { return {a.x * b.x, a.y * b.y}; }
inline bool __hisnan(__half x) { return (x.bits & 0x7fffu) > 0x7c00u; }
inline int __hisinf(__half x) { return (x.bits & 0x7fffu) == 0x7c00u ? 1 : 0; }

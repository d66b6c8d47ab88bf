#pragma once
// CUDA's vector types.

namespace emulator {

template <class T, int N>
inline constexpr int kVectorAlignment = N == 2                    ? 2 * sizeof(T)
                                        : N == 4 && sizeof(T) < 8 ? 4 * sizeof(T)
                                        : N == 4                  ? 16
                                                                  : sizeof(T);

}  // namespace emulator

#define KB_EMULATED_VECTORS(type, name)                                          \
  struct name##1 {                                                               \
    type x;                                                                      \
  };                                                                             \
  struct alignas(emulator::kVectorAlignment<type, 2>) name##2 {                  \
    type x, y;                                                                   \
  };                                                                             \
  struct name##3 {                                                               \
    type x, y, z;                                                                \
  };                                                                             \
  struct alignas(emulator::kVectorAlignment<type, 4>) name##4 {                  \
    type x, y, z, w;                                                             \
  };                                                                             \
  constexpr name##1 make_##name##1(type x) { return {x}; }                       \
  constexpr name##2 make_##name##2(type x, type y) { return {x, y}; }            \
  constexpr name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; } \
  constexpr name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

KB_EMULATED_VECTORS(signed char, char)
KB_EMULATED_VECTORS(unsigned char, uchar)
KB_EMULATED_VECTORS(short, short)
KB_EMULATED_VECTORS(unsigned short, ushort)
KB_EMULATED_VECTORS(int, int)
KB_EMULATED_VECTORS(unsigned, uint)
KB_EMULATED_VECTORS(long long, longlong)
KB_EMULATED_VECTORS(unsigned long long, ulonglong)
KB_EMULATED_VECTORS(float, float)
KB_EMULATED_VECTORS(double, double)
#undef KB_EMULATED_VECTORS

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

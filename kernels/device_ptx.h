#pragma once
// The instructions as PTX; PTX manual 8.x. Included by kernels/device.h alone.

#include <cstring>

#define KB_DEVICE __device__ __forceinline__
#define KB_KERNEL(threads) __global__ void __launch_bounds__(threads)
#define KB_KERNEL2(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
/// Declares `type* name`, the block's dynamic shared memory.
#define KB_SHARED(type, name)                                      \
  extern __shared__ __align__(16) unsigned char kanbench_shared[]; \
  type* name = reinterpret_cast<type*>(kanbench_shared)

namespace kanbench::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

/// The bits of `from` as a To of the same size.
template <class To, class From>
KB_DEVICE To same_bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

KB_DEVICE int lane_id() {
  int lane;
  asm("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
}
template <class T>
KB_DEVICE T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(kAllLanes, value, mask);
}
template <class T>
KB_DEVICE T shuffle(T value, int lane) {
  return __shfl_sync(kAllLanes, value, lane);
}
KB_DEVICE unsigned ballot(bool vote) { return __ballot_sync(kAllLanes, vote); }
KB_DEVICE bool any(bool vote) { return __any_sync(kAllLanes, vote) != 0; }
/// Whether any thread of the block says so; a barrier.
KB_DEVICE bool sync_or(bool vote) { return __syncthreads_or(vote) != 0; }

KB_DEVICE float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
KB_DEVICE float tanh_approx(float x) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
/// The sine of an x between -pi and pi.
KB_DEVICE float sin_approx(float x) {
  float y;
  asm("sin.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
KB_DEVICE float cos_approx(float x) {
  float y;
  asm("cos.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
KB_DEVICE float reciprocal_approx(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
KB_DEVICE float rsqrt_approx(float x) {
  float y;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
KB_DEVICE float sqrt_approx(float x) {
  float y;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

KB_DEVICE std::uint32_t pack_half(float low, float high) {
  return same_bits<std::uint32_t>(__floats2half2_rn(low, high));
}
KB_DEVICE float2 unpack_half(std::uint32_t pair) {
  return __half22float2(same_bits<__half2>(pair));
}
KB_DEVICE std::uint32_t pack_bfloat(float low, float high) {
  return same_bits<std::uint32_t>(__floats2bfloat162_rn(low, high));
}
KB_DEVICE float2 unpack_bfloat(std::uint32_t pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}
/// Rounded to 10 bits behind the point, ties away from zero, as a float's bits.
KB_DEVICE std::uint32_t to_tf32(float x) {
  std::uint32_t y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}

/// c[16x8] += a[16x16] b[16x8]: fragments of m16n8k16, row times column.
KB_DEVICE void mma_half(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                        std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
KB_DEVICE void mma_bfloat(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                          std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// c[16x8] += a[16x8] b[8x8]: fragments of m16n8k8; the low 13 bits of a and b are not looked at.
KB_DEVICE void mma_tf32(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                        std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

KB_DEVICE unsigned shared_address(const void* shared) {
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}
/// Four 8x8 matrices of 16-bit numbers; lane l names row l % 8 of matrix l / 8, 16 bytes of shared
/// memory, and receives of each matrix the numbers 2(l % 4) and the next of row l / 4.
KB_DEVICE void load_matrix4(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
/// As load_matrix4, of the transposed matrices.
KB_DEVICE void load_matrix4_transposed(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
/// Two matrices, whose rows the lanes 0 to 15 name.
KB_DEVICE void load_matrix2(std::uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}
KB_DEVICE void load_matrix2_transposed(std::uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}

/// Begins to copy 16 bytes, both ends so aligned; there after copy_async_wait() and a barrier.
KB_DEVICE void copy_async16(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global))
               : "memory");
}
KB_DEVICE void copy_async_wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// A load of memory that nobody writes, past the first cache: 4, 8 or 16 bytes.
template <class V>
KB_DEVICE V load_once(const V* at) {
  static_assert(sizeof(V) == 4 || sizeof(V) == 8 || sizeof(V) == 16);
  const auto address = __cvta_generic_to_global(at);
  if constexpr (sizeof(V) == 4) {
    unsigned v;
    asm("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(address));
    return same_bits<V>(v);
  } else if constexpr (sizeof(V) == 8) {
    uint2 v;
    asm("ld.global.nc.L1::no_allocate.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(address));
    return same_bits<V>(v);
  } else {
    uint4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(address));
    return same_bits<V>(v);
  }
}
/// A load of memory that nobody writes, through the first cache: 1, 2, 4, 8 or 16 bytes.
template <class V>
KB_DEVICE V load_cached(const V* at) {
  if constexpr (sizeof(V) == 1)
    return same_bits<V>(__ldg(reinterpret_cast<const unsigned char*>(at)));
  else if constexpr (sizeof(V) == 2)
    return same_bits<V>(__ldg(reinterpret_cast<const unsigned short*>(at)));
  else if constexpr (sizeof(V) == 4)
    return same_bits<V>(__ldg(reinterpret_cast<const unsigned*>(at)));
  else if constexpr (sizeof(V) == 8)
    return same_bits<V>(__ldg(reinterpret_cast<const uint2*>(at)));
  else
    return same_bits<V>(__ldg(reinterpret_cast<const uint4*>(at)));
}

// Reductions: adds to global memory that return nothing and are in no order with plain loads of it.
KB_DEVICE void add1(float* at, float v) {
  asm volatile("red.relaxed.gpu.global.add.f32 [%0], %1;" ::"l"(__cvta_generic_to_global(at)),
               "f"(v));
}
KB_DEVICE void add_half2(std::uint32_t* at, std::uint32_t v) {
  asm volatile(
      "red.relaxed.gpu.global.add.noftz.f16x2 [%0], %1;" ::"l"(__cvta_generic_to_global(at)),
      "r"(v));
}
KB_DEVICE void add_u64(unsigned long long* at, unsigned long long v) {
  asm volatile("red.relaxed.gpu.global.add.u64 [%0], %1;" ::"l"(__cvta_generic_to_global(at)),
               "l"(v));
}
KB_DEVICE void max_u32(unsigned* at, unsigned v) {
  asm volatile("red.relaxed.gpu.global.max.u32 [%0], %1;" ::"l"(__cvta_generic_to_global(at)),
               "r"(v));
}
KB_DEVICE void or_u32(unsigned* at, unsigned v) {
  asm volatile("red.relaxed.gpu.global.or.b32 [%0], %1;" ::"l"(__cvta_generic_to_global(at)),
               "r"(v));
}

/// Writes two numbers at once, which a struct's assignment is not sure to do.
KB_DEVICE void store_two(float2* at, float a, float b) {
  asm volatile("st.global.v2.f32 [%0], {%1,%2};" ::"l"(__cvta_generic_to_global(at)), "f"(a), "f"(b)
               : "memory");
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
/// Two numbers, 8-byte aligned.
KB_DEVICE void add2(float* at, float2 v) {
  asm volatile(
      "red.relaxed.gpu.global.add.v2.f32 [%0], {%1,%2};" ::"l"(__cvta_generic_to_global(at)),
      "f"(v.x), "f"(v.y));
}
/// Four numbers, 16-byte aligned.
KB_DEVICE void add4(float* at, float4 v) {
  asm volatile(
      "red.relaxed.gpu.global.add.v4.f32 [%0], {%1,%2,%3,%4};" ::"l"(__cvta_generic_to_global(at)),
      "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w));
}
KB_DEVICE void add_bfloat2(std::uint32_t* at, std::uint32_t v) {
  asm volatile(
      "red.relaxed.gpu.global.add.noftz.bf16x2 [%0], %1;" ::"l"(__cvta_generic_to_global(at)),
      "r"(v));
}
/// Eight halves, 16-byte aligned.
KB_DEVICE void add_half8(uint4* at, uint4 v) {
  asm volatile("red.relaxed.gpu.global.add.noftz.v4.f16x2 [%0], {%1,%2,%3,%4};" ::"l"(
                   __cvta_generic_to_global(at)),
               "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w));
}
#else
KB_DEVICE void add2(float* at, float2 v) {
  add1(at, v.x);
  add1(at + 1, v.y);
}
KB_DEVICE void add4(float* at, float4 v) {
  add2(at, make_float2(v.x, v.y));
  add2(at + 2, make_float2(v.z, v.w));
}
/// No such instruction here: a loop of compare-and-swap.
KB_DEVICE void add_bfloat2(std::uint32_t* at, std::uint32_t v) {
  atomicAdd(reinterpret_cast<__nv_bfloat162*>(at), same_bits<__nv_bfloat162>(v));
}
KB_DEVICE void add_half8(uint4* at, uint4 v) {
  auto* pairs = reinterpret_cast<std::uint32_t*>(at);
  add_half2(pairs, v.x);
  add_half2(pairs + 1, v.y);
  add_half2(pairs + 2, v.z);
  add_half2(pairs + 3, v.w);
}
#endif

}  // namespace kanbench::cuda

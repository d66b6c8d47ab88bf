// Each instruction of kernels/device_meaning.h against plain arithmetic.

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "cuda_memory.h"
#include "kernels/device.h"

namespace kanbench::cuda::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> drawn(std::size_t count) {
  std::mt19937 engine(5);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(engine() % 2001) / 1000.0f - 1;
  return values;
}

TEST(Instructions, HalvesRoundToNearestEven) {
  const auto half = [](float x) { return pack_half(x, 0); };
  EXPECT_EQ(half(1.0f), 0x3c00u);
  EXPECT_EQ(half(-2.0f), 0xc000u);
  EXPECT_EQ(half(1.0f + 0x1p-11f), 0x3c00u) << "a tie goes to the even one";
  EXPECT_EQ(half(1.0f + 0x1p-10f + 0x1p-11f), 0x3c02u);
  EXPECT_EQ(half(1.0f + 0x1p-11f + 0x1p-20f), 0x3c01u);
  EXPECT_EQ(half(65504.0f), 0x7bffu);
  EXPECT_EQ(half(65519.9f), 0x7bffu);
  EXPECT_EQ(half(65520.0f), 0x7c00u);
  EXPECT_EQ(half(-1e30f), 0xfc00u);
  EXPECT_EQ(half(0x1p-14f), 0x0400u);
  EXPECT_EQ(half(0x1p-24f), 0x0001u);
  EXPECT_EQ(half(0x1p-25f), 0x0000u);
  EXPECT_EQ(half(0x1.8p-24f), 0x0002u);
  EXPECT_EQ(half(0x1.004p-14f), 0x0401u);
  EXPECT_EQ(half(-0.0f), 0x8000u);
  EXPECT_TRUE(std::isnan(unpack_half(half(NAN)).x));
  EXPECT_EQ(pack_half(1, -2), 0xc0003c00u);
}

TEST(Instructions, EveryHalfComesBack) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = unpack_half(bits).x;
    const int exponent = static_cast<int>(bits >> 10 & 31);
    const float mantissa = static_cast<float>(bits & 1023);
    float expected =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    if (exponent == 31) expected = mantissa == 0 ? kInfinity : NAN;
    if (bits & 0x8000u) expected = -expected;
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(value));
    } else {
      ASSERT_EQ(value, expected) << bits;
      ASSERT_EQ(pack_half(value, 0), bits);
    }
  }
}

TEST(Instructions, BfloatsRoundToNearestEvenAndTf32AwayFromZero) {
  const auto bfloat = [](float x) { return pack_bfloat(x, 0); };
  EXPECT_EQ(bfloat(1.0f), 0x3f80u);
  EXPECT_EQ(bfloat(1.0f + 0x1p-8f), 0x3f80u);
  EXPECT_EQ(bfloat(1.0f + 0x1.8p-7f), 0x3f82u);
  EXPECT_EQ(bfloat(1.0f + 0x1p-8f + 0x1p-20f), 0x3f81u);
  EXPECT_EQ(bfloat(std::numeric_limits<float>::max()), 0x7f80u);
  EXPECT_EQ(bfloat(0x1p-133f), 0x0001u);
  EXPECT_EQ(bfloat(-kInfinity), 0xff80u);
  EXPECT_TRUE(std::isnan(unpack_bfloat(bfloat(NAN)).x));
  EXPECT_EQ(unpack_bfloat(pack_bfloat(-3, 0.5f)).x, -3);
  EXPECT_EQ(unpack_bfloat(pack_bfloat(-3, 0.5f)).y, 0.5f);
  const auto tf32 = [](float x) { return std::bit_cast<float>(to_tf32(x)); };
  EXPECT_EQ(tf32(1.0f + 0x1p-11f), 1.0f + 0x1p-10f) << "a tie goes away from zero";
  EXPECT_EQ(tf32(-1.0f - 0x1p-11f), -1.0f - 0x1p-10f);
  EXPECT_EQ(tf32(1.0f + 0x1p-12f), 1.0f);
  EXPECT_EQ(tf32(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(tf32(NAN)));
}

TEST(Instructions, ApproximationsAreNear) {
  for (float x = -20; x < 20; x += 0.37f) {
    EXPECT_NEAR(exp2_approx(x), std::exp2(x), 1e-6 * std::exp2(x));
    EXPECT_NEAR(tanh_approx(x), std::tanh(x), 5e-4 * std::abs(std::tanh(x)));
    EXPECT_NEAR(reciprocal_approx(x), 1 / x, 1e-6 * std::abs(1 / x));
  }
  EXPECT_NEAR(rsqrt_approx(2), std::sqrt(0.5), 1e-6);
  EXPECT_NEAR(sqrt_approx(2), std::sqrt(2), 1e-6);
  EXPECT_EQ(exp2_approx(-130), 0) << "no subnormals";
  EXPECT_EQ(reciprocal_approx(0), kInfinity);
  EXPECT_TRUE(std::isnan(tanh_approx(NAN)));
}

KB_KERNEL(64) warp_kernel(float* sums, unsigned* votes, double* block) {
  KB_SHARED(double, room);
  const unsigned t = threadIdx.x;
  const auto value = static_cast<float>(t);
  sums[t] = warp_sum(value);
  sums[64 + t] = quad_sum(value);
  sums[128 + t] = shuffle(value, 7);
  sums[192 + t] = shuffle_xor(value, 3);
  votes[t] = ballot(lane_id() % 3 == 0);
  votes[64 + t] = any(t == 40);
  votes[128 + t] = sync_or(t == 1);
  votes[192 + t] = sync_or(false);
  const double sum = block_sum(static_cast<double>(t) * 0.5, room);
  if (t == 0) *block = sum;
}

TEST(Instructions, WarpsAndBlocksMeet) {
  OnDevice<float> sums(256);
  OnDevice<unsigned> votes(256);
  OnDevice<double> block(1);
  launch(warp_kernel, Grid{1, 64, 16}, sums.data(), votes.data(), block.data());
  const auto s = sums.read();
  const auto v = votes.read();
  for (int t = 0; t < 64; ++t) {
    EXPECT_EQ(s[t], t < 32 ? 496 : 496 + 1024);
    EXPECT_EQ(s[64 + t], 16 * (t / 4) + 6);
    EXPECT_EQ(s[128 + t], t / 32 * 32 + 7);
    EXPECT_EQ(s[192 + t], t ^ 3);
    EXPECT_EQ(v[t], 0x49249249u);
    EXPECT_EQ(v[64 + t], t < 32 ? 0u : 1u);
    EXPECT_EQ(v[128 + t], 1u);
    EXPECT_EQ(v[192 + t], 0u);
  }
  EXPECT_EQ(block.read()[0], 1008);
}

enum class Kind { half, bfloat, tf32 };

// c += a b for one warp, whose fragments are gathered as the PTX manual's tables have them.
KB_KERNEL(32) multiply_kernel(Kind kind, const float* a, const float* b, float* c) {
  const int depth = kind == Kind::tf32 ? 8 : 16, group = lane_id() / 4, t = lane_id() % 4;
  const auto pair = [&](float low, float high) {
    return kind == Kind::half ? pack_half(low, high) : pack_bfloat(low, high);
  };
  std::uint32_t fa[4], fb[2];
  for (int r = 0; r < 4; ++r) {
    const float* row = a + (group + (r % 2 ? 8 : 0)) * depth;
    const int k = t * 2 + (r >= 2 ? 8 : 0);
    fa[r] = kind == Kind::tf32 ? to_tf32(row[t + (r >= 2 ? 4 : 0)]) : pair(row[k], row[k + 1]);
  }
  for (int r = 0; r < 2; ++r) {
    const int k = t * 2 + 8 * r;
    fb[r] = kind == Kind::tf32 ? to_tf32(b[(t + 4 * r) * 8 + group])
                               : pair(b[k * 8 + group], b[(k + 1) * 8 + group]);
  }
  float fc[4];
  for (int i = 0; i < 4; ++i) fc[i] = c[(group + (i >= 2 ? 8 : 0)) * 8 + t * 2 + i % 2];
  if (kind == Kind::half) mma_half(fc, fa, fb[0], fb[1]);
  if (kind == Kind::bfloat) mma_bfloat(fc, fa, fb[0], fb[1]);
  if (kind == Kind::tf32) mma_tf32(fc, fa, fb[0], fb[1]);
  for (int i = 0; i < 4; ++i) c[(group + (i >= 2 ? 8 : 0)) * 8 + t * 2 + i % 2] = fc[i];
}

float rounded(Kind kind, float x) {
  return kind == Kind::half     ? unpack_half(pack_half(x, 0)).x
         : kind == Kind::bfloat ? unpack_bfloat(pack_bfloat(x, 0)).x
                                : std::bit_cast<float>(to_tf32(x));
}

TEST(Instructions, MatrixProductsOfFragments) {
  for (const Kind kind : {Kind::half, Kind::bfloat, Kind::tf32}) {
    const int depth = kind == Kind::tf32 ? 8 : 16;
    const std::vector<float> numbers = drawn(512);
    const OnDevice<float> a(numbers);
    const OnDevice<float> b({numbers.begin() + 256, numbers.begin() + 256 + depth * 8});
    const OnDevice<float> c(128, 0.25f);
    launch(multiply_kernel, {1, 32}, kind, a.data(), b.data(), c.data());
    const std::vector<float> product = c.read();
    for (int row = 0; row < 16; ++row)
      for (int column = 0; column < 8; ++column) {
        double expected = 0.25;
        for (int k = 0; k < depth; ++k)
          expected += double(rounded(kind, numbers[row * depth + k])) *
                      rounded(kind, numbers[256 + k * 8 + column]);
        EXPECT_NEAR(product[row * 8 + column], expected, 1e-5) << row << " " << column;
      }
  }
}

// Number i of shared memory is i; rows of matrix m begin at number 64 m.
KB_KERNEL(32) load_matrices_kernel(std::uint32_t* out) {
  KB_SHARED(std::uint16_t, numbers);
  for (int i = lane_id(); i < 256; i += 32) numbers[i] = static_cast<std::uint16_t>(i);
  __syncwarp();
  const std::uint16_t* row = numbers + 8 * lane_id();
  std::uint32_t r4[4], t4[4], r2[2], t2[2];
  load_matrix4(r4, row);
  load_matrix4_transposed(t4, row);
  // Lanes from 16 on name nothing that is looked at.
  const void* of_two = lane_id() < 16 ? row : nullptr;
  load_matrix2(r2, of_two);
  load_matrix2_transposed(t2, of_two);
  for (int m = 0; m < 4; ++m) {
    out[lane_id() * 12 + m] = r4[m];
    out[lane_id() * 12 + 4 + m] = t4[m];
  }
  for (int m = 0; m < 2; ++m) {
    out[lane_id() * 12 + 8 + m] = r2[m];
    out[lane_id() * 12 + 10 + m] = t2[m];
  }
}

TEST(Instructions, MatricesAreHandedOutByRowsAndByColumns) {
  const OnDevice<std::uint32_t> out(32 * 12);
  launch(load_matrices_kernel, Grid{1, 32, 512}, out.data());
  const auto seen = out.read();
  for (std::uint32_t lane = 0; lane < 32; ++lane)
    for (std::uint32_t m = 0; m < 4; ++m) {
      const std::uint32_t row = lane / 4, column = lane % 4 * 2;
      const std::uint32_t straight = 64 * m + 8 * row + column;
      const std::uint32_t turned = 64 * m + 8 * column + row;
      EXPECT_EQ(seen[lane * 12 + m], straight | (straight + 1) << 16);
      EXPECT_EQ(seen[lane * 12 + 4 + m], turned | (turned + 8) << 16);
      if (m >= 2) continue;
      EXPECT_EQ(seen[lane * 12 + 8 + m], straight | (straight + 1) << 16);
      EXPECT_EQ(seen[lane * 12 + 10 + m], turned | (turned + 8) << 16);
    }
}

KB_KERNEL(32) reduce_kernel(float* f, std::uint32_t* pairs, unsigned long long* sum, unsigned* u) {
  const auto t = static_cast<float>(threadIdx.x);
  add1(f, t);
  add2(f + 2, make_float2(1, t));
  add4(f + 4, make_float4(1, 2, 3, t));
  add_half2(pairs, pack_half(1, t));
  add_bfloat2(pairs + 1, pack_bfloat(1, 0.5f));
  add_half8(reinterpret_cast<uint4*>(pairs + 4),
            make_uint4(pack_half(1, 2), pack_half(3, 4), pack_half(5, 6), pack_half(7, t)));
  add_u64(sum, ~0ull - threadIdx.x);
  max_u32(u, threadIdx.x * 5 % 32);
  or_u32(u + 1, 1u << threadIdx.x % 9);
}

TEST(Instructions, Reductions) {
  const OnDevice<float> f(8);
  const OnDevice<std::uint32_t> pairs(8);
  const OnDevice<unsigned long long> sum(1);
  const OnDevice<unsigned> u(2);
  launch(reduce_kernel, {1, 32}, f.data(), pairs.data(), sum.data(), u.data());
  EXPECT_EQ(f.read(), (std::vector<float>{496, 0, 32, 496, 32, 64, 96, 496}));
  const auto p = pairs.read();
  EXPECT_EQ(p[0], pack_half(32, 496));
  EXPECT_EQ(p[1], pack_bfloat(32, 16));
  EXPECT_EQ(p[4], pack_half(32, 64));
  EXPECT_EQ(p[5], pack_half(96, 128));
  EXPECT_EQ(p[6], pack_half(160, 192));
  EXPECT_EQ(p[7], pack_half(224, 496));
  EXPECT_EQ(sum.read()[0], 0ull - 32 - 496);
  EXPECT_EQ(u.read(), (std::vector<unsigned>{31, 511}));
}

KB_KERNEL(32) copy_kernel(const float4* in, float4* out) {
  KB_SHARED(float4, staged);
  copy_async16(staged + threadIdx.x, in + threadIdx.x);
  copy_async_wait();
  __syncwarp();
  float4 v = staged[31 - threadIdx.x];
  v.x += load_once(in + threadIdx.x).y + load_once(&in[threadIdx.x].z);
  v.y += load_cached(reinterpret_cast<const float2*>(in + threadIdx.x)).x;
  out[threadIdx.x] = v;
}

TEST(Instructions, CopiesAndLoads) {
  std::vector<float4> numbers;
  for (int i = 0; i < 32; ++i) numbers.push_back(make_float4(i, i + 0.25f, 100, 3));
  const OnDevice<float4> in(numbers), out(32);
  launch(copy_kernel, Grid{1, 32, 512}, in.data(), out.data());
  const auto seen = out.read();
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(seen[i].x, 31 - i + i + 0.25f + 100);
    EXPECT_EQ(seen[i].y, 31 - i + 0.25f + i);
    EXPECT_EQ(seen[i].w, 3);
  }
}

}  // namespace
}  // namespace kanbench::cuda::test

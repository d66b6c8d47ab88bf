#pragma once
// Factors of the tensor cores' products in each reduced precision, held as mma.sync wants them.
// With g = lane / 4 and t = lane % 4, a lane holds of a 16x8 sum the numbers (g, 2t), (g, 2t + 1),
// (g + 8, 2t), (g + 8, 2t + 1): two such sums side by side are, rounded, the next product's left
// factor, so that a row's numbers never leave its lanes from layer to layer.

#include "kanbench/precision.h"
#include "kernels/device.h"

namespace kanbench::cuda {

/// 16-bit factors. `Type` says how two numbers share a register and which product takes them.
template <class Type>
struct Factor16 {
  using Element = typename Type::Element;
  /// 16 rows by 16 columns; 16 rows (the sum's index) by 8 columns.
  struct Left {
    std::uint32_t r[4];
  };
  struct Right {
    std::uint32_t r[2];
  };
  /// Numbers in a padded row of shared memory beyond its own, so that eight rows lie in different
  /// banks.
  static constexpr int kPadding = 8;
  /// Beyond it, or not a number, a gradient has overflowed.
  static constexpr float kLargest = Type::kLargest;

  /// Columns 8j + 2t and the next of row g + 8h.
  KB_DEVICE static void set(Left& left, int j, int h, float a, float b) {
    left.r[2 * j + h] = Type::pack(a, b);
  }
  KB_DEVICE static void multiply(float (&c)[4], const Left& a, const Right& b) {
    Type::multiply(c, a.r, b.r[0], b.r[1]);
  }

  // Weights lie in tiles of 8 outputs by 8 inputs; two tiles, one beside the other, hold a chunk of
  // 16 inputs for 8 outputs.

  /// Inputs to the sum: the right factors of output tiles j and j + 1.
  KB_DEVICE static void weights(const Element* tiles, Right (&b)[2]) {
    std::uint32_t r[4];
    load_matrix4(r, tiles + lane_id() * 8);
    b[0] = {{r[0], r[1]}};
    b[1] = {{r[2], r[3]}};
  }
  KB_DEVICE static void weights(const Element* tiles, Right& b) {
    load_matrix2(b.r, tiles + (lane_id() & 15) * 8);
  }
  /// Outputs to the sum: the right factors of input halves 0 and 1, over output tiles j and j + 1.
  KB_DEVICE static void weights_transposed(const Element* tiles, Right (&b)[2]) {
    std::uint32_t r[4];
    load_matrix4_transposed(r, tiles + lane_id() * 8);
    b[0] = {{r[0], r[2]}};
    b[1] = {{r[1], r[3]}};
  }
  /// Over output tile j alone; the other eight of the sum are zero.
  KB_DEVICE static void weights_transposed_single(const Element* tiles, Right (&b)[2]) {
    std::uint32_t r[2];
    load_matrix2_transposed(r, tiles + (lane_id() & 15) * 8);
    b[0] = {{r[0], 0}};
    b[1] = {{r[1], 0}};
  }

  // Rows of a batch lie in shared memory row after row, `stride` numbers apart.

  /// 16 rows by 16 columns as a left factor.
  KB_DEVICE static Left rows(const Element* at, int stride) {
    Left a;
    const int lane = lane_id();
    load_matrix4(a.r, at + (lane & 15) * stride + (lane >> 4) * 8);
    return a;
  }
  /// 16 rows by 8 columns; the other eight of the sum are zero.
  KB_DEVICE static Left rows_single(const Element* at, int stride) {
    Left a{};
    std::uint32_t r[2];
    load_matrix2(r, at + (lane_id() & 15) * stride);
    a.r[0] = r[0];
    a.r[1] = r[1];
    return a;
  }
  /// The transpose of 16 rows by 16 columns: rows to the sum.
  KB_DEVICE static Left rows_transposed(const Element* at, int stride) {
    Left a;
    const int lane = lane_id();
    load_matrix4_transposed(a.r, at + ((lane & 7) + (lane >> 4) * 8) * stride + (lane & 8));
    return a;
  }
  /// 16 rows to the sum, columns 0-7 and 8-15.
  KB_DEVICE static void rows_to_sum(const Element* at, int stride, Right (&b)[2]) {
    std::uint32_t r[4];
    const int lane = lane_id();
    load_matrix4_transposed(r, at + (lane & 15) * stride + (lane >> 4) * 8);
    b[0] = {{r[0], r[1]}};
    b[1] = {{r[2], r[3]}};
  }
  KB_DEVICE static void rows_to_sum(const Element* at, int stride, Right& b) {
    load_matrix2_transposed(b.r, at + (lane_id() & 15) * stride);
  }

  KB_DEVICE static void store_pair(Element* at, float a, float b) {
    *reinterpret_cast<std::uint32_t*>(at) = Type::pack(a, b);
  }
  KB_DEVICE static float2 load_pair(const Element* at) {
    return Type::unpack(*reinterpret_cast<const std::uint32_t*>(at));
  }
  KB_DEVICE static Element round(float x) { return Type::round(x); }
};

struct HalfType {
  using Element = Half;
  static constexpr float kLargest = 65504.0f;
  KB_DEVICE static std::uint32_t pack(float a, float b) { return pack_half(a, b); }
  KB_DEVICE static float2 unpack(std::uint32_t v) { return unpack_half(v); }
  KB_DEVICE static Half round(float x) { return __float2half_rn(x); }
  KB_DEVICE static void multiply(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                 std::uint32_t b1) {
    mma_half(c, a, b0, b1);
  }
};

struct BfloatType {
  using Element = Bfloat;
  static constexpr float kLargest = 3.38e38f;
  KB_DEVICE static std::uint32_t pack(float a, float b) { return pack_bfloat(a, b); }
  KB_DEVICE static float2 unpack(std::uint32_t v) { return unpack_bfloat(v); }
  KB_DEVICE static Bfloat round(float x) { return __float2bfloat16_rn(x); }
  KB_DEVICE static void multiply(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                 std::uint32_t b1) {
    mma_bfloat(c, a, b0, b1);
  }
};

/// TF32 factors: numbers stay float32 in memory and are rounded when they are multiplied. A product
/// of 16 inputs is two of 8, in which the sum's places t and t + 4 stand for columns 2t and 2t + 1.
struct FactorTf32 {
  using Element = float;
  struct Left {
    std::uint32_t r[2][4];
  };
  struct Right {
    std::uint32_t r[2][2];
  };
  static constexpr int kPadding = 8;
  static constexpr float kLargest = 3.4e38f;

  KB_DEVICE static void set(Left& left, int j, int h, float a, float b) {
    left.r[j][h] = to_tf32(a);
    left.r[j][2 + h] = to_tf32(b);
  }
  KB_DEVICE static void multiply(float (&c)[4], const Left& a, const Right& b) {
    for (int half = 0; half < 2; ++half) mma_tf32(c, a.r[half], b.r[half][0], b.r[half][1]);
  }

  KB_DEVICE static void weights(const float* tiles, Right& b) {
    const int g = lane_id() >> 2, t = lane_id() & 3;
    for (int half = 0; half < 2; ++half) {
      const float2 v = *reinterpret_cast<const float2*>(tiles + half * 64 + g * 8 + 2 * t);
      b.r[half][0] = to_tf32(v.x);
      b.r[half][1] = to_tf32(v.y);
    }
  }
  KB_DEVICE static void weights(const float* tiles, Right (&b)[2]) {
    weights(tiles, b[0]);
    weights(tiles + 128, b[1]);
  }
  KB_DEVICE static void weights_transposed(const float* tiles, Right (&b)[2]) {
    weights_transposed_half(tiles, b, 0);
    weights_transposed_half(tiles + 128, b, 1);
  }
  KB_DEVICE static void weights_transposed_single(const float* tiles, Right (&b)[2]) {
    weights_transposed_half(tiles, b, 0);
    for (int half = 0; half < 2; ++half) b[half].r[1][0] = b[half].r[1][1] = 0;
  }

  KB_DEVICE static Left rows(const float* at, int stride) {
    const int g = lane_id() >> 2, t = lane_id() & 3;
    Left a;
    for (int half = 0; half < 2; ++half)
      for (int k = 0; k < 4; ++k)
        a.r[half][k] = to_tf32(at[(g + (k & 1) * 8) * stride + half * 8 + 2 * t + (k >> 1)]);
    return a;
  }
  KB_DEVICE static Left rows_single(const float* at, int stride) {
    const int g = lane_id() >> 2, t = lane_id() & 3;
    Left a{};
    for (int k = 0; k < 4; ++k)
      a.r[0][k] = to_tf32(at[(g + (k & 1) * 8) * stride + 2 * t + (k >> 1)]);
    return a;
  }
  KB_DEVICE static Left rows_transposed(const float* at, int stride) {
    const int g = lane_id() >> 2, t = lane_id() & 3;
    Left a;
    for (int half = 0; half < 2; ++half)
      for (int k = 0; k < 4; ++k)
        a.r[half][k] = to_tf32(at[(half * 8 + t + (k >> 1) * 4) * stride + g + (k & 1) * 8]);
    return a;
  }
  KB_DEVICE static void rows_to_sum(const float* at, int stride, Right& b) {
    const int g = lane_id() >> 2, t = lane_id() & 3;
    for (int half = 0; half < 2; ++half)
      for (int k = 0; k < 2; ++k) b.r[half][k] = to_tf32(at[(half * 8 + t + k * 4) * stride + g]);
  }
  KB_DEVICE static void rows_to_sum(const float* at, int stride, Right (&b)[2]) {
    rows_to_sum(at, stride, b[0]);
    rows_to_sum(at + 8, stride, b[1]);
  }

  KB_DEVICE static void store_pair(float* at, float a, float b) {
    *reinterpret_cast<float2*>(at) = float2{a, b};
  }
  KB_DEVICE static float2 load_pair(const float* at) {
    return *reinterpret_cast<const float2*>(at);
  }
  KB_DEVICE static float round(float x) { return x; }

 private:
  // Outputs 2t, 2t + 1 of one tile pair, as part `part` of the sum's sixteen.
  KB_DEVICE static void weights_transposed_half(const float* tiles, Right (&b)[2], int part) {
    const int g = lane_id() >> 2, t = lane_id() & 3;
    for (int half = 0; half < 2; ++half)
      for (int k = 0; k < 2; ++k)
        b[half].r[part][k] = to_tf32(tiles[half * 64 + (2 * t + k) * 8 + g]);
  }
};

using FactorHalf = Factor16<HalfType>;
using FactorBfloat = Factor16<BfloatType>;

}  // namespace kanbench::cuda

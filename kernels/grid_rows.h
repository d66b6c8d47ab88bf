#pragma once
// What the grid's kernels have in common: their shape, and features of a batch in either layout.

#include <cstdint>

#include "kernels/grid.h"

namespace kanbench::cuda {

inline constexpr int kGridThreads = 256;

/// A thread a row, a layer of blocks for each of `layers` levels or groups of them.
inline Grid shape_grid(std::int64_t rows, std::int64_t layers, cudaStream_t stream) {
  return {
      dim3(static_cast<unsigned>(ceil_divide(rows, kGridThreads)), static_cast<unsigned>(layers)),
      dim3(kGridThreads), 0, stream};
}

/// This thread's row of the batch.
KB_DEVICE std::int64_t batch_row() { return std::int64_t{blockIdx.x} * kGridThreads + threadIdx.x; }

struct Point {
  float x, y, z;
};
KB_DEVICE Point load_point(const ConstRows& points, std::int64_t row) {
  return {load_once(points.data + row), load_once(points.data + points.stride + row),
          load_once(points.data + 2 * points.stride + row)};
}

/// Writes eight numbers, rounded to T.
template <class T>
KB_DEVICE void store_chunk(T* to, const float* chunk) {
  if constexpr (std::is_same_v<T, float>) {
    auto* vectors = reinterpret_cast<float4*>(to);
    vectors[0] = float4{chunk[0], chunk[1], chunk[2], chunk[3]};
    vectors[1] = float4{chunk[4], chunk[5], chunk[6], chunk[7]};
  } else {
    *reinterpret_cast<uint4*>(to) =
        uint4{pack_two<T>(chunk[0], chunk[1]), pack_two<T>(chunk[2], chunk[3]),
              pack_two<T>(chunk[4], chunk[5]), pack_two<T>(chunk[6], chunk[7])};
  }
}

/// Features of a batch, number by number; see FeatureRows.
template <class T, bool kChunked>
struct RowsAt {
  static constexpr bool chunked = kChunked;
  T* data;
  std::int64_t stride;

  KB_DEVICE T* at(int j, std::int64_t row) const {
    const auto number = static_cast<std::uint32_t>(j);
    return data + (kChunked ? (number / 8 * stride + row) * 8 + number % 8 : number * stride + row);
  }
  KB_DEVICE float get(int j, std::int64_t row) const {
    float number[1];
    load_row(at(j, row), number);
    return number[0];
  }
  KB_DEVICE void set(int j, std::int64_t row, float number) const {
    if constexpr (std::is_same_v<T, float>)
      *at(j, row) = number;
    else
      *reinterpret_cast<std::uint16_t*>(at(j, row)) =
          static_cast<std::uint16_t>(pack_two<T>(number, 0.0f));
  }
};

/// Whether both are kept in the same type.
inline bool same_element(Precision a, Precision b) {
  const auto plain = [](Precision p) { return p == Precision::tf32 ? Precision::fp32 : p; };
  return plain(a) == plain(b);
}

/// Calls work with a number of the type that `precision` is kept in.
template <class Work>
void visit_element(Precision precision, Work&& work) {
  if (precision == Precision::fp16)
    work(Half{});
  else if (precision == Precision::bf16)
    work(Bfloat{});
  else
    work(float{});
}

}  // namespace kanbench::cuda

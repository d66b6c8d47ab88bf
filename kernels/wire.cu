// Gradients to halves and back, a thread two numbers.

#include <algorithm>
#include <bit>

#include "kanbench/math/wire.h"
#include "kernels/device.h"
#include "kernels/wire.h"

namespace kanbench::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kMostBlocks = 1024;
constexpr std::uint32_t kInfinity = 0x7f800000u;

KB_KERNEL(kThreads)
find_magnitude_kernel(const float* numbers, std::int64_t count, std::uint32_t* largest) {
  std::uint32_t most = 0;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * kThreads) {
    const std::uint32_t bits = same_bits<std::uint32_t>(numbers[i]) & 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  for (int mask = 16; mask > 0; mask >>= 1) {
    const std::uint32_t other = shuffle_xor(most, mask);
    most = other > most ? other : most;
  }
  if (lane_id() == 0 && most > 0) max_u32(largest, most);
}

KB_KERNEL(kThreads)
pack_wire_kernel(const float* numbers, std::int64_t count, const std::uint32_t* largest,
                 int rank_bits, __half* wire) {
  const std::int64_t i = 2 * (std::int64_t{blockIdx.x} * kThreads + threadIdx.x);
  if (i >= count) return;
  const int exponent = wire_exponent(*largest, rank_bits);
  const float first = ldexpf(numbers[i], exponent);
  const float second = i + 1 < count ? ldexpf(numbers[i + 1], exponent) : 0.0f;
  const std::uint32_t pair = pack_half(first, second);
  if (i + 1 < count)
    *reinterpret_cast<std::uint32_t*>(wire + i) = pair;
  else
    *reinterpret_cast<std::uint16_t*>(wire + i) = static_cast<std::uint16_t>(pair);
}

KB_KERNEL(kThreads)
unpack_wire_kernel(const __half* wire, std::int64_t count, const std::uint32_t* largest,
                   int rank_bits, float* numbers) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  numbers[i] = *largest >= kInfinity
                   ? same_bits<float>(0x7fc00000u)
                   : ldexpf(__half2float(wire[i]), -wire_exponent(*largest, rank_bits));
}

int rank_bits(int ranks) { return std::bit_width(static_cast<unsigned>(ranks - 1)); }

Grid shape_threads(std::int64_t count, cudaStream_t stream) {
  return {dim3(static_cast<unsigned>(ceil_divide(count, kThreads))), dim3(kThreads), 0, stream};
}

}  // namespace

void find_magnitude(const float* numbers, std::int64_t count, std::uint32_t* largest,
                    cudaStream_t stream) {
  checked(cudaMemsetAsync(largest, 0, sizeof *largest, stream));
  if (count == 0) return;
  Grid grid = shape_threads(count, stream);
  grid.blocks = dim3(static_cast<unsigned>(std::min(ceil_divide(count, kThreads), kMostBlocks)));
  launch(find_magnitude_kernel, grid, numbers, count, largest);
}

void pack_wire(const float* numbers, std::int64_t count, const std::uint32_t* largest, int ranks,
               __half* wire, cudaStream_t stream) {
  if (count > 0)
    launch(pack_wire_kernel, shape_threads(ceil_divide(count, 2), stream), numbers, count, largest,
           rank_bits(ranks), wire);
}

void unpack_wire(const __half* wire, std::int64_t count, const std::uint32_t* largest, int ranks,
                 float* numbers, cudaStream_t stream) {
  if (count > 0)
    launch(unpack_wire_kernel, shape_threads(count, stream), wire, count, largest, rank_bits(ranks),
           numbers);
}

}  // namespace kanbench::cuda

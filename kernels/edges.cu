// The gradient of what a decoder's edges cost: a kernel for a layer's sums, and one that adds to
// the gradient, each block of which adds up the first one's sums in the same order.

#include <algorithm>

#include "kernels/device.h"
#include "kernels/edges.h"

namespace kanbench::cuda {
namespace {

constexpr int kThreads = 256;
// Blocks of a layer at most.
constexpr std::int64_t kBlocks = 128;

}  // namespace

/// A layer's weights: `edges` of `count` coefficients each.
struct EdgeArguments {
  EdgePenalty penalty;
  const float* weight = nullptr;
  float* gradient = nullptr;
  std::int64_t edges = 0;
  int count = 1;
  /// Of each block of the first kernel.
  EdgeSums* sums = nullptr;
  int blocks = 0;
};

KB_KERNEL(kThreads) edge_sums_kernel(EdgeArguments a) {
  KB_SHARED(double, room);
  double sizes = 0, logs = 0;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < a.edges;
       i += std::int64_t{gridDim.x} * kThreads) {
    const double size = edge_size(a.weight + i * a.count, a.count);
    sizes += size;
    if (a.penalty.entropy != 0) logs += size * log(size);
  }
  sizes = block_sum(sizes, room);
  logs = block_sum(logs, room);
  if (threadIdx.x == 0) a.sums[blockIdx.x] = {sizes, logs};
}

KB_KERNEL(kThreads) edge_gradient_kernel(EdgeArguments a) {
  EdgeSums all;
  for (int b = 0; b < a.blocks; ++b) {
    all.sizes += a.sums[b].sizes;
    all.logs += a.sums[b].logs;
  }
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < a.edges;
       i += std::int64_t{gridDim.x} * kThreads)
    add_edge_slope(a.penalty, all, a.weight + i * a.count, a.count, a.gradient + i * a.count);
}

std::int64_t edge_room(std::size_t layers) {
  return static_cast<std::int64_t>(layers) * 2 * kBlocks;
}

void add_edge_gradient(const ModelSpec& spec, const Layout& layout, const EdgePenalty& penalty,
                       const float* parameters, float* gradient, double* room,
                       cudaStream_t stream) {
  static_assert(sizeof(EdgeSums) == 2 * sizeof(double));
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    const Layer& layer = spec.layers[l];
    EdgeArguments a;
    a.penalty = penalty;
    a.weight = parameters + layout.layers[l].weight;
    a.gradient = gradient + layout.layers[l].weight;
    a.edges = std::int64_t{layer.out} * layer.in;
    a.count = size(layer.basis);
    a.sums = reinterpret_cast<EdgeSums*>(room + static_cast<std::int64_t>(l) * 2 * kBlocks);
    a.blocks = static_cast<int>(std::min(ceil_divide(a.edges, kThreads), kBlocks));
    const Grid grid{dim3(static_cast<unsigned>(a.blocks)), dim3(kThreads), 32 * sizeof(double),
                    stream};
    launch(edge_sums_kernel, grid, a);
    launch(edge_gradient_kernel, grid, a);
  }
}

}  // namespace kanbench::cuda

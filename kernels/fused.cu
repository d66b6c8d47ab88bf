// Launching the fused decoders, packing their weights and summing their gradients.

#include <algorithm>

#include "kanbench/error.h"
#include "kernels/fused.h"
#include "kernels/fused_kernels.h"

namespace kanbench::cuda {
namespace {

FusedKernels find_kernels(const FusedPlan& plan) {
  if (plan.kind == ExpansionKind::basis) return fused_basis_half(plan.width);
  const bool mlp = plan.kind == ExpansionKind::rectifier;
  switch (plan.precision) {
    case Precision::fp16:
      return mlp ? fused_mlp_half(plan.width) : fused_fastkan_half(plan.width);
    case Precision::bf16:
      return mlp ? fused_mlp_bfloat(plan.width) : fused_fastkan_bfloat(plan.width);
    default:
      return mlp ? fused_mlp_tf32(plan.width) : fused_fastkan_tf32(plan.width);
  }
}

FusedKernel find_kernel(const FusedPlan& plan, FusedMode mode) {
  const FusedKernels kernels = find_kernels(plan);
  return mode == FusedMode::predict ? kernels.predict
         : mode == FusedMode::train ? kernels.train
                                    : kernels.whole;
}

}  // namespace

bool has_fused(const FusedPlan& plan, FusedMode mode) { return find_kernel(plan, mode) != nullptr; }

int fused_blocks(const FusedPlan& plan, const FusedShape& shape, FusedMode mode) {
  return resident_blocks(find_kernel(plan, mode), shape.warps * 32,
                         static_cast<std::size_t>(shape.bytes));
}

int launch_fused(const FusedPlan& plan, const FusedShape& shape, FusedMode mode,
                 const FusedArguments& arguments, int most_blocks, cudaStream_t stream) {
  const bool lattice = mode == FusedMode::predict && arguments.output.lattice_size.x != 0;
  const std::int64_t tiles = lattice ? BrickGrid(arguments.output.box, shape.rows()).bricks()
                                     : ceil_divide(arguments.rows, shape.rows());
  if (tiles == 0) return 0;
  const int blocks = static_cast<int>(std::min<std::int64_t>(tiles, most_blocks));
  launch(find_kernel(plan, mode),
         Grid{dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(shape.warps) * 32),
              static_cast<std::size_t>(shape.bytes), stream},
         plan, shape, arguments);
  return blocks;
}

namespace {

constexpr int kThreads = 256;

// Where weight (input, function) -> output of a layer lies in the block of parameters; -1 for
// padding.
KB_DEVICE std::int64_t find_weight(const FusedLayer& layer, int functions, int input, int function,
                                   int output) {
  if (input >= layer.in || output >= layer.out) return -1;
  const std::int64_t edge = std::int64_t{output} * layer.in + input;
  if (layer.base && function == functions - 1) return layer.at.base_weight + edge;
  return function < layer.size ? layer.at.weight + edge * layer.size + function : -1;
}

KB_DEVICE int find_layer(const FusedPlan& plan, std::int64_t i) {
  int l = 0;
  while (l + 1 < plan.count && i >= plan.layers[l + 1].weights) ++l;
  return l;
}

// Where inner parameter `i` of all lies, and what it is where it is not learned or of no input.
KB_DEVICE std::int64_t find_inner(const FusedPlan& plan, std::int64_t i, float& otherwise) {
  int l = 0;
  while (l + 1 < plan.count && i >= plan.expansions[l + 1].inner_at) ++l;
  const FusedExpansion& own = plan.expansions[l];
  const int place = static_cast<int>(i) - own.inner_at, p = place % own.inner;
  visit(own.basis, [&]<class B>(const B& basis) {
    if constexpr (kHasInner<B>) otherwise = basis.start(p);
  });
  const bool real = own.learned && (!own.by_input || place / own.inner < plan.layers[l].in);
  return real ? plan.layers[l].at.inner + place : -1;
}

// Where vector number `i` lies, and what it is where the layer has none.
KB_DEVICE std::int64_t find_vector(const FusedPlan& plan, std::int64_t i, float& otherwise) {
  if (i >= plan.inner_begin()) return find_inner(plan, i - plan.inner_begin(), otherwise);
  const int l = static_cast<int>(i / (3 * plan.width)), place = static_cast<int>(i % plan.width);
  const int part = static_cast<int>(i / plan.width % 3);
  const FusedLayer& layer = plan.layers[l];
  otherwise = part == 1 ? 1.0f : 0.0f;
  if (part == 0) return layer.bias && place < layer.out ? layer.at.bias + place : -1;
  if (!layer.norm || place >= layer.in) return -1;
  return (part == 1 ? layer.at.norm_weight : layer.at.norm_bias) + place;
}

template <class F>
KB_KERNEL(kThreads)
pack_weights_kernel(FusedPlan plan, const float* parameters, void* packed, float* vectors) {
  auto* weights = static_cast<typename F::Element*>(packed);
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= plan.weights + plan.vectors) return;
  if (i >= plan.weights) {
    float otherwise;
    const std::int64_t at = find_vector(plan, i - plan.weights, otherwise);
    vectors[i - plan.weights] = at < 0 ? otherwise : parameters[at];
    return;
  }
  const int l = find_layer(plan, i), functions = plan.expansions[l].functions;
  const FusedLayer& layer = plan.layers[l];
  const int place = static_cast<int>(i - layer.weights);
  const int column = place % 8, row = place / 8 % 8, half = place / 64 % 2;
  const int tile = place / 128 % layer.out_tiles, expanded = place / 128 / layer.out_tiles;
  const int input = expanded / functions * 16 + half * 8 + column;
  const std::int64_t at =
      find_weight(layer, functions, input, expanded % functions, tile * 8 + row);
  weights[i] = F::round(at < 0 ? 0.0f : parameters[at]);
}

// Partial sums of one number are added by so many threads, each every so many blocks.
constexpr int kParts = 8;

// Where partial sum `i` belongs in the block of parameters; -1 for padding.
KB_DEVICE std::int64_t find_partial(const FusedPlan& plan, std::int64_t i) {
  if (i >= plan.weights) {
    float otherwise;
    return find_vector(plan, i - plan.weights, otherwise);
  }
  const int l = find_layer(plan, i), functions = plan.expansions[l].functions;
  const FusedLayer& layer = plan.layers[l];
  const int place = static_cast<int>(i - layer.weights), outs = layer.out_tiles * 8;
  const int tile = place / (outs * 16);
  return find_weight(layer, functions, tile / functions * 16 + place / outs % 16, tile % functions,
                     place % outs);
}

KB_KERNEL(kThreads)
reduce_partials_kernel(FusedPlan plan, int warps, int blocks, const float* partials,
                       float* gradient, StepState* state) {
  KB_SHARED(float, sums);
  constexpr int kNumbers = kThreads / kParts;
  const int number = static_cast<int>(threadIdx.x) % kNumbers;
  const int part = static_cast<int>(threadIdx.x) / kNumbers;
  const std::int64_t i = std::int64_t{blockIdx.x} * kNumbers + number;
  const std::int64_t at = i < plan.weights + plan.vectors ? find_partial(plan, i) : -1;
  const std::int64_t stride = plan.partials(warps);
  float sum = 0;
  if (at >= 0) {
    const int copies = i < plan.weights ? 1 : warps;
    for (int b = part; b < blocks; b += kParts)
      for (int w = 0; w < copies; ++w) sum += partials[b * stride + w * plan.vectors + i];
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (part != 0 || at < 0) return;
  for (int p = 1; p < kParts; ++p) sum += sums[p * kNumbers + number];
  if (!(fabsf(sum) <= 3.4e38f)) or_u32(&state->overflow, 1);
  gradient[at] += sum / state->loss_scale;
}

unsigned blocks_for(std::int64_t count) {
  return static_cast<unsigned>(ceil_divide(count, kThreads));
}

}  // namespace

void pack_fused(const FusedPlan& plan, const float* parameters, void* weights, float* vectors,
                cudaStream_t stream) {
  const Grid grid{dim3(blocks_for(plan.weights + plan.vectors)), dim3(kThreads), 0, stream};
  switch (plan.precision) {
    case Precision::fp16:
      return launch(pack_weights_kernel<FactorHalf>, grid, plan, parameters, weights, vectors);
    case Precision::bf16:
      return launch(pack_weights_kernel<FactorBfloat>, grid, plan, parameters, weights, vectors);
    default:
      return launch(pack_weights_kernel<FactorTf32>, grid, plan, parameters, weights, vectors);
  }
}

void reduce_fused(const FusedPlan& plan, const FusedShape& shape, int blocks, const float* partials,
                  float* gradient, StepState* state, cudaStream_t stream) {
  launch(reduce_partials_kernel,
         Grid{dim3(blocks_for((plan.weights + plan.vectors) * kParts)), dim3(kThreads),
              kThreads * sizeof(float), stream},
         plan, shape.warps, blocks, partials, gradient, state);
}

}  // namespace kanbench::cuda

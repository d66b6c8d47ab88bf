#pragma once
// Decoders that go through all layers, the loss and back in one kernel: which ones can, how their
// parameters are packed for it, and how a block's shared memory is shared out.

#include <cstdint>
#include <optional>

#include "kanbench/backend.h"
#include "kanbench/math/loss.h"
#include "kernels/grid.h"
#include "kernels/packed_basis.h"
#include "kernels/quantise.h"
#include "kernels/sample.h"
#include "kernels/step.h"

namespace kanbench::cuda {

/// Hidden layers and the last.
inline constexpr int kMostFusedLayers = 9;

/// Most coefficients an input has where its basis is known at run time only.
inline constexpr int kMostCoefficients = 12;
/// Bernstein's degree at most, as its polynomials are all at hand at once.
inline constexpr int kMostFusedBernstein = 7;
/// Inner parameters that a layer learns as its own at most: they are differentiated one by one.
inline constexpr int kMostLayerInner = 10;

/// What each input becomes: see expansion.h, and fused_basis.h for what is neither.
enum class ExpansionKind { rectifier, gaussians, basis };

/// One layer as the fused kernels see it: inputs in chunks of 16, outputs in tiles of 8.
struct FusedLayer {
  int in = 0, out = 0;
  int chunks = 0, out_tiles = 0;
  /// Coefficients an input has in the model; fewer than the kernel's where those are padded.
  int size = 1;
  bool norm = false, base = false, bias = false, identity = false;
  float inverse_spacing = 1, shift = 0;
  /// Where its tiles begin among the packed weights, and its sums in a block's partial sums.
  std::int64_t weights = 0;
  /// Where its tensors lie in the block of parameters.
  LayerOffsets at;
};

/// What a layer's inputs become.
struct FusedExpansion {
  /// How many numbers each; the last is the base branch's, where the layer has one.
  int functions = 1;
  // What follows is of ExpansionKind::basis.
  PackedBasis basis;
  Activation activation = Activation::none, base_activation = Activation::silu;
  bool base_normalised = false;
  /// Inner parameters that the kernels read, 0 where a basis' functions stand for themselves;
  /// whether they are learned, and each input's own; where they begin among the plan's.
  int inner = 0, inner_at = 0;
  bool learned = false, by_input = false;
};

struct FusedPlan {
  ExpansionKind kind = ExpansionKind::rectifier;
  Precision precision = Precision::fp16;
  /// Widths of hidden layers as the kernel has them: 16, 32, 64 or 128.
  int width = 16;
  int count = 0;
  FusedLayer layers[kMostFusedLayers];
  /// Packed numbers: all tiles; bias, norm weight and norm bias of every layer, `width` each, and
  /// for any basis the inner parameters that are read, of a layer or of all its inputs.
  std::int64_t weights = 0, vectors = 0;
  OutputActivation output = OutputActivation::none;
  FusedExpansion expansions[kMostFusedLayers];
  /// The most functions of any layer, and chunks of 16 inputs whose functions are in hand at once.
  int functions = 1, round = 1;

  /// Where the vectors' inner parameters begin.
  KB_HD std::int64_t inner_begin() const { return std::int64_t{3} * width * count; }
  KB_HD std::int64_t element_bytes() const { return precision == Precision::tf32 ? 4 : 2; }
  /// A block's partial sums: of all tiles, then of each warp's vectors.
  KB_HD std::int64_t partials(int warps) const { return weights + warps * vectors; }
};

/// The plan for `spec`, or none: one to eight hidden layers of equally many neurons, one output, no
/// norm before the first layer, no inner parameter learned but those of kFusedInner by layer
/// and of kFusedByInput by input, no edges and no base branch past a layer. An MLP has up to 128
/// neurons, a FastKAN of up to eight Gaussians exactly 16, 32, 64 or 128 (in TF32 up to 64). All
/// other bases, of up to kMostCoefficients (bernstein of degree up to 7), and activations but prelu
/// go in fp16 and up to 64 neurons, exactly 16, 32 or 64 where there is a norm.
std::optional<FusedPlan> plan_fused(const ModelSpec& spec, const Layout& layout,
                                    Precision precision);

/// How a kernel is launched: its block, and where things lie in it.
struct FusedShape {
  int warps = 0, rows_a_warp = 16;
  /// All weights stay in shared memory; else one round of a layer is brought in at a time.
  bool resident = true;
  /// Bytes from the block's start.
  int vectors = 0, weights = 0, phi = 0, dy = 0, saved = 0, statistics = 0, features = 0;
  int bytes = 0;
  /// Where slopes of expansions begin, and numbers in a row of `phi` and of them, where that is
  /// known at run time only.
  int slopes = 0, phi_stride = 0, slope_stride = 0;
  KB_HD int rows() const { return warps * rows_a_warp; }
};

/// What the kernels can do: decode; train on features that are there; draw, encode, train and
/// scatter in one.
enum class FusedMode { predict, train, train_whole };

/// Rows that a warp takes at a time.
int fused_rows_a_warp(const FusedPlan& plan);

/// The largest block that fits `shared_bytes`, weights resident if they can be beside at least four
/// warps; no warps where even one does not fit. `feature_chunks` (of eight, even) is 0 where
/// features are not made in the kernel.
FusedShape shape_fused(const FusedPlan& plan, FusedMode mode, int feature_chunks,
                       std::int64_t shared_bytes);

/// Where predictions are wanted and go: rows of points, or a lattice's voxels brick by brick.
struct FusedOutput {
  ConstRows points;
  float* values = nullptr;
  /// Where `lattice_size.x` is not 0, the lattice instead.
  Shape lattice_size;
  Box box;
  Decoded decoded;
};

/// What one launch works on; each mode reads its own part.
struct FusedArguments {
  const void* weights = nullptr;
  const float* vectors = nullptr;
  std::int64_t rows = 0;
  /// Where there are no features, the encoder whose features the kernel makes itself.
  GridInfo grid;
  const void* table = nullptr;
  /// Chunked as FeatureRows are, and their gradient.
  const void* features = nullptr;
  void* dfeatures = nullptr;
  std::int64_t stride = 0;
  // predict
  FusedOutput output;
  // train
  const float* targets = nullptr;
  // train_whole
  DrawArguments draw;
  float* gradient = nullptr;
  // both
  float* partials = nullptr;
  double* sums = nullptr;
  StepState* state = nullptr;
  PlainLoss loss;
  float scale = 1;
};

/// Whether there is a kernel for the mode.
bool has_fused(const FusedPlan& plan, FusedMode mode);

/// Blocks that a multiprocessor holds at once.
int fused_blocks(const FusedPlan& plan, const FusedShape& shape, FusedMode mode);

/// Launches the kernel; returns how many blocks it had. `partials` and `sums` have room for
/// plan.partials(shape.warps) floats and two doubles for each of `most_blocks`.
int launch_fused(const FusedPlan& plan, const FusedShape& shape, FusedMode mode,
                 const FusedArguments& arguments, int most_blocks, cudaStream_t stream);

/// Packs `parameters` into tiles and vectors.
void pack_fused(const FusedPlan& plan, const float* parameters, void* weights, float* vectors,
                cudaStream_t stream);

/// Adds the blocks' partial sums, in order and divided by the loss scale, to the gradient. Flags in
/// `state` one that is not finite.
void reduce_fused(const FusedPlan& plan, const FusedShape& shape, int blocks, const float* partials,
                  float* gradient, StepState* state, cudaStream_t stream);

}  // namespace kanbench::cuda

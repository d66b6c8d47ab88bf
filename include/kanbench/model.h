#pragma once
// A neural field: an encoder, a chain of layers, and one flat block of parameters.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kanbench/buffer.h"
#include "kanbench/math/encoder.h"
#include "kanbench/math/layer.h"
#include "kanbench/precision.h"
#include "kanbench/range.h"

namespace kanbench {

/// What the decoder's last numbers go through.
enum class OutputActivation { none, sigmoid, relu };

/// "None", "Sigmoid" or "ReLU".
const char* name(OutputActivation activation);

/// A tensor within the block of parameters, row-major [rows][columns]; columns 0 means a vector.
struct Slice {
  std::string name;
  std::int64_t offset = 0;
  std::int64_t rows = 0, columns = 0;
  bool encoder = false;
  /// Kept as floats in files whatever tolerance they have.
  bool exact = false;
  std::int64_t size() const { return columns ? rows * columns : rows; }
};

/// Where a layer's tensors start in the block; -1 where the layer has none.
struct LayerOffsets {
  std::int64_t weight = -1, base_weight = -1, bias = -1, norm_weight = -1, norm_bias = -1;
  std::int64_t activation_share = -1, inner = -1, edge_scale = -1, edge_shift = -1;
};

/// The architecture, without parameters.
struct ModelSpec {
  /// The decoder's name: "mlp", "fastkan", ...
  std::string network_type = "mlp";
  Encoder encoder;
  std::vector<Layer> layers;
  OutputActivation output = OutputActivation::none;
  /// Numbers that it gives at a point.
  int outputs() const { return layers.empty() ? 1 : layers.back().out; }
};

/// How a spec's parameters lie in the block: the encoder's levels, finest last, the transforms of
/// grids that move, then the layers' tensors, each from a multiple of 16 floats; the gaps are zero.
struct Layout {
  std::vector<Slice> slices;
  /// In the order of the decoder's input.
  std::vector<Level> levels;
  /// Which of the levels have a table: in the slices' order, so that tables[i] has slices[i].
  std::vector<int> tables;
  /// The slice of an adaptive encoder's transforms, a row a grid, and the first of the tables of
  /// its grids; -1 where the encoder has none. The reconstruction's gradient there is zero, and
  /// Backend::update() leaves them as they are.
  int transforms = -1, first_grid = -1;
  std::vector<LayerOffsets> layers;
  /// Floats in the block; the decoder's part is from decoder_begin to the end.
  std::int64_t size = 0, decoder_begin = 0;
  /// Parameters without the gaps.
  std::int64_t parameters = 0;
};

/// The layout of `spec`. Throws Error for more than
/// 2^60 parameters, for a level with more than 2^30 of them, and for one that is finer than float32
/// can place points in; `source` is what the message begins with.
Layout make_layout(const ModelSpec& spec, const std::string& source = "");

/// The level that has layout.slices[table].
inline const Level& table_level(const Layout& layout, std::size_t table) {
  return layout.levels[static_cast<std::size_t>(layout.tables[table])];
}

/// The level's geometry, where a grid that moves lies as the parameters `block` say.
Geometry placed(const Layout& layout, const Level& level, const float* block);

/// The encoder's adaptive part; null where it has none.
const encoder::AdaptiveMultiGrid* adaptive_grids(const Encoder& encoder);

/// Where the tables end in the block: at the decoder, or at the transforms before it.
inline std::int64_t tables_end(const Layout& layout) {
  return layout.transforms < 0 ? layout.decoder_begin
                               : layout.slices[static_cast<std::size_t>(layout.transforms)].offset;
}

/// The layer's parameters (or gradients) within a block.
template <class T>
LayerParameters<T> bind(const LayerOffsets& at, T* block) {
  const auto place = [&](std::int64_t offset) { return offset < 0 ? nullptr : block + offset; };
  return {place(at.weight),      place(at.base_weight), place(at.bias),
          place(at.norm_weight), place(at.norm_bias),   place(at.activation_share),
          place(at.inner),       place(at.edge_scale),  place(at.edge_shift)};
}

/// Parameters in a backend's memory, and when it trains their gradient and the optimizer's moments.
class Model {
 public:
  /// All parameters zero. `precision` is one of backend.precisions(spec).
  Model(Backend& backend, ModelSpec spec, Precision precision = Precision::fp32);

  const ModelSpec& spec() const { return spec_; }
  const Layout& layout() const { return layout_; }
  Backend& backend() const { return *backend_; }
  Precision precision() const { return precision_; }

  /// The blocks, layout().size floats each; the moments only those of share(). The last three are
  /// empty before train().
  const Buffer<float>& parameters() const { return parameters_; }
  const Buffer<float>& gradient() const { return gradient_; }
  const Buffer<float>& first_moment() const { return first_moment_; }
  const Buffer<float>& second_moment() const { return second_moment_; }

  /// Makes room for training: gradient and moments, all zero.
  void train() { train({0, layout_.size}); }
  /// The same, to update only the floats of `share`, which begins and ends at multiples of 16:
  /// moment i is that of float share.begin + i.
  void train(Range share);
  Range share() const { return share_; }
  bool training() const { return gradient_.size() != 0; }

  /// The block of parameters on the host, and back.
  std::vector<float> download() const;
  void upload(const std::vector<float>& block);

  /// Whatever the backend keeps beside the parameters (touched entries, packed copies).
  std::shared_ptr<void> cache;

 private:
  Backend* backend_;
  ModelSpec spec_;
  Precision precision_;
  Layout layout_;
  Range share_;
  Buffer<float> parameters_, gradient_, first_moment_, second_moment_;
};

/// How one layer's numbers are drawn: weights uniform in +-weight or, where `normal`, with it as
/// their standard deviation; the base branch and the bias uniform in +-base and +-bias.
struct LayerDraw {
  bool normal = false;
  double weight = 0, base = 0, bias = 0;
};

/// How parameters are drawn at the start of training.
struct Initialisation {
  /// The table is uniform in +-table.
  double table = 1e-4;
  /// Standard deviation of a basis' weights where it has several an input.
  double spline_std = 0.1;
  /// Linear weights (MLP, base branch and its bias) are uniform in +-linear_gain / sqrt(in).
  double linear_gain = 1;
  /// Each layer's own, in place of the last two; empty, or one for every layer.
  std::vector<LayerDraw> layers = {};
};

/// Draws the parameters of `spec` as `init` says; norms start at weight 1 and bias 0,
/// inner parameters where their basis says, edges at scale 1 and shift 0. The same seed
/// gives the same numbers for any thread count.
std::vector<float> draw_parameters(const ModelSpec& spec, const Initialisation& init,
                                   std::uint64_t seed);

}  // namespace kanbench

#include "kanbench/model.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <variant>

#include "kanbench/backend.h"
#include "kanbench/error.h"
#include "kanbench/geometry.h"
#include "kanbench/math/random.h"
#include "kanbench/parallel.h"

namespace kanbench {
namespace {

constexpr std::int64_t kAlignment = 16;
constexpr std::int64_t kMaxFloats = std::int64_t{1} << 60;

std::int64_t append(Layout& layout, std::string name, std::int64_t rows, std::int64_t columns,
                    bool encoder) {
  Slice slice{std::move(name), layout.size, rows, columns, encoder};
  layout.parameters += slice.size();
  layout.size += (slice.size() + kAlignment - 1) / kAlignment * kAlignment;
  if (layout.size > kMaxFloats)
    throw Error("more than 2^60 parameters: use smaller tables or layers");
  layout.slices.push_back(std::move(slice));
  return layout.slices.back().offset;
}

// Offsets within a level's table are held in 32 bits.
constexpr std::uint64_t kMaxTable = std::uint64_t{1} << 30;

void check_level(const Geometry& geometry, int features, const std::string& what) {
  if (resolution(geometry) > encoder::kMaxResolution)
    throw Error(what + " passes a resolution of " + std::to_string(encoder::kMaxResolution) +
                ", more than float32 can place points in: lower n_levels, per_level_scale, " +
                "base_resolution or resolution");
  const bool of_nodes = std::holds_alternative<encoder::NodeLevel>(geometry) ||
                        std::holds_alternative<encoder::PlaneLevel>(geometry) ||
                        std::holds_alternative<encoder::AdaptiveLevel>(geometry);
  if (of_nodes && resolution(geometry) < 2)
    throw Error(what + " has a resolution of " + std::to_string(resolution(geometry)) +
                ", at least 2 nodes an axis are needed: raise base_resolution or resolution");
  if (rows(geometry) > kMaxTable / static_cast<unsigned>(features))
    throw Error(what + " has " + std::to_string(rows(geometry)) + " rows of " +
                std::to_string(features) + " numbers, at most 2^30 numbers are possible: lower " +
                "its resolution or features");
}

bool moves(const Level& level) {
  return std::holds_alternative<encoder::AdaptiveLevel>(level.geometry);
}

void append_transforms(Layout& layout, const encoder::AdaptiveMultiGrid& grids) {
  for (std::size_t i = 0; i < layout.tables.size() && layout.first_grid < 0; ++i)
    if (moves(table_level(layout, i))) layout.first_grid = static_cast<int>(i);
  layout.transforms = static_cast<int>(layout.slices.size());
  append(layout, "encoder.transforms", grids.n_grids, size(grids.transform), true);
  layout.slices.back().exact = true;
}

void append_levels(Layout& layout, const Encoder& encoder) {
  int first = 0;
  lower(encoder, [&](const Geometry& geometry, int features) {
    const std::string number = std::to_string(layout.levels.size());
    Level level{geometry, first, features};
    check_level(geometry, features, "level " + number + " of the " + name(encoder));
    if (corners(geometry) > 0) {
      level.slice = static_cast<int>(layout.slices.size());
      layout.tables.push_back(static_cast<int>(layout.levels.size()));
      append(layout, "encoder.levels." + number, static_cast<std::int64_t>(rows(geometry)),
             features, true);
    }
    layout.levels.push_back(level);
    first += features;
  });
  const encoder::AdaptiveMultiGrid* grids = adaptive_grids(encoder);
  if (!grids) return;
  append_transforms(layout, *grids);
  if (static_cast<int>(std::count_if(layout.levels.begin(), layout.levels.end(), moves)) >
      grids->n_grids)
    throw Error(std::string(grids->name) +
                " stands twice in one encoder: its grids move together, give it more n_grids");
}

LayerOffsets append_layer(Layout& layout, const ModelSpec& spec, std::size_t l) {
  const Layer& layer = spec.layers[l];
  const std::string prefix = "decoder.layers." + std::to_string(l) + ".";
  const std::int64_t in = layer.in, out = layer.out, coefficients = size(layer.basis);
  const auto add = [&](const char* name, std::int64_t rows, std::int64_t columns) {
    return append(layout, prefix + name, rows, columns, false);
  };
  LayerOffsets at;
  if (layer.norm) {
    at.norm_weight = add("layernorm.weight", in, 0);
    at.norm_bias = add("layernorm.bias", in, 0);
  }
  if (layer.activation == Activation::prelu) at.activation_share = add("activation_share", 1, 0);
  at.weight = add(coefficients == 1 ? "weight" : "spline_weight", out, in * coefficients);
  if (layer.base) {
    const std::size_t target = l + static_cast<std::size_t>(layer.base_skip);
    check(target < spec.layers.size(), "a base branch that ends beyond the last layer");
    at.base_weight = add("base_weight", spec.layers[target].out, in);
  }
  if (layer.bias) at.bias = add(coefficients == 1 ? "bias" : "base_bias", out, 0);
  if (const std::int64_t count = inner_count(layer)) at.inner = add("inner", count, 0);
  if (layer.edges) {
    at.edge_scale = add("edge_scale", out, in);
    at.edge_shift = add("edge_shift", out, in);
  }
  return at;
}

}  // namespace

const char* name(OutputActivation activation) {
  switch (activation) {
    case OutputActivation::sigmoid:
      return "Sigmoid";
    case OutputActivation::relu:
      return "ReLU";
    default:
      return "None";
  }
}

const encoder::AdaptiveMultiGrid* adaptive_grids(const Encoder& encoder) {
  if (const auto* all = std::get_if<encoder::Concat>(&encoder)) {
    for (const EncoderPart& part : all->parts)
      if (const auto* grids = std::get_if<encoder::AdaptiveMultiGrid>(&part)) return grids;
    return nullptr;
  }
  return std::get_if<encoder::AdaptiveMultiGrid>(&encoder);
}

Geometry placed(const Layout& layout, const Level& level, const float* block) {
  Geometry geometry = level.geometry;
  if (auto* grid = std::get_if<encoder::AdaptiveLevel>(&geometry)) {
    const Slice& slice = layout.slices[static_cast<std::size_t>(layout.transforms)];
    grid->place(block + slice.offset + grid->grid * slice.columns);
  }
  return geometry;
}

Layout make_layout(const ModelSpec& spec, const std::string& source) try {
  Layout layout;
  append_levels(layout, spec.encoder);
  layout.decoder_begin = layout.size;
  for (std::size_t i = 0; i < spec.layers.size(); ++i)
    layout.layers.push_back(append_layer(layout, spec, i));
  return layout;
} catch (const Error& error) {
  throw Error((source.empty() ? "" : source + ": ") + error.what());
}

Model::Model(Backend& backend, ModelSpec spec, Precision precision)
    : backend_(&backend),
      spec_(std::move(spec)),
      precision_(precision),
      layout_(make_layout(spec_)),
      parameters_(backend, layout_.size) {}

void Model::train(Range share) {
  check(0 <= share.begin && share.begin <= share.end && share.end <= layout_.size &&
            share.begin % kAlignment == 0 && share.end % kAlignment == 0,
        "a share that is not whole lines of the block");
  share_ = share;
  gradient_ = Buffer<float>(*backend_, layout_.size);
  first_moment_ = Buffer<float>(*backend_, share.size());
  second_moment_ = Buffer<float>(*backend_, share.size());
}

std::vector<float> Model::download() const {
  std::vector<float> block(static_cast<std::size_t>(layout_.size));
  backend_->download(block.data(), parameters_.data(), parameters_.bytes());
  return block;
}

void Model::upload(const std::vector<float>& block) {
  check(static_cast<std::int64_t>(block.size()) == layout_.size, "a block of another layout");
  backend_->upload(parameters_.data(), block.data(), parameters_.bytes());
  backend_->parameters_changed(*this);
}

namespace {

// Values start[0 .. count - 1] from words `first` / 4 on, four a draw.
template <class Draw>
void fill(float* start, std::int64_t count, const Stream& stream, std::int64_t first, Draw draw) {
  constexpr std::int64_t kChunk = 1 << 16;
  parallel((count + kChunk - 1) / kChunk, [&](std::int64_t chunk) {
    const std::int64_t end = std::min(count, (chunk + 1) * kChunk);
    for (std::int64_t i = chunk * kChunk; i < end; i += 4) {
      const Words4 words = stream.words(static_cast<std::uint64_t>((first + i) / 4));
      float values[4];
      draw(words, values);
      for (std::int64_t j = i; j < std::min(end, i + 4); ++j) start[j] = values[j - i];
    }
  });
}

void fill_uniform(float* start, std::int64_t count, const Stream& stream, std::int64_t first,
                  double bound) {
  fill(start, count, stream, first, [bound](const Words4& words, float* values) {
    for (int k = 0; k < 4; ++k)
      values[k] = static_cast<float>((2.0 * unit_float(words.v[k]) - 1.0) * bound);
  });
}

// Box and Muller's pairs.
void fill_normal(float* start, std::int64_t count, const Stream& stream, std::int64_t first,
                 double deviation) {
  fill(start, count, stream, first, [deviation](const Words4& words, float* values) {
    for (int k = 0; k < 4; k += 2) {
      const double radius = std::sqrt(-2 * std::log(1.0 - unit_float(words.v[k])));
      const double angle = 2 * std::numbers::pi * unit_float(words.v[k + 1]);
      values[k] = static_cast<float>(deviation * radius * std::cos(angle));
      values[k + 1] = static_cast<float>(deviation * radius * std::sin(angle));
    }
  });
}

LayerDraw default_draw(const Layer& layer, const Initialisation& init) {
  const double bound = init.linear_gain / std::sqrt(static_cast<double>(layer.in));
  const bool spline = size(layer.basis) > 1;
  return {spline, spline ? init.spline_std : bound, bound, bound};
}

void draw_layer(const Layer& layer, const Layout& layout, std::size_t l, const LayerDraw& draw,
                const Stream& stream, float* block) {
  const LayerOffsets& at = layout.layers[l];
  const auto size_at = [&](std::int64_t offset) {
    for (const Slice& slice : layout.slices)
      if (slice.offset == offset && !slice.encoder) return slice.size();
    return std::int64_t{0};
  };
  if (draw.normal)
    fill_normal(block + at.weight, size_at(at.weight), stream, at.weight, draw.weight);
  else
    fill_uniform(block + at.weight, size_at(at.weight), stream, at.weight, draw.weight);
  if (layer.base)
    fill_uniform(block + at.base_weight, size_at(at.base_weight), stream, at.base_weight,
                 draw.base);
  if (layer.bias) fill_uniform(block + at.bias, layer.out, stream, at.bias, draw.bias);
  if (layer.norm) std::fill_n(block + at.norm_weight, layer.in, 1.0f);
  if (at.activation_share >= 0) block[at.activation_share] = kPreluStart;
  for (std::int64_t i = 0; i < inner_count(layer); ++i)
    block[at.inner + i] = inner_start(layer.basis, static_cast<int>(i % inner(layer.basis)));
  if (layer.edges) std::fill_n(block + at.edge_scale, size_at(at.edge_scale), 1.0f);
}

}  // namespace

std::vector<float> draw_parameters(const ModelSpec& spec, const Initialisation& init,
                                   std::uint64_t seed) {
  const Layout layout = make_layout(spec);
  check(init.layers.empty() || init.layers.size() == spec.layers.size(),
        "an initialisation of another decoder");
  std::vector<float> block(static_cast<std::size_t>(layout.size));
  const Stream table = make_stream(seed, 0, Purpose::encoder);
  for (const Slice& slice : layout.slices)
    if (slice.encoder && !slice.exact)
      fill_uniform(block.data() + slice.offset, slice.size(), table, slice.offset, init.table);
  if (layout.transforms >= 0) {
    const Slice& slice = layout.slices[static_cast<std::size_t>(layout.transforms)];
    draw_transforms(*adaptive_grids(spec.encoder), make_stream(seed, 0, Purpose::transforms),
                    block.data() + slice.offset);
  }
  const Stream stream = make_stream(seed, 0, Purpose::decoder);
  for (std::size_t l = 0; l < spec.layers.size(); ++l)
    draw_layer(spec.layers[l], layout, l,
               init.layers.empty() ? default_draw(spec.layers[l], init) : init.layers[l], stream,
               block.data());
  // A rectified output that starts below zero everywhere would never learn.
  const Layer& last = spec.layers.back();
  if (last.bias && spec.output == OutputActivation::relu)
    std::fill_n(block.data() + layout.layers.back().bias, last.out, 0.5f);
  return block;
}

}  // namespace kanbench

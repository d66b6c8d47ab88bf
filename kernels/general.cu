// The general decoder: pieces of rows through all layers, the loss and back. Basis values are made
// again on the way back rather than kept.

#include <algorithm>
#include <bit>
#include <utility>
#include <variant>

#include "kanbench/error.h"
#include "kernels/general.h"

namespace kanbench::cuda {
namespace {

constexpr std::int64_t kRowsAligned = 32;

// Rows from `begin` on, at most `count`.
template <class T>
RowsOf<T> part(const RowsOf<T>& all, std::int64_t begin, std::int64_t count) {
  return {all.data + begin, std::min(count, all.rows - begin), all.width, all.stride};
}

ConstRows read_only(const Rows& rows) { return {rows.data, rows.rows, rows.width, rows.stride}; }

}  // namespace

/// Where a piece's numbers lie: each array is [width][stride].
struct GeneralDecoder::Room {
  std::int64_t rows = 0, stride = 0;
  float *phi = nullptr, *base = nullptr;
  /// Gradients of layers' outputs, by turns.
  std::vector<float*> slopes;
  std::vector<float*> outputs, statistics;

  Rows output(std::size_t layer, int width) const { return {outputs[layer], rows, width, stride}; }
};

GeneralDecoder::GeneralDecoder(const ModelSpec& spec, const Layout& layout, Precision precision,
                               GemmChoice choice, std::size_t budget)
    : layers_(spec.layers),
      offsets_(layout.layers),
      output_(spec.output),
      gemm_(precision, choice) {
  check(!layers_.empty(), "a decoder without layers");
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    floats_per_row_ += layer.out + (layer.norm ? 2 : 0);
    widest_ = std::max<std::int64_t>({widest_, layer.in, layer.out});
    turns_ = std::max(turns_, layer.base_skip + 2);
    if (layer.base) base_width_ = std::max<std::int64_t>(base_width_, layer.in);
    if (has_phi(l)) phi_width_ = std::max(phi_width_, std::int64_t{layer.in} * size(layer.basis));
  }
  floats_per_row_ += phi_width_ + base_width_ + turns_ * widest_;
  const auto fitting = static_cast<std::int64_t>(budget / bytes_per_row());
  piece_ = std::max(fitting / kRowsAligned, std::int64_t{1}) * kRowsAligned;
}

std::size_t GeneralDecoder::bytes_per_row() const {
  return static_cast<std::size_t>(floats_per_row_) * sizeof(float);
}

// Not one whose basis values are its inputs as they lie, nor one that makes them edge by edge.
bool GeneralDecoder::has_phi(std::size_t layer) const {
  const Layer& l = layers_[layer];
  if (l.edges) return false;
  return !std::holds_alternative<basis::Identity>(l.basis) || l.norm || l.base ||
         l.activation != Activation::none;
}

GeneralDecoder::Room GeneralDecoder::arrange(std::int64_t rows) {
  Room room;
  room.stride = std::min(piece_, round_up(std::max<std::int64_t>(rows, 1), kRowsAligned));
  const std::int64_t floats = room.stride * floats_per_row_;
  if (rooms_.empty() || rooms_.back().size() < floats) {
    // Doubled at least, so that all the rooms together take no more than twice the last.
    const auto doubled =
        static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(floats)));
    DeviceArray<float> grown;
    grown.reserve(std::min(doubled, piece_ * floats_per_row_));
    rooms_.push_back(std::move(grown));
  }
  float* at = rooms_.back().data();
  const auto take = [&](std::int64_t width) {
    return width ? std::exchange(at, at + width * room.stride) : nullptr;
  };
  room.phi = take(phi_width_);
  room.base = take(base_width_);
  for (int i = 0; i < turns_; ++i) room.slopes.push_back(take(widest_));
  for (const Layer& layer : layers_) {
    room.outputs.push_back(take(layer.out));
    room.statistics.push_back(take(layer.norm ? 2 : 0));
  }
  partials_.reserve(kLossPartials);
  return room;
}

LayerRows GeneralDecoder::open(const Room& room, std::size_t layer, ConstRows features) const {
  const Layer& l = layers_[layer];
  LayerRows rows;
  rows.input = layer ? read_only(room.output(layer - 1, l.in)) : features;
  rows.stride = room.stride;
  rows.statistics = room.statistics[layer];
  if (has_phi(layer)) rows.phi = room.phi;
  if (l.base) rows.base = room.base;
  return rows;
}

// Whether an earlier layer's base branch has begun its output.
bool GeneralDecoder::is_begun(std::size_t layer) const {
  for (std::size_t l = 0; l < layer; ++l)
    if (layers_[l].base && base_layer(l) == layer) return true;
  return false;
}

void GeneralDecoder::run_layers(const float* parameters, const Room& room, ConstRows features,
                                Rows last, cudaStream_t stream) {
  const auto output = [&](std::size_t l) {
    return l + 1 == layers_.size() ? last : room.output(l, layers_[l].out);
  };
  const auto begin = [&](std::size_t l) {
    set_bias(bind(offsets_[l], parameters).bias, output(l), stream);
  };
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const bool begun = is_begun(l), begins = layer.bias || layer.edges;
    if (begins && !begun) begin(l);
    if (layer.base && layer.base_skip > 0) begin(base_layer(l));
    run_layer(parameters, l, open(room, l, features), output(l), output(base_layer(l)),
              begun || begins, stream);
  }
}

void GeneralDecoder::run_layer(const float* parameters, std::size_t layer, const LayerRows& rows,
                               Rows out, Rows base_out, bool add, cudaStream_t stream) {
  const Layer& l = layers_[layer];
  const LayerAt at{l, bind(offsets_[layer], parameters)};
  const std::int64_t inner = std::int64_t{l.in} * size(l.basis);
  Matrix phi{rows.input.data, rows.input.stride};
  if (rows.phi || rows.base || rows.statistics) expand(at, rows, stream);
  if (rows.phi) phi = {rows.phi, rows.stride};
  if (l.edges)
    forward_edges(at, rows, out, stream);
  else
    gemm_.multiply(
        {l.out, out.rows, inner, {at.parameters.weight, inner}, phi, out.data, out.stride, add},
        stream);
  if (l.base)
    gemm_.multiply({base_out.width,
                    out.rows,
                    l.in,
                    {at.parameters.base_weight, l.in},
                    {rows.base, rows.stride},
                    base_out.data,
                    base_out.stride,
                    true},
                   stream);
}

void GeneralDecoder::run_layer_back(const float* parameters, float* gradient, std::size_t layer,
                                    const LayerRows& rows, ConstRows dout, ConstRows base_dout,
                                    Rows dinput, cudaStream_t stream) {
  const Layer& l = layers_[layer];
  const LayerAt at{l, bind(offsets_[layer], parameters)};
  const LayerParameters<float> d = bind(offsets_[layer], gradient);
  const std::int64_t inner = std::int64_t{l.in} * size(l.basis), count = dout.rows;
  const Matrix slopes{dout.data, dout.stride};
  Matrix phi{rows.input.data, rows.input.stride, true};
  Rows dphi = dinput;
  if (rows.phi || rows.base || rows.statistics) expand(at, rows, stream);
  if (rows.phi) {
    phi = {rows.phi, rows.stride, true};
    dphi = {rows.phi, rows.input.rows, dinput.width, rows.stride};
  }
  if (l.bias) add_row_sums(dout, d.bias, stream);
  const auto multiply = [&](std::int64_t m, std::int64_t n, std::int64_t k, Matrix a, Matrix b,
                            float* c, std::int64_t stride, bool add) {
    gemm_.multiply({m, n, k, a, b, c, stride, add}, stream);
  };
  if (l.base) {
    const Matrix base_slopes{base_dout.data, base_dout.stride}, base{rows.base, rows.stride, true};
    const Matrix weight{at.parameters.base_weight, l.in, true};
    multiply(base_dout.width, l.in, count, base_slopes, base, d.base_weight, l.in, true);
    multiply(l.in, count, base_dout.width, weight, base_slopes, rows.base, rows.stride, false);
  }
  if (l.edges) {
    backward_edges(at, d, rows, dout, dinput, stream);
    return finish_input(at, d, rows, dinput, stream);
  }
  multiply(l.out, inner, count, slopes, phi, d.weight, inner, true);
  multiply(inner, count, l.out, {at.parameters.weight, inner, true}, slopes, dphi.data, dphi.stride,
           false);
  if (rows.phi) contract(at, d, rows, dinput, stream);
}

void GeneralDecoder::predict(const float* parameters, ConstRows features, Rows values,
                             cudaStream_t stream) {
  Room room = arrange(features.rows);
  for (std::int64_t begin = 0; begin < features.rows; begin += room.stride) {
    const ConstRows inputs = part(features, begin, room.stride);
    const Rows last = part(values, begin, room.stride);
    room.rows = inputs.rows;
    run_layers(parameters, room, inputs, last, stream);
    activate(output_, last, stream);
  }
}

void GeneralDecoder::train(const float* parameters, float* gradient, ConstRows features,
                           ConstRows targets, const Objective& objective, Rows dfeatures,
                           double* sums, cudaStream_t stream) {
  Room room = arrange(features.rows);
  const std::size_t count = layers_.size();
  std::int64_t begin = 0;
  // Once even for no rows, so that the sums are set.
  do {
    const ConstRows inputs = part(features, begin, room.stride);
    room.rows = inputs.rows;
    const Rows last = room.output(count - 1, layers_.back().out);
    if (inputs.rows) run_layers(parameters, room, inputs, last, stream);
    differentiate_loss(output_, objective, last, part(targets, begin, room.stride), begin == 0,
                       partials_.data(), sums, stream);
    // The gradient of layer l's output; it stays for a base branch that ends there.
    const auto slopes = [&](std::size_t l) {
      if (l + 1 == count) return last;
      float* to = room.slopes[(l + 1) % room.slopes.size()];
      return Rows{to, room.rows, layers_[l].out, room.stride};
    };
    for (std::size_t l = count; inputs.rows && l-- > 0;) {
      const bool wanted = l == 0 && dfeatures.data;
      const Rows dinput = wanted ? part(dfeatures, begin, room.stride)
                          : l    ? slopes(l - 1)
                                 : Rows{room.slopes[0], room.rows, layers_[0].in, room.stride};
      run_layer_back(parameters, gradient, l, open(room, l, inputs), read_only(slopes(l)),
                     read_only(slopes(base_layer(l))), dinput, stream);
    }
    begin += room.stride;
  } while (begin < features.rows);
}

}  // namespace kanbench::cuda

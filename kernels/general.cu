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
  /// Gradients of a layer's output and input, by turns.
  float* slopes[2] = {};
  std::vector<float*> outputs, statistics;

  Rows output(std::size_t layer, int width) const { return {outputs[layer], rows, width, stride}; }
};

GeneralDecoder::GeneralDecoder(const ModelSpec& spec, const Layout& layout, Precision precision,
                               GemmChoice choice, std::size_t budget)
    : layers_(spec.layers),
      offsets_(layout.layers),
      output_(spec.output),
      gemm_(precision, choice) {
  check(!layers_.empty() && layers_.back().out == 1, "a decoder ends in one number");
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    floats_per_row_ += layer.out + (layer.norm ? 2 : 0);
    widest_ = std::max<std::int64_t>({widest_, layer.in, layer.out});
    if (is_linear(l)) continue;
    phi_width_ = std::max(phi_width_, std::int64_t{layer.in} * size(layer.basis));
    if (layer.base) base_width_ = std::max<std::int64_t>(base_width_, layer.in);
  }
  floats_per_row_ += phi_width_ + base_width_ + 2 * widest_;
  const auto fitting = static_cast<std::int64_t>(budget / bytes_per_row());
  piece_ = std::max(fitting / kRowsAligned, std::int64_t{1}) * kRowsAligned;
}

std::size_t GeneralDecoder::bytes_per_row() const {
  return static_cast<std::size_t>(floats_per_row_) * sizeof(float);
}

// A layer whose basis values are its inputs as they lie.
bool GeneralDecoder::is_linear(std::size_t layer) const {
  const Layer& l = layers_[layer];
  return std::holds_alternative<basis::Identity>(l.basis) && !l.norm && !l.base;
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
  for (float*& slopes : room.slopes) slopes = take(widest_);
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
  if (!is_linear(layer)) rows.phi = room.phi;
  if (l.base) rows.base = room.base;
  return rows;
}

void GeneralDecoder::run_layer(const float* parameters, std::size_t layer, const LayerRows& rows,
                               Rows out, cudaStream_t stream) {
  const Layer& l = layers_[layer];
  const LayerParameters<const float> p = bind(offsets_[layer], parameters);
  const std::int64_t inner = std::int64_t{l.in} * size(l.basis);
  Matrix phi{rows.input.data, rows.input.stride};
  if (rows.phi) {
    expand(l, p, rows, stream);
    phi = {rows.phi, rows.stride};
  }
  if (l.bias) set_bias(p.bias, out, stream);
  gemm_.multiply({l.out, out.rows, inner, {p.weight, inner}, phi, out.data, out.stride, l.bias},
                 stream);
  if (l.base)
    gemm_.multiply({l.out,
                    out.rows,
                    l.in,
                    {p.base_weight, l.in},
                    {rows.base, rows.stride},
                    out.data,
                    out.stride,
                    true},
                   stream);
}

void GeneralDecoder::run_layer_back(const float* parameters, float* gradient, std::size_t layer,
                                    const LayerRows& rows, ConstRows dout, Rows dinput,
                                    cudaStream_t stream) {
  const Layer& l = layers_[layer];
  const LayerParameters<const float> p = bind(offsets_[layer], parameters);
  const LayerParameters<float> d = bind(offsets_[layer], gradient);
  const std::int64_t inner = std::int64_t{l.in} * size(l.basis);
  const Matrix slopes{dout.data, dout.stride};
  Matrix phi{rows.input.data, rows.input.stride, true};
  Rows dphi = dinput;
  if (rows.phi) {
    expand(l, p, rows, stream);
    phi = {rows.phi, rows.stride, true};
    dphi = {rows.phi, rows.input.rows, dinput.width, rows.stride};
  }
  if (l.bias) add_row_sums(dout, d.bias, stream);
  const auto multiply = [&](std::int64_t m, std::int64_t n, std::int64_t k, Matrix a, Matrix b,
                            float* c, std::int64_t stride, bool add) {
    gemm_.multiply({m, n, k, a, b, c, stride, add}, stream);
  };
  const std::int64_t count = dout.rows;
  const Matrix weight{p.weight, inner, true}, base_weight{p.base_weight, l.in, true};
  const Matrix base{rows.base, rows.stride, true};
  multiply(l.out, inner, count, slopes, phi, d.weight, inner, true);
  if (l.base) multiply(l.out, l.in, count, slopes, base, d.base_weight, l.in, true);
  multiply(inner, count, l.out, weight, slopes, dphi.data, dphi.stride, false);
  if (l.base) multiply(l.in, count, l.out, base_weight, slopes, rows.base, rows.stride, false);
  if (!rows.phi) return;
  contract(l, p, d, rows, dinput, stream);
}

void GeneralDecoder::predict(const float* parameters, ConstRows features, Rows values,
                             cudaStream_t stream) {
  Room room = arrange(features.rows);
  for (std::int64_t begin = 0; begin < features.rows; begin += room.stride) {
    const ConstRows inputs = part(features, begin, room.stride);
    const Rows last = part(values, begin, room.stride);
    room.rows = inputs.rows;
    for (std::size_t l = 0; l < layers_.size(); ++l)
      run_layer(parameters, l, open(room, l, inputs),
                l + 1 == layers_.size() ? last : room.output(l, layers_[l].out), stream);
    activate(output_, last, stream);
  }
}

void GeneralDecoder::train(const float* parameters, float* gradient, ConstRows features,
                           ConstRows targets, const Objective& objective, Rows dfeatures,
                           double* sums, cudaStream_t stream) {
  Room room = arrange(features.rows);
  std::int64_t begin = 0;
  // Once even for no rows, so that the sums are set.
  do {
    const ConstRows inputs = part(features, begin, room.stride);
    room.rows = inputs.rows;
    for (std::size_t l = 0; inputs.rows && l < layers_.size(); ++l)
      run_layer(parameters, l, open(room, l, inputs), room.output(l, layers_[l].out), stream);
    Rows dout = room.output(layers_.size() - 1, 1);
    differentiate_loss(output_, objective, dout, part(targets, begin, room.stride), begin == 0,
                       partials_.data(), sums, stream);
    for (std::size_t l = layers_.size(); inputs.rows && l-- > 0;) {
      const bool wanted = l == 0 && dfeatures.data;
      const Rows dinput = wanted ? part(dfeatures, begin, room.stride)
                                 : Rows{room.slopes[l % 2], room.rows, layers_[l].in, room.stride};
      run_layer_back(parameters, gradient, l, open(room, l, inputs), read_only(dout), dinput,
                     stream);
      dout = dinput;
    }
    begin += room.stride;
  } while (begin < features.rows);
}

}  // namespace kanbench::cuda

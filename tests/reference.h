#pragma once
// The whole model in plain loops over the shared arithmetic, in double: what backends are held to.

#include <algorithm>
#include <variant>
#include <vector>

#include "kanbench/math/layer_backward.h"
#include "kanbench/math/loss.h"
#include "kanbench/model.h"

namespace kanbench::test {

/// A model in double with its gradient.
class Reference {
 public:
  Reference(ModelSpec spec, const std::vector<float>& block)
      : spec_(std::move(spec)),
        layout_(make_layout(spec_)),
        parameters(block.begin(), block.end()),
        gradient(block.size()) {}

  /// What the encoder makes of a point.
  std::vector<double> features(const double* point) const {
    std::vector<double> x(static_cast<std::size_t>(width(spec_.encoder)));
    for (const Level& level : layout_.levels)
      make(level, point, [&](int f, double value) { x[level.first + f] += value; });
    return x;
  }

  double predict(const double* point) {
    inputs_ = {features(point)};
    for (const Layer& layer : spec_.layers)
      inputs_.emplace_back(static_cast<std::size_t>(layer.out));
    for (std::size_t l = 0; l < spec_.layers.size(); ++l) {
      const Layer& layer = spec_.layers[l];
      std::vector<double> v(static_cast<std::size_t>(layer.in));
      layer_forward(layer, base_out(l), bind<const double>(layout_.layers[l], parameters.data()),
                    inputs_[l].data(), v.data(), inputs_[l + 1].data(), base_output(l, inputs_));
    }
    return activate(inputs_.back()[0]);
  }

  /// Adds scale * dloss/dparameters to `gradient`, writes dloss/dpoint, returns the loss.
  double differentiate(const double* point, double target, const Loss& loss, double scale,
                       double* dpoint) {
    const double value = predict(point);
    const double slope = std::visit([&](const auto& l) { return l.slope(value, target); }, loss);
    std::vector<std::vector<double>> slopes(inputs_);
    slopes.back() = {scale * slope * activation_slope(value)};
    for (std::size_t l = spec_.layers.size(); l-- > 0;)
      layer_backward(spec_.layers[l], base_out(l),
                     bind<const double>(layout_.layers[l], parameters.data()), inputs_[l].data(),
                     slopes[l + 1].data(), base_output(l, slopes),
                     bind(layout_.layers[l], gradient.data()), slopes[l].data());
    scatter(point, slopes[0], dpoint);
    return std::visit([&](const auto& l) { return l.value(value, target); }, loss);
  }

 private:
  ModelSpec spec_;
  Layout layout_;

 public:
  std::vector<double> parameters, gradient;

 private:
  std::size_t base_layer(std::size_t l) const {
    return l + static_cast<std::size_t>(spec_.layers[l].base_skip);
  }
  int base_out(std::size_t l) const { return spec_.layers[base_layer(l)].out; }
  double* base_output(std::size_t l, std::vector<std::vector<double>>& numbers) const {
    return numbers[base_layer(l) + 1].data();
  }

  // The level where the parameters place it.
  Geometry place(const Level& level) const {
    const std::vector<float> block(parameters.begin(), parameters.end());
    return layout_.transforms < 0 ? level.geometry : placed(layout_, level, block.data());
  }

  // Calls emit(f, part) with parts that add up to the level's number f.
  template <class T, class Emit>
  void make(const Level& level, const T* point, Emit emit) const {
    std::visit(
        [&](const auto& g) {
          if constexpr (std::decay_t<decltype(g)>::kCorners == 0) {
            g.evaluate(point, emit);
          } else {
            const double* table = parameters.data() + layout_.slices[level.slice].offset;
            g.gather(point, [&](std::uint32_t row, T w) {
              for (int f = 0; f < level.features; ++f)
                emit(f, w * T(table[std::int64_t{row} * level.features + f]));
            });
          }
        },
        place(level));
  }

  void scatter(const double* point, const std::vector<double>& dx, double* dpoint) {
    std::fill_n(dpoint, 3, 0.0);
    for (const Level& level : layout_.levels) {
      const double* dlevel = dx.data() + level.first;
      if (level.has_table()) scatter_level(level, point, dlevel);
      for (int d = 0; d < 3; ++d) {
        Dual<double> x[3] = {point[0], point[1], point[2]};
        x[d].d = 1;
        make(level, x, [&](int f, Dual<double> value) { dpoint[d] += value.d * dlevel[f]; });
      }
    }
  }

  void scatter_level(const Level& level, const double* point, const double* dlevel) {
    double* table = gradient.data() + layout_.slices[level.slice].offset;
    std::visit(
        [&](const auto& g) {
          if constexpr (std::decay_t<decltype(g)>::kCorners > 0)
            g.gather(point, [&](std::uint32_t row, double w) {
              for (int f = 0; f < level.features; ++f)
                table[std::int64_t{row} * level.features + f] += w * dlevel[f];
            });
        },
        place(level));
  }

  double activate(double y) const {
    if (spec_.output == OutputActivation::sigmoid) return sigmoid(y);
    return spec_.output == OutputActivation::relu ? max0(y) : y;
  }
  double activation_slope(double value) const {
    if (spec_.output == OutputActivation::sigmoid) return value * (1 - value);
    return spec_.output == OutputActivation::relu ? step0(value) : 1;
  }

  std::vector<std::vector<double>> inputs_;
};

}  // namespace kanbench::test

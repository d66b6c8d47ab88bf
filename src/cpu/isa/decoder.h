#pragma once
// A tile through every layer, the loss and back, without leaving the cache.

#include "cpu/isa/layer.h"
#include "cpu/kernels.h"
#include "kanbench/math/loss.h"

namespace kanbench::cpu::KB_ISA {
namespace {

template <class B>
void forward_as(const LayerTile& t, float* base_y) {
  forward_layer(t, *static_cast<const B*>(t.plan->basis_data), base_y);
}
template <class B>
void backward_as(const LayerTile& t, const OutputSlopes& d, const OutputSlopes& base,
                 float* base_dyt, float* sums, float* dx) {
  backward_layer(t, *static_cast<const B*>(t.plan->basis_data), d, base, base_dyt, sums, dx);
}

/// The functions of each alternative of a variant, by index.
template <class Variant>
struct BasisTable;
template <class... B>
struct BasisTable<std::variant<B...>> {
  static constexpr void (*forward[])(const LayerTile&, float*) = {forward_as<B>...};
  static constexpr void (*backward[])(const LayerTile&, const OutputSlopes&, const OutputSlopes&,
                                      float*, float*, float*) = {backward_as<B>...};
  static constexpr bool in_place[] = {kInPlace<B>...};
};
using Bases = BasisTable<Basis>;

KB_HD Pack activate(int output, Pack y) {
  if (output == 1) return sigmoid(y);
  if (output == 2) return max0(y);
  return y;
}
/// Slope of the activation at the value it gave.
KB_HD Pack activation_slope(int output, Pack value) {
  if (output == 1) return value * (Pack(1.0f) - value);
  if (output == 2) return step0(value);
  return Pack(1.0f);
}

/// y = bias, or zeros.
void set_bias(const LayerTile& t) {
  for (int o = 0; o < t.plan->out; ++o) {
    const Pack bias(t.plan->bias < 0 ? 0.0f : t.parameters[t.plan->bias + o]);
    for (int s = 0; s < t.rows; s += kWidth) store(t.y + o * t.rows + s, bias);
  }
}

/// Runs all layers; tiles[l].y of the last is the output before its activation. In scratch lie, for
/// each layer, its normalised input and output, then plan.room shared floats: see lay_out().
void run_forward(const TileArguments& a, LayerTile* tiles) {
  const DecoderPlan& plan = *a.plan;
  const std::int64_t rows = plan.rows;
  float* next = a.scratch;
  float* x = a.features;
  for (int l = 0; l < plan.count; ++l) {
    const LayerPlan& layer = plan.layers[l];
    tiles[l] = {&layer, a.parameters, plan.rows, x, nullptr, nullptr, nullptr, nullptr};
    if (layer.norm) {
      tiles[l].unit = next;
      tiles[l].inverse = next + layer.in * rows;
      next += (layer.in + 1) * rows;
    }
    x = tiles[l].y = next;
    next += layer.out * rows;
    set_bias(tiles[l]);
  }
  for (int l = 0; l < plan.count; ++l) {
    tiles[l].room = next;
    Bases::forward[tiles[l].plan->basis](tiles[l], tiles[tiles[l].plan->base_layer].y);
  }
}

void forward(const TileArguments& a) {
  LayerTile tiles[kMostLayers];
  run_forward(a, tiles);
  const float* y = tiles[a.plan->count - 1].y;
  for (int s = 0; s < a.plan->outputs * a.plan->rows; s += kWidth)
    store(a.values + s, activate(a.plan->output, load(y + s)));
}

/// Turns one output's y into dloss/dy in place, zero past the valid rows, and adds up the loss.
template <class L>
KB_HD void differentiate(const L& loss, const TileArguments& a, const float* targets, float* y) {
  float losses[kWidth], squares[kWidth];
  const int output = a.plan->output;
  for (int s = 0; s < a.plan->rows; s += kWidth) {
    const Pack value = activate(output, load(y + s)), target = load(targets + s);
    store(losses, loss.value(value, target));
    store(squares, (value - target) * (value - target));
    store(y + s, loss.slope(value, target) * activation_slope(output, value) * Pack(a.scale));
    for (int j = 0; j < kWidth; ++j) {
      if (s + j >= a.valid) {
        y[s + j] = 0;
        continue;
      }
      *a.loss_sum += losses[j];
      *a.squared_sum += squares[j];
    }
  }
}

void train(const TileArguments& a) {
  const DecoderPlan& plan = *a.plan;
  LayerTile tiles[kMostLayers];
  run_forward(a, tiles);
  const std::int64_t rows = plan.rows;
  float* dx = tiles[0].room + plan.room;
  float* dyt = dx + plan.widest * rows;
  float* y = tiles[plan.count - 1].y;
  visit(a.loss, [&](const auto& loss) KB_INLINE {
    for (int o = 0; o < plan.outputs; ++o)
      differentiate(loss, a, a.targets + o * a.target_stride, y + o * rows);
  });
  // Each layer's y becomes its gradient in turn, and stays: a base branch may end further on.
  for (int l = plan.count - 1; l >= 0; --l) {
    const LayerPlan& layer = plan.layers[l];
    const float* dy = tiles[l].y;
    if (layer.out > 1) transpose(dy, layer.out, plan.rows, layer.columns, dyt);
    const OutputSlopes base{tiles[layer.base_layer].y, dyt, layer.base_out, layer.base_columns};
    float* x = tiles[l].x;
    const bool wanted = l > 0 || !a.skip_input || layer.norm || layer.share >= 0;
    const bool direct = Bases::in_place[layer.basis] && !copies(layer);
    Bases::backward[layer.basis](tiles[l], {dy, dyt, layer.out, layer.columns}, base, dyt, a.sums,
                                 !wanted  ? nullptr
                                 : direct ? x
                                          : dx);
    if (wanted && !direct)
      for (std::int64_t i = 0; i < layer.in * rows; i += kWidth) store(x + i, load(dx + i));
  }
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

// Which models the fused kernels can take, and how a block of theirs is laid out.

#include <algorithm>

#include "kanbench/error.h"
#include "kernels/fused.h"
#include "kernels/runtime.h"

namespace kanbench::cuda {
namespace {

// What the fused kernels know nothing of.
bool is_plain(const Layer& layer) {
  return layer.activation == Activation::none && layer.inner == Inner::fixed && !layer.edges &&
         layer.base_activation == Activation::silu && !layer.base_normalised &&
         layer.base_skip == 0;
}

bool plan_layer(const Layer& layer, bool first, ExpansionKind kind, FusedLayer& planned) {
  if (!is_plain(layer)) return false;
  planned.in = layer.in;
  planned.out = layer.out;
  planned.norm = layer.norm;
  planned.base = layer.base;
  planned.bias = layer.bias;
  planned.size = size(layer.basis);
  if (kind == ExpansionKind::rectifier) {
    planned.identity = std::holds_alternative<basis::Identity>(layer.basis);
    const bool relu = std::holds_alternative<basis::Relu>(layer.basis);
    return !layer.norm && !layer.base && (planned.identity || relu);
  }
  const auto* rbf = std::get_if<basis::Rbf>(&layer.basis);
  if (!rbf || rbf->num_grids > 8 || (first && layer.norm)) return false;
  planned.inverse_spacing = 1 / rbf->spacing();
  planned.shift = 0.5f * static_cast<float>(rbf->num_grids - 8);
  return true;
}

int kernel_width(int neurons) {
  for (int width : {16, 32, 64, 128})
    if (neurons <= width) return width;
  return 0;
}

}  // namespace

std::optional<FusedPlan> plan_fused(const ModelSpec& spec, const Layout& layout,
                                    Precision precision) {
  FusedPlan plan;
  plan.precision = precision;
  plan.output = spec.output;
  plan.count = static_cast<int>(spec.layers.size());
  if (precision == Precision::fp32 || plan.count < 2 || plan.count > kMostFusedLayers) return {};
  const bool gaussians = std::holds_alternative<basis::Rbf>(spec.layers[0].basis);
  plan.kind = gaussians ? ExpansionKind::gaussians : ExpansionKind::rectifier;
  const int neurons = spec.layers[0].out;
  plan.width = kernel_width(neurons);
  if (plan.width == 0 || (gaussians && plan.width != neurons)) return {};
  if (gaussians && plan.width == 128 && precision == Precision::tf32) return {};
  for (int l = 0; l < plan.count; ++l) {
    const Layer& layer = spec.layers[static_cast<std::size_t>(l)];
    FusedLayer& planned = plan.layers[l];
    const bool last = l + 1 == plan.count;
    if (layer.out != (last ? 1 : neurons) || !plan_layer(layer, l == 0, plan.kind, planned))
      return {};
    planned.at = layout.layers[static_cast<std::size_t>(l)];
    planned.chunks = l == 0 ? static_cast<int>(ceil_divide(layer.in, 16)) : plan.width / 16;
    planned.out_tiles = last ? 1 : plan.width / 8;
    planned.weights = plan.weights;
    plan.weights += std::int64_t{planned.chunks} * plan.functions() * planned.out_tiles * 128;
  }
  plan.vectors = std::int64_t{3} * plan.width * plan.count;
  return plan;
}

namespace {

// Bytes of one block of `warps`; mirrors the layout that fused_layer.h reads.
FusedShape lay_out(const FusedPlan& plan, FusedMode mode, int warps, int rows_a_warp, bool resident,
                   int feature_chunks) {
  FusedShape shape;
  shape.warps = warps;
  shape.rows_a_warp = rows_a_warp;
  shape.resident = resident;
  const std::int64_t element = plan.element_bytes(), padding = 8, rows = shape.rows();
  const std::int64_t round = plan.functions() == 1 ? plan.width / 16 : 1;
  std::int64_t widest = 0;
  for (int l = 0; l < plan.count; ++l)
    widest = std::max<std::int64_t>(widest, plan.layers[l].out_tiles);
  const std::int64_t round_tiles = round * plan.functions();
  std::int64_t at = 0;
  const auto take = [&](std::int64_t bytes) {
    const std::int64_t begin = at;
    at += round_up(bytes, 128);
    return static_cast<int>(begin);
  };
  shape.vectors = take(plan.vectors * 4);
  shape.weights = take((resident ? plan.weights : round_tiles * widest * 128) * element);
  if (mode != FusedMode::predict) {
    shape.phi = take(rows * (round_tiles * 16 + padding) * element);
    shape.dy = take(rows * (plan.width + padding) * element);
    shape.saved = take((plan.count - 1) * rows * (plan.width + padding) * element);
    const bool norm = plan.kind == ExpansionKind::gaussians;
    shape.statistics = take(norm ? (plan.count - 1) * rows * 8 : 0);
  }
  if (feature_chunks > 0) shape.features = take(rows * feature_chunks * 8 * element);
  shape.bytes = static_cast<int>(std::min<std::int64_t>(at, INT32_MAX));
  return shape;
}

}  // namespace

int fused_rows_a_warp(const FusedPlan& plan, FusedMode mode) {
  const bool mlp = plan.kind == ExpansionKind::rectifier;
  if (mode == FusedMode::predict) return plan.width < (mlp ? 128 : 64) ? 32 : 16;
  return mlp && plan.width < 64 ? 32 : 16;
}

FusedShape shape_fused(const FusedPlan& plan, FusedMode mode, int feature_chunks,
                       std::int64_t shared_bytes) {
  const int rows = fused_rows_a_warp(plan, mode);
  for (bool resident : {true, false})
    for (int warps : {8, 4, 2, 1}) {
      // With fewer warps than four, what bringing weights in costs is the smaller evil.
      if (resident && warps < 4) continue;
      const FusedShape shape = lay_out(plan, mode, warps, rows, resident, feature_chunks);
      if (shape.bytes <= shared_bytes) return shape;
    }
  return {};
}

}  // namespace kanbench::cuda

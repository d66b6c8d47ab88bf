// Which models the fused kernels can take, and how a block of theirs is laid out.

#include <algorithm>

#include "kanbench/error.h"
#include "kernels/fused.h"
#include "kernels/runtime.h"

namespace kanbench::cuda {
namespace {

// What the kernels of one expansion know nothing of.
bool is_plain(const Layer& layer) {
  return layer.inner == Inner::fixed && layer.activation == Activation::none &&
         layer.base_activation == Activation::silu && !layer.base_normalised;
}

bool plan_rectifier(const Layer& layer, FusedLayer& planned) {
  planned.identity = std::holds_alternative<basis::Identity>(layer.basis);
  const bool relu = std::holds_alternative<basis::Relu>(layer.basis);
  return is_plain(layer) && !layer.norm && !layer.base && (planned.identity || relu);
}

bool plan_gaussians(const Layer& layer, FusedLayer& planned, FusedExpansion& own) {
  const auto* rbf = std::get_if<basis::Rbf>(&layer.basis);
  if (!is_plain(layer) || !rbf || rbf->num_grids > 8) return false;
  own.functions = 9;
  planned.inverse_spacing = 1 / rbf->spacing();
  planned.shift = 0.5f * static_cast<float>(rbf->num_grids - 8);
  return true;
}

// Inner parameters that are learned, and those that the kernels read though they are not.
bool plan_inner(const Layer& layer, FusedExpansion& planned) {
  const auto is = [&](auto&& of) { return std::visit(of, layer.basis); };
  const bool read = is([]<class B>(const B&) { return kFusedInner<B>; });
  planned.learned = layer.inner != Inner::fixed;
  planned.by_input = layer.inner == Inner::input;
  if (!read && !planned.by_input) return !planned.learned;
  planned.inner = inner(layer.basis);
  if (planned.by_input) return is([]<class B>(const B&) { return kFusedByInput<B>; });
  return planned.inner <= kMostLayerInner;
}

bool plan_basis(const Layer& layer, FusedLayer& planned, FusedExpansion& own) {
  const auto* bernstein = std::get_if<basis::Bernstein>(&layer.basis);
  if (planned.size > kMostCoefficients || (bernstein && bernstein->degree > kMostFusedBernstein) ||
      layer.activation == Activation::prelu || layer.base_activation == Activation::prelu)
    return false;
  own.functions = planned.size + (layer.base ? 1 : 0);
  own.basis = pack(layer.basis);
  own.activation = layer.activation;
  own.base_activation = layer.base_activation;
  own.base_normalised = layer.base_normalised;
  return plan_inner(layer, own);
}

bool plan_layer(const Layer& layer, ExpansionKind kind, FusedLayer& planned, FusedExpansion& own) {
  if (layer.edges || layer.base_skip != 0) return false;
  planned.in = layer.in;
  planned.out = layer.out;
  planned.norm = layer.norm;
  planned.base = layer.base;
  planned.bias = layer.bias;
  planned.size = size(layer.basis);
  switch (kind) {
    case ExpansionKind::rectifier:
      return plan_rectifier(layer, planned);
    case ExpansionKind::gaussians:
      return plan_gaussians(layer, planned, own);
    default:
      return plan_basis(layer, planned, own);
  }
}

// A norm's width, and that of FastKAN's kernels, is the kernel's.
bool has_width(const FusedPlan& plan, const ModelSpec& spec) {
  const auto has_norm = [](const Layer& layer) { return layer.norm; };
  const bool exact = plan.kind == ExpansionKind::gaussians ||
                     std::any_of(spec.layers.begin(), spec.layers.end(), has_norm);
  if (plan.width == 0 || (exact && plan.width != spec.layers[0].out)) return false;
  if (plan.kind == ExpansionKind::basis)
    return plan.width < 128 && plan.precision == Precision::fp16;
  return plan.kind == ExpansionKind::rectifier || plan.width < 128 ||
         plan.precision != Precision::tf32;
}

int kernel_width(int neurons) {
  for (int width : {16, 32, 64, 128})
    if (neurons <= width) return width;
  return 0;
}

// Chunks of inputs that make a round: all of an MLP's, one of FastKAN's, as many of any basis as
// the largest would fill.
int chunks_a_round(const FusedPlan& plan) {
  const int all = plan.width / 16;
  if (plan.kind == ExpansionKind::rectifier) return all;
  if (plan.kind == ExpansionKind::gaussians) return 1;
  return std::max(1, std::min(all, kMostCoefficients / plan.functions));
}

std::optional<FusedPlan> plan_kind(ExpansionKind kind, const ModelSpec& spec, const Layout& layout,
                                   Precision precision) {
  FusedPlan plan;
  plan.kind = kind;
  plan.precision = precision;
  plan.output = spec.output;
  plan.count = static_cast<int>(spec.layers.size());
  const int neurons = spec.layers[0].out;
  plan.width = kernel_width(neurons);
  if (!has_width(plan, spec)) return {};
  for (int l = 0; l < plan.count; ++l) {
    const Layer& layer = spec.layers[static_cast<std::size_t>(l)];
    FusedLayer& planned = plan.layers[l];
    const bool last = l + 1 == plan.count;
    if (layer.out != (last ? 1 : neurons) || !plan_layer(layer, kind, planned, plan.expansions[l]))
      return {};
    planned.at = layout.layers[static_cast<std::size_t>(l)];
    planned.chunks = l == 0 ? static_cast<int>(ceil_divide(layer.in, 16)) : plan.width / 16;
    planned.out_tiles = last ? 1 : plan.width / 8;
    planned.weights = plan.weights;
    const int functions = plan.expansions[l].functions;
    plan.weights += std::int64_t{planned.chunks} * functions * planned.out_tiles * 128;
    plan.functions = std::max(plan.functions, functions);
  }
  plan.round = chunks_a_round(plan);
  plan.vectors = plan.inner_begin();
  for (int l = 0; l < plan.count; ++l) {
    FusedExpansion& own = plan.expansions[l];
    own.inner_at = static_cast<int>(plan.vectors - plan.inner_begin());
    plan.vectors += own.inner * (own.by_input ? plan.layers[l].chunks * 16 : 1);
  }
  return plan;
}

}  // namespace

std::optional<FusedPlan> plan_fused(const ModelSpec& spec, const Layout& layout,
                                    Precision precision) {
  const std::size_t count = spec.layers.size();
  if (precision == Precision::fp32 || count < 2 || count > kMostFusedLayers || spec.layers[0].norm)
    return {};
  for (const ExpansionKind kind :
       {ExpansionKind::rectifier, ExpansionKind::gaussians, ExpansionKind::basis})
    if (std::optional<FusedPlan> plan = plan_kind(kind, spec, layout, precision)) return plan;
  return {};
}

namespace {

// Hands out a block's shared memory.
struct Room {
  std::int64_t at = 0;
  int take(std::int64_t bytes) {
    const std::int64_t begin = at;
    at += round_up(bytes, 128);
    return static_cast<int>(begin);
  }
};

// The tiles of expansions and what is kept of each layer's inputs. Where any basis may be, both are
// there for predictions too: of one chunk, and of one layer, in float32.
void lay_out_rows(const FusedPlan& plan, FusedMode mode, FusedShape& shape, Room& room) {
  const bool any = plan.kind == ExpansionKind::basis, training = mode != FusedMode::predict;
  if (!any && !training) return;
  const std::int64_t element = plan.element_bytes(), rows = shape.rows(), padding = 8;
  const std::int64_t round = training ? plan.round : 1, kept = training ? plan.count - 1 : 1;
  shape.phi_stride = static_cast<int>(round * plan.functions * 16 + padding);
  shape.phi = room.take(rows * shape.phi_stride * element);
  if (any && training) {
    shape.slope_stride = static_cast<int>(plan.functions * 16 + padding);
    shape.slopes = room.take(rows * shape.slope_stride * element);
  }
  if (training) shape.dy = room.take(rows * (plan.width + padding) * element);
  shape.saved = room.take(kept * rows * (plan.width + padding) * (any ? 4 : element));
  const auto has_norm = [](const FusedLayer& layer) { return layer.norm; };
  const bool norm = std::any_of(plan.layers, plan.layers + plan.count, has_norm);
  shape.statistics = room.take(norm ? kept * rows * 8 : 0);
}

// Bytes of one block of `warps`; mirrors the layout that the kernels read.
FusedShape lay_out(const FusedPlan& plan, FusedMode mode, int warps, int rows_a_warp, bool resident,
                   int feature_chunks) {
  FusedShape shape;
  shape.warps = warps;
  shape.rows_a_warp = rows_a_warp;
  shape.resident = resident;
  std::int64_t widest = 0;
  for (int l = 0; l < plan.count; ++l)
    widest = std::max<std::int64_t>(widest, plan.layers[l].out_tiles);
  const std::int64_t a_round = std::int64_t{plan.round} * plan.functions * widest * 128;
  const std::int64_t element = plan.element_bytes();
  Room room;
  shape.vectors = room.take(plan.vectors * 4);
  shape.weights = room.take((resident ? plan.weights : a_round) * element);
  lay_out_rows(plan, mode, shape, room);
  if (feature_chunks > 0)
    shape.features = room.take(std::int64_t{shape.rows()} * feature_chunks * 8 * element);
  shape.bytes = static_cast<int>(std::min<std::int64_t>(room.at, INT32_MAX));
  return shape;
}

}  // namespace

int fused_rows_a_warp(const FusedPlan& plan) {
  if (plan.kind == ExpansionKind::basis) return 16;
  return plan.kind == ExpansionKind::rectifier && plan.width < 64 ? 32 : 16;
}

FusedShape shape_fused(const FusedPlan& plan, FusedMode mode, int feature_chunks,
                       std::int64_t shared_bytes) {
  const int rows = fused_rows_a_warp(plan);
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

#include "decoder_kind.h"

#include <algorithm>
#include <cmath>

#include "decoder_layers.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

LayerDraw uniform(double weight, double bias = 0) { return {false, weight, 0, bias}; }

// Spline weights of a deviation that keeps the sum over inputs and coefficients of size `gain`.
LayerDraw normal(const Layer& layer, double gain) {
  const double root = std::sqrt(static_cast<double>(layer.in)), bound = 1 / root;
  return {true, gain / (root * std::sqrt(static_cast<double>(size(layer.basis)))), bound, bound};
}

// He's bound, for what lets about half of its input pass.
LayerDraw draw_rectified(const Run&, const Layer& layer, std::size_t) {
  return uniform(std::sqrt(6.0 / layer.in), 0);
}

LayerDraw draw_gaussians(const Run&, const Layer& layer, std::size_t) {
  const double bound = 1 / std::sqrt(static_cast<double>(layer.in));
  return {true, 0.01, bound, bound};
}

// What sine layers take: their frequency is in the basis, which the weights make up for.
LayerDraw draw_sines(const Run& run, const Layer& layer, std::size_t l) {
  const double bias = 1 / std::sqrt(static_cast<double>(layer.in));
  return uniform(std::sqrt(6.0 / layer.in) / (l == 0 ? 1 : run.kan.omega), bias);
}

LayerDraw draw_linear(const Run&, const Layer& layer, std::size_t) {
  const double bound = std::sqrt(3.0 / layer.in);
  return {false, bound, bound, 0};
}

// Series of sines: as large as linear weights, they would begin far too wild.
LayerDraw draw_series(const Run&, const Layer& layer, std::size_t) {
  return uniform(0.3 * std::sqrt(3.0 / layer.in));
}

// Functions that are all of one sign and hardly differ where the table begins: drawn small, they
// are stuck at a constant.
LayerDraw draw_switches(const Run&, const Layer& layer, std::size_t) { return normal(layer, 1); }

LayerDraw draw_splines(const Run&, const Layer& layer, std::size_t) { return normal(layer, 0.1); }

LayerDraw draw_custom(const Run& run, const Layer& layer, std::size_t l) {
  return size(layer.basis) > 1 ? draw_splines(run, layer, l) : draw_rectified(run, layer, l);
}

KanParameters with(void (*change)(KanParameters&)) {
  KanParameters kan;
  if (change) change(kan);
  return kan;
}

using Keys = std::vector<std::string>;

void add_named(std::vector<DecoderKind>& all) {
  all.push_back({"mlp", {}, {}, {}, layers_of_mlp, draw_rectified, 0.3});
  all.push_back({"fastkan",
                 {"fkan"},
                 {"grid_radius", "num_grids", "use_base_update", "inner"},
                 {},
                 layers_of_fastkan,
                 draw_gaussians,
                 0.1});
  all.push_back({"siren", {}, {"omega", "first_omega"}, {}, layers_of_siren, draw_sines, 0.1});
  all.push_back({"fasterkan",
                 {},
                 {"grid_radius", "num_grids", "sharpness", "inner"},
                 with([](KanParameters& kan) { kan.grid_radius = 1.2; }),
                 layers_of_fasterkan,
                 draw_switches,
                 0.03});
  const Keys splines{"grid_radius", "num_grids", "order", "clamped", "use_base_update"};
  all.push_back({"efficientkan", {}, splines, {}, layers_of_efficientkan, draw_splines, 0.1});
  all.push_back({"kan",
                 {},
                 splines,
                 with([](KanParameters& kan) { kan.num_grids = 5; }),
                 layers_of_kan,
                 draw_splines,
                 0.1});
  all.push_back({"fourierkan", {}, {"terms"}, {}, layers_of_fourierkan, draw_series, 0.1});
  const Keys polynomials{"degree", "squash", "use_base_update"};
  all.push_back({"kaln", {}, polynomials, {}, layers_of_polynomials, draw_splines, 0.1});
  all.push_back({"kacn", {}, {"degree", "squash"}, {}, layers_of_polynomials, draw_splines, 0.1});
  const auto learned = [](KanParameters& kan) { kan.inner = "layer"; };
  all.push_back({"kagn",
                 {},
                 {"degree", "squash", "use_base_update", "inner"},
                 with(learned),
                 layers_of_polynomials,
                 draw_splines,
                 0.1});
  all.push_back({"kajn",
                 {},
                 {"degree", "squash", "alpha", "beta", "use_base_update"},
                 {},
                 layers_of_polynomials,
                 draw_splines,
                 0.1});
  all.push_back(
      {"kabn", {}, {"degree", "use_base_update"}, {}, layers_of_polynomials, draw_splines, 0.1});
  all.push_back({"relukan",
                 {},
                 {"num_grids", "span", "inner"},
                 with([](KanParameters& kan) {
                   kan.num_grids = 5;
                   kan.inner = "input";
                 }),
                 layers_of_relukan,
                 draw_splines,
                 0.1});
  all.push_back(
      {"wavkan", {}, {"wavelet", "use_base_update"}, {}, layers_of_wavkan, draw_linear, 0.1});
  all.push_back({"bottleneck_kagn",
                 {},
                 {"degree", "squash", "bottleneck", "inner"},
                 with(learned),
                 layers_of_bottleneck,
                 draw_splines,
                 0.1});
}

// Each basis in a decoder that has nothing else: one of a single coefficient as an MLP's
// activation, the others as FastKAN has its Gaussians.
void add_bases(std::vector<DecoderKind>& all) {
  const auto add = [&](const char* name, Keys keys, bool learns) {
    const bool single = is_activation(name);
    if (!single) keys.emplace_back("use_base_update");
    if (learns) keys.emplace_back("inner");
    const bool waves = std::find(keys.begin(), keys.end(), "omega") != keys.end();
    const auto draw = waves ? draw_sines : single ? draw_rectified : draw_splines;
    all.push_back({name, {}, keys, {}, layers_of_basis, draw, single && !waves ? 0.3 : 0.1});
  };
  add("identity", {}, false);
  add("relu", {}, false);
  add("leaky_relu", {"slope"}, false);
  add("gelu", {}, false);
  add("silu", {}, false);
  add("tanh", {}, false);
  add("sine", {"omega"}, false);
  add("gauss", {"scale"}, false);
  add("wire", {"omega", "scale"}, false);
  add("finer", {"omega"}, false);
  add("snake", {"frequency"}, true);
  add("rbf", {"grid_radius", "num_grids"}, true);
  add("rswaf", {"grid_radius", "num_grids", "sharpness"}, true);
  add("bspline", {"grid_radius", "num_grids", "order", "clamped"}, false);
  add("chebyshev", {"degree", "squash"}, false);
  add("legendre", {"degree", "squash"}, false);
  add("gram", {"degree", "squash"}, true);
  add("jacobi", {"degree", "squash", "alpha", "beta"}, false);
  add("bernstein", {"degree"}, false);
  add("relu_kan", {"num_grids", "span"}, true);
  add("fourier", {"terms"}, false);
  add("wavelet", {"wavelet"}, false);
  add("rational", {"numerator", "denominator"}, true);
}

}  // namespace

bool DecoderKind::takes(const std::string& key) const {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

const std::vector<DecoderKind>& decoder_kinds() {
  static const std::vector<DecoderKind> kinds = [] {
    std::vector<DecoderKind> all;
    add_named(all);
    add_bases(all);
    all.push_back({"custom", {}, {}, {}, layers_of_custom, draw_custom, 0.1});
    return all;
  }();
  return kinds;
}

const DecoderKind& decoder_kind(const std::string& name) {
  std::vector<std::string> known, own;
  for (const DecoderKind& kind : decoder_kinds()) {
    if (kind.name == name) return kind;
    known.push_back(kind.name);
    if (kind.layers != layers_of_basis) own.push_back(kind.name);
    for (const std::string& alias : kind.aliases) {
      if (alias == name) return kind;
      known.push_back(alias);
    }
  }
  throw Error("unknown network type '" + name + "'" + nearest(name, known) +
              " (known: " + join(own) + " and every basis by its name)");
}

}  // namespace kanbench

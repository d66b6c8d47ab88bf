#include "decoder_layers.h"

#include <algorithm>

#include "kanbench/error.h"
#include "layer_spec.h"

namespace kanbench {
namespace {

// The layers of a run's widths, each as `make` says for its place.
template <class Make>
std::vector<Layer> chain(const Run& run, int in, Make make) {
  std::vector<Layer> layers;
  for (int l = 0; l <= run.n_hidden_layers; ++l) {
    layers.push_back(make(l));
    layers.back().in = in;
    in = layers.back().out = l < run.n_hidden_layers ? run.n_neurons : run.n_outputs;
  }
  return layers;
}

template <class Enum>
Enum value_of(const std::string& word) {
  const Words words = words_of(Enum{});
  return static_cast<Enum>(std::find(words.begin(), words.end(), word) - words.begin());
}

float real(double value) { return static_cast<float>(value); }

basis::BSpline bspline_of(const KanParameters& kan) {
  return {kan.num_grids, kan.order, real(kan.grid_radius), kan.clamped};
}

basis::Rswaf rswaf_of(const KanParameters& kan) {
  const float radius = real(kan.grid_radius);
  return {kan.num_grids, -radius, radius, real(kan.sharpness)};
}

// The basis of that name (or its decoder's) with a run's hyper-parameters.
Basis basis_of(const std::string& name, const KanParameters& kan) {
  const auto squash = value_of<basis::Squash>(kan.squash);
  const float omega = real(kan.omega), scale = real(kan.scale);
  if (name == "identity") return basis::Identity{};
  if (name == "relu") return basis::Relu{};
  if (name == "leaky_relu") return basis::LeakyRelu{real(kan.slope)};
  if (name == "gelu") return basis::Gelu{};
  if (name == "silu") return basis::Silu{};
  if (name == "tanh") return basis::Tanh{};
  if (name == "sine") return basis::Sine{omega};
  if (name == "gauss") return basis::Gauss{scale};
  if (name == "wire") return basis::Wire{omega, scale};
  if (name == "finer") return basis::Finer{omega};
  if (name == "snake") return basis::Snake{real(kan.frequency)};
  if (name == "rbf") return basis::Rbf{kan.num_grids, real(kan.grid_radius)};
  if (name == "rswaf") return rswaf_of(kan);
  if (name == "bspline") return bspline_of(kan);
  if (name == "chebyshev" || name == "kacn") return basis::Chebyshev{kan.degree, squash};
  if (name == "legendre" || name == "kaln") return basis::Legendre{kan.degree, squash};
  if (name == "gram" || name == "kagn") return basis::Gram{kan.degree, squash};
  if (name == "jacobi" || name == "kajn")
    return basis::Jacobi{kan.degree, real(kan.alpha), real(kan.beta), squash};
  if (name == "bernstein" || name == "kabn") return basis::Bernstein{kan.degree};
  if (name == "relu_kan") return basis::ReluKan{kan.num_grids, kan.span};
  if (name == "fourier") return basis::Fourier{kan.terms};
  if (name == "wavelet") return basis::Wavelet{value_of<basis::WaveletKind>(kan.wavelet)};
  check(name == "rational", "a basis without hyper-parameters of its own");
  return basis::Rational{kan.numerator, kan.denominator};
}

Inner inner_of(const KanParameters& kan, const Basis& basis) {
  return inner(basis) > 0 ? value_of<Inner>(kan.inner) : Inner::fixed;
}

// LayerNorm and an activation before all layers but the first, whose input is still noise where it
// is fine, and a base branch behind them.
void place_behind_norm(Layer& layer, int l, Activation activation, bool base) {
  layer.norm = l > 0;
  layer.activation = l > 0 ? activation : Activation::none;
  layer.base = layer.base_normalised = base;
}

}  // namespace

std::vector<Layer> layers_of_mlp(const Run& run, int in) {
  return chain(run, in, [](int l) {
    Layer layer;
    if (l > 0) layer.basis = basis::Relu{};
    return layer;
  });
}

std::vector<Layer> layers_of_fastkan(const Run& run, int in) {
  return chain(run, in, [&](int l) {
    Layer layer;
    layer.basis = basis_of("rbf", run.kan);
    layer.inner = inner_of(run.kan, layer.basis);
    layer.base = layer.bias = run.kan.use_base_update;
    // Behind a table whose fine levels are still noise, a norm would blow that noise up.
    layer.norm = l > 0 || run.faithful;
    return layer;
  });
}

std::vector<Layer> layers_of_siren(const Run& run, int in) {
  return chain(run, in, [&](int l) {
    Layer layer;
    if (l > 0) layer.basis = basis::Sine{real(l == 1 ? run.kan.first_omega : run.kan.omega)};
    layer.bias = true;
    return layer;
  });
}

std::vector<Layer> layers_of_fasterkan(const Run& run, int in) {
  return chain(run, in, [&](int l) {
    Layer layer;
    layer.basis = rswaf_of(run.kan);
    layer.inner = inner_of(run.kan, layer.basis);
    layer.norm = l > 0;
    return layer;
  });
}

std::vector<Layer> layers_of_efficientkan(const Run& run, int in) {
  return chain(run, in, [&](int) {
    Layer layer;
    layer.basis = bspline_of(run.kan);
    layer.base = run.kan.use_base_update;
    return layer;
  });
}

std::vector<Layer> layers_of_kan(const Run& run, int in) {
  return chain(run, in, [&](int l) {
    Layer layer;
    layer.basis = bspline_of(run.kan);
    layer.base_activation = Activation::gelu;
    place_behind_norm(layer, l, Activation::prelu, run.kan.use_base_update);
    return layer;
  });
}

std::vector<Layer> layers_of_fourierkan(const Run& run, int in) {
  Run deeper = run;
  ++deeper.n_hidden_layers;
  return chain(deeper, in, [&](int l) {
    Layer layer;
    layer.bias = true;
    layer.norm = l == 1;
    if (l == 0) layer.basis = basis::Fourier{run.kan.terms};
    if (l > 1) layer.basis = basis::Fkan{};
    return layer;
  });
}

std::vector<Layer> layers_of_polynomials(const Run& run, int in) {
  return chain(run, in, [&](int l) {
    Layer layer;
    layer.basis = basis_of(run.network_type, run.kan);
    layer.inner = inner_of(run.kan, layer.basis);
    if (run.network_type != "kacn")
      place_behind_norm(layer, l, Activation::silu, run.kan.use_base_update);
    return layer;
  });
}

std::vector<Layer> layers_of_relukan(const Run& run, int in) {
  return chain(run, in, [&](int) {
    Layer layer;
    layer.basis = basis_of("relu_kan", run.kan);
    layer.inner = inner_of(run.kan, layer.basis);
    layer.bias = true;
    return layer;
  });
}

std::vector<Layer> layers_of_wavkan(const Run& run, int in) {
  return chain(run, in, [&](int l) {
    Layer layer;
    layer.basis = basis_of("wavelet", run.kan);
    layer.edges = true;
    place_behind_norm(layer, l, Activation::none, run.kan.use_base_update);
    return layer;
  });
}

std::vector<Layer> layers_of_bottleneck(const Run& run, int in) {
  std::vector<Layer> layers;
  for (int l = 0; l <= run.n_hidden_layers; ++l) {
    const int out = l < run.n_hidden_layers ? run.n_neurons : run.n_outputs;
    const int few = std::max(16, std::max(in, out) / 8);
    Layer down, middle, up;
    down.in = in;
    down.out = middle.in = middle.out = up.in =
        run.kan.bottleneck > 0 ? run.kan.bottleneck : std::min(few, in);
    up.out = out;
    down.bias = up.bias = true;
    place_behind_norm(down, l, Activation::silu, true);
    down.base_skip = 2;
    middle.basis = basis_of("gram", run.kan);
    middle.inner = inner_of(run.kan, middle.basis);
    layers.insert(layers.end(), {down, middle, up});
    in = out;
  }
  return layers;
}

bool is_activation(const std::string& basis) { return size(basis_of(basis, {})) == 1; }

std::vector<Layer> layers_of_basis(const Run& run, int in) {
  const Basis own = basis_of(run.network_type, run.kan);
  return chain(run, in, [&](int l) {
    Layer layer;
    const bool single = size(own) == 1;
    if (!single || l > 0) layer.basis = own;
    layer.inner = inner_of(run.kan, layer.basis);
    layer.base = !single && run.kan.use_base_update;
    layer.bias = single || layer.base;
    layer.norm = !single && l > 0;
    return layer;
  });
}

std::vector<Layer> layers_of_custom(const Run& run, int in) {
  const std::string where = run.dataset + ".layers";
  return read_layers(Json::parse(run.kan.layers), in, where, true);
}

}  // namespace kanbench

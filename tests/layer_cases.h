#pragma once
// Decoders that use what a layer can do beside its basis, for tests of every backend.

#include <string>
#include <utility>
#include <vector>

#include "kanbench/math/layer.h"

namespace kanbench::test {

using Decoder = std::pair<std::string, std::vector<Layer>>;

/// Layers of such widths, all as `like`.
inline std::vector<Layer> repeat(const Layer& like, std::vector<int> widths) {
  std::vector<Layer> layers;
  for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
    layers.push_back(like);
    layers.back().in = widths[l];
    layers.back().out = widths[l + 1];
  }
  return layers;
}

/// The basis at a frequency at which layers behind each other do not make rounding larger.
inline Basis tame(Basis basis) {
  if (auto* sine = std::get_if<basis::Sine>(&basis)) sine->omega = 2;
  if (auto* finer = std::get_if<basis::Finer>(&basis)) finer->omega = 0.7f;
  if (auto* wire = std::get_if<basis::Wire>(&basis)) *wire = {2, 0.8f};
  if (auto* fkan = std::get_if<basis::Fkan>(&basis)) fkan->steepness = 2;
  if (auto* fourier = std::get_if<basis::Fourier>(&basis)) fourier->terms = 2;
  return basis;
}

template <std::size_t... I>
void add_inner(std::vector<Decoder>& all, int in, std::index_sequence<I...>) {
  for (const Basis& basis : {Basis(std::variant_alternative_t<I, Basis>{})...}) {
    if (inner(basis) == 0) continue;
    for (const Inner own : {Inner::layer, Inner::input}) {
      Layer layer;
      layer.basis = basis;
      layer.inner = own;
      layer.base = layer.norm = own == Inner::input;
      all.emplace_back(std::string(name(basis)) + ", inner parameters of each " +
                           words_of(own)[static_cast<std::size_t>(own)],
                       repeat(layer, {in, 7, 1}));
    }
  }
}

/// Bases at other settings than their own.
inline void add_settings(std::vector<Decoder>& all, int in) {
  const auto clamp = basis::Squash::clamp;
  Layer local;
  local.bias = true;
  for (const bool clamped : {false, true}) {
    local.basis = basis::BSpline{clamped ? 30 : 14, clamped ? 5 : 3, 1.2f, clamped};
    all.emplace_back(clamped ? "clamped splines left out" : "splines left out",
                     repeat(local, {in, 19, 33, 1}));
  }
  for (const Basis& basis :
       {Basis(basis::BSpline{4, 1, 1.5f, false}), Basis(basis::BSpline{6, 3, 1, true}),
        Basis(basis::BSpline{20, 5, 2, false}), Basis(basis::BSpline{3, 0, 1, true}),
        Basis(basis::Chebyshev{8, clamp}), Basis(basis::Legendre{0, clamp}),
        Basis(basis::Jacobi{5, 0.5f, -0.5f}), Basis(basis::Gram{1}), Basis(basis::Fourier{10}),
        Basis(basis::Wavelet{basis::WaveletKind::meyer}),
        Basis(basis::Wavelet{basis::WaveletKind::shannon})}) {
    Layer layer;
    layer.basis = basis;
    layer.bias = true;
    all.emplace_back(std::string("other ") + name(basis) + " of " + std::to_string(size(basis)),
                     repeat(layer, {in, 6, 1}));
  }
}

inline void add_edges(std::vector<Decoder>& all, int in) {
  using Kind = basis::WaveletKind;
  for (const Kind kind : {Kind::mexican_hat, Kind::morlet, Kind::dog, Kind::meyer, Kind::shannon}) {
    Layer layer;
    layer.basis = basis::Wavelet{kind};
    layer.edges = layer.base = layer.base_normalised = layer.norm = true;
    all.emplace_back(std::string("edges, ") + words_of(kind)[static_cast<std::size_t>(kind)],
                     repeat(layer, {in, 7, 1}));
  }
  Layer bare;
  bare.basis = basis::Sine{2};
  bare.edges = bare.bias = true;
  all.emplace_back("edges, sine with bias", repeat(bare, {in, 18, 1}));
}

inline void add_activations(std::vector<Decoder>& all, int in) {
  for (const Activation activation : {Activation::silu, Activation::gelu, Activation::prelu}) {
    const std::string word = words_of(activation)[static_cast<std::size_t>(activation)];
    Layer layer;
    layer.basis = basis::Chebyshev{};
    layer.activation = activation;
    all.emplace_back(word + " alone", repeat(layer, {in, 7, 1}));
    layer.norm = layer.base = layer.base_normalised = true;
    layer.base_activation = activation == Activation::prelu ? Activation::none : activation;
    all.emplace_back(word + " behind a norm, base behind both", repeat(layer, {in, 7, 5, 1}));
    layer.base_normalised = false;
    layer.basis = basis::Relu{};
    all.emplace_back(word + ", relu, base before both", repeat(layer, {in, 7, 5, 1}));
  }
}

/// A base branch over three layers, and one to the output.
inline void add_skips(std::vector<Decoder>& all, int in) {
  Layer down, middle, up, last;
  down.bias = up.bias = last.bias = true;
  down.base = down.norm = down.base_normalised = true;
  down.activation = Activation::silu;
  down.base_skip = 2;
  middle.basis = basis::Gram{};
  middle.inner = Inner::layer;
  down.in = in, down.out = middle.in = middle.out = up.in = 4, up.out = last.in = 9, last.out = 1;
  all.emplace_back("bottleneck", std::vector<Layer>{down, middle, up, last});
  up.out = 1;
  all.emplace_back("bottleneck to the output", std::vector<Layer>{down, middle, up});
}

inline std::vector<Decoder> layer_cases(int in) {
  std::vector<Decoder> all;
  add_inner(all, in, std::make_index_sequence<std::variant_size_v<Basis>>{});
  add_settings(all, in);
  add_edges(all, in);
  add_activations(all, in);
  add_skips(all, in);
  return all;
}

}  // namespace kanbench::test

#pragma once
// The one layer type. With v = activation(norm(x)),
//   y = bias + sum_i sum_k W[i][k] phi_k(v_i) (+ sum_i V[i] base(v_i or x_i)).
// An MLP is a chain of them with basis identity, then relu; FastKAN has rbf, norm, base and bias.
// These plain loops over one row are the law that every fast path is held against.

#include <cmath>
#include <cstdint>

#include "kanbench/math/activation.h"
#include "kanbench/math/basis.h"
#include "kanbench/math/dual.h"

namespace kanbench {

/// Whose own the basis' inner parameters are: nobody's, for they are fixed; the layer's; each
/// input's.
enum class Inner { fixed, layer, input };

/// The names of the values in files, in order.
inline Words words_of(Inner) {
  static constexpr const char* words[] = {"fixed", "layer", "input"};
  return words;
}

struct Layer {
  int in = 0, out = 0;
  Basis basis = basis::Identity{};
  /// A base branch: adds V base_activation(x), of the input before the norm.
  bool base = false;
  bool bias = false;
  /// Normalises the input over its features (LayerNorm, affine, eps 1e-5, biased variance).
  bool norm = false;
  Activation activation = Activation::none;
  Inner inner = Inner::fixed;
  /// Each edge has its own scale a and shift t and takes a basis of one coefficient at a (v - t).
  bool edges = false;
  /// Not prelu.
  Activation base_activation = Activation::silu;
  /// The base branch takes v instead of x,
  bool base_normalised = false;
  /// and adds to the output of the layer that comes so many after this one.
  int base_skip = 0;
};

inline constexpr double kNormEpsilon = 1e-5;

/// Numbers in a layer's inner parameters, over all inputs where they are each input's own.
inline std::int64_t inner_count(const Layer& layer) {
  if (layer.inner == Inner::fixed) return 0;
  return std::int64_t{inner(layer.basis)} * (layer.inner == Inner::input ? layer.in : 1);
}

/// A layer's parameters (or their gradients), each null where the layer has none: weight
/// [out][in * size], base_weight [out of its target][in], bias [out], norm_weight [in], norm_bias
/// [in], activation_share [1], inner [in or 1][inner], edge_scale and edge_shift [out][in].
template <class T>
struct LayerParameters {
  T* weight = nullptr;
  T* base_weight = nullptr;
  T* bias = nullptr;
  T* norm_weight = nullptr;
  T* norm_bias = nullptr;
  T* activation_share = nullptr;
  T* inner = nullptr;
  T* edge_scale = nullptr;
  T* edge_shift = nullptr;
};

/// z = norm(x) for one row; returns 1 / sqrt(variance + eps) and the mean through `mean`.
template <class T>
T normalise_row(const Layer& layer, const LayerParameters<const T>& p, const T* x, T* z, T* mean) {
  T sum = 0, squares = 0;
  for (int i = 0; i < layer.in; ++i) sum += x[i];
  *mean = sum / T(layer.in);
  for (int i = 0; i < layer.in; ++i) squares += (x[i] - *mean) * (x[i] - *mean);
  const T inverse = T(1) / std::sqrt(squares / T(layer.in) + T(kNormEpsilon));
  for (int i = 0; i < layer.in; ++i)
    z[i] = (x[i] - *mean) * inverse * p.norm_weight[i] + p.norm_bias[i];
  return inverse;
}

/// prelu's share in `p`, 0 for other activations.
template <class T>
T share_of(const LayerParameters<const T>& p) {
  return p.activation_share ? *p.activation_share : T(0);
}

/// Calls emit(k, phi_k(x)) for input `i` of the layer, its inner parameters as they are.
template <class B, class T, class Number, class Emit>
void eval_input(const Layer& layer, const B& basis, const LayerParameters<const T>& p, int i,
                Number x, Emit&& emit) {
  if constexpr (kHasInner<B>)
    if (p.inner) {
      const T* inner = p.inner + (layer.inner == Inner::input ? i * basis.inner() : 0);
      return basis.eval(
          x, [&](int q) { return Number(inner[q]); }, emit);
    }
  basis.eval(x, emit);
}

/// Adds y[out] of one row x[in] to `y`, and what its base branch gives to `base_y`, the output of
/// the layer that the branch ends in; `v` is room for in numbers.
template <class T>
void layer_forward(const Layer& layer, int base_out, const LayerParameters<const T>& p, const T* x,
                   T* v, T* y, T* base_y) {
  T mean;
  if (layer.norm) normalise_row(layer, p, x, v, &mean);
  for (int i = 0; i < layer.in; ++i)
    v[i] = activate(layer.activation, layer.norm ? v[i] : x[i], share_of(p));
  std::visit(
      [&](const auto& basis) {
        const int n = basis.size();
        for (int o = 0; o < layer.out; ++o) {
          T sum = layer.bias ? p.bias[o] : T(0);
          for (int i = 0; i < layer.in; ++i) {
            const std::int64_t edge = std::int64_t{o} * layer.in + i;
            const T z = layer.edges ? p.edge_scale[edge] * (v[i] - p.edge_shift[edge]) : v[i];
            eval_input(layer, basis, p, i, z,
                       [&](int k, T phi) { sum += p.weight[edge * n + k] * phi; });
          }
          y[o] += sum;
        }
      },
      layer.basis);
  if (!layer.base) return;
  for (int i = 0; i < layer.in; ++i) {
    const T b = activate(layer.base_activation, layer.base_normalised ? v[i] : x[i], T(0));
    for (int o = 0; o < base_out; ++o) base_y[o] += p.base_weight[o * layer.in + i] * b;
  }
}

}  // namespace kanbench

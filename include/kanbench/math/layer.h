#pragma once
// The one layer type: y = bias + sum_i sum_k W[i][k] phi_k(norm(x)_i) (+ sum_i V[i] silu(x_i)).
// An MLP is a chain of them with basis identity, then relu; FastKAN has rbf, norm, base and bias.
// These plain loops over one row are the law that every fast path is held against.

#include <cmath>
#include <cstdint>

#include "kanbench/math/basis.h"
#include "kanbench/math/dual.h"

namespace kanbench {

struct Layer {
  int in = 0, out = 0;
  Basis basis = basis::Identity{};
  /// Adds V silu(x), on the input before the norm.
  bool base = false;
  bool bias = false;
  /// Normalises the input over its features (LayerNorm, affine, eps 1e-5, biased variance).
  bool norm = false;
};

inline constexpr double kNormEpsilon = 1e-5;

/// A layer's parameters, each null where the layer has none: weight [out][in * size],
/// base_weight [out][in], bias [out], norm_weight [in], norm_bias [in].
template <class T>
struct LayerParameters {
  T* weight = nullptr;
  T* base_weight = nullptr;
  T* bias = nullptr;
  T* norm_weight = nullptr;
  T* norm_bias = nullptr;
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

/// y[out] of one row x[in]; `z` is room for in numbers.
template <class T>
void layer_forward(const Layer& layer, const LayerParameters<const T>& p, const T* x, T* z, T* y) {
  T mean;
  if (layer.norm) normalise_row(layer, p, x, z, &mean);
  const T* input = layer.norm ? z : x;
  std::visit(
      [&](const auto& basis) {
        const int n = basis.size();
        for (int o = 0; o < layer.out; ++o) {
          T sum = layer.bias ? p.bias[o] : T(0);
          const T* w = p.weight + std::int64_t{o} * layer.in * n;
          for (int i = 0; i < layer.in; ++i) {
            basis.eval(input[i], [&](int k, T phi) { sum += w[i * n + k] * phi; });
            if (layer.base) sum += p.base_weight[o * layer.in + i] * silu(x[i]);
          }
          y[o] = sum;
        }
      },
      layer.basis);
}

/// Given dy[out], adds to the parameters' gradients `d` and writes dx[in]; `z`, `dz` are room for
/// in numbers each.
template <class T>
void layer_backward(const Layer& layer, const LayerParameters<const T>& p, const T* x, const T* dy,
                    const LayerParameters<T>& d, T* z, T* dz, T* dx) {
  T mean = 0, inverse = 1;
  if (layer.norm) inverse = normalise_row(layer, p, x, z, &mean);
  const T* input = layer.norm ? z : x;
  std::visit(
      [&](const auto& basis) {
        const int n = basis.size();
        for (int i = 0; i < layer.in; ++i) {
          T slope = 0;
          basis.eval(Dual<T>(input[i], T(1)), [&](int k, Dual<T> phi) {
            for (int o = 0; o < layer.out; ++o) {
              const std::int64_t at = (std::int64_t{o} * layer.in + i) * n + k;
              d.weight[at] += dy[o] * phi.v;
              slope += dy[o] * p.weight[at] * phi.d;
            }
          });
          dz[i] = slope;
        }
      },
      layer.basis);
  if (layer.bias)
    for (int o = 0; o < layer.out; ++o) d.bias[o] += dy[o];
  if (layer.norm) {
    T sum = 0, dot = 0;
    for (int i = 0; i < layer.in; ++i) {
      const T unit = (x[i] - mean) * inverse;
      d.norm_weight[i] += dz[i] * unit;
      d.norm_bias[i] += dz[i];
      dz[i] *= p.norm_weight[i];
      sum += dz[i];
      dot += dz[i] * unit;
    }
    for (int i = 0; i < layer.in; ++i)
      dx[i] = inverse * (dz[i] - sum / layer.in - (x[i] - mean) * inverse * dot / layer.in);
  } else {
    for (int i = 0; i < layer.in; ++i) dx[i] = dz[i];
  }
  if (!layer.base) return;
  for (int i = 0; i < layer.in; ++i) {
    const Dual<T> s = silu(Dual<T>(x[i], T(1)));
    for (int o = 0; o < layer.out; ++o) {
      d.base_weight[o * layer.in + i] += dy[o] * s.v;
      dx[i] += dy[o] * p.base_weight[o * layer.in + i] * s.d;
    }
  }
}

}  // namespace kanbench

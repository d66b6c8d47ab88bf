#pragma once
// The way back through one layer, for one row: the law's other half.

#include <vector>

#include "kanbench/math/layer.h"

namespace kanbench {

/// Adds to `d.inner` what `dphi[k]` gives through input `i`'s inner parameters at x.
template <class T>
void inner_backward(const Layer& layer, const LayerParameters<const T>& p, int i, T x,
                    const std::vector<T>& dphi, const LayerParameters<T>& d) {
  std::visit(
      [&]<class B>(const B& basis) {
        if constexpr (kHasInner<B>) {
          const std::int64_t at = layer.inner == Inner::input ? i * basis.inner() : 0;
          for (int q = 0; q < basis.inner(); ++q)
            basis.eval(
                Dual<T>(x), [&](int r) { return Dual<T>(p.inner[at + r], T(r == q)); },
                [&](int k, Dual<T> phi) { d.inner[at + q] += dphi[k] * phi.d; });
        }
      },
      layer.basis);
}

/// The basis' part of the way back: given dy[out], adds to the gradients `d` and writes dv[in].
template <class T>
void basis_backward(const Layer& layer, const LayerParameters<const T>& p, const T* v, const T* dy,
                    const LayerParameters<T>& d, T* dv) {
  std::visit(
      [&](const auto& basis) {
        const int n = basis.size();
        std::vector<T> dphi(n);
        for (int i = 0; i < layer.in; ++i) {
          dv[i] = 0;
          dphi.assign(n, T(0));
          for (int o = 0; o < layer.out; ++o) {
            const std::int64_t edge = std::int64_t{o} * layer.in + i;
            const T scale = layer.edges ? p.edge_scale[edge] : T(1);
            const T off = layer.edges ? v[i] - p.edge_shift[edge] : v[i];
            T slope = 0;
            eval_input(layer, basis, p, i, Dual<T>(scale * off, T(1)), [&](int k, Dual<T> phi) {
              d.weight[edge * n + k] += dy[o] * phi.v;
              dphi[k] += dy[o] * p.weight[edge * n + k];
              slope += dy[o] * p.weight[edge * n + k] * phi.d;
            });
            dv[i] += scale * slope;
            if (!layer.edges) continue;
            d.edge_scale[edge] += slope * off;
            d.edge_shift[edge] -= slope * scale;
          }
          if (p.inner) inner_backward(layer, p, i, v[i], dphi, d);
        }
      },
      layer.basis);
}

/// Through LayerNorm: dz[in] -> dx[in], adding to the norm's gradients.
template <class T>
void norm_backward(const Layer& layer, const LayerParameters<const T>& p, const T* x, T mean,
                   T inverse, const LayerParameters<T>& d, T* dz, T* dx) {
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
}

/// Given dy[out] and base_dy, the gradient of the output that the base branch ends in, adds to the
/// parameters' gradients `d` and writes dx[in].
template <class T>
void layer_backward(const Layer& layer, int base_out, const LayerParameters<const T>& p, const T* x,
                    const T* dy, const T* base_dy, const LayerParameters<T>& d, T* dx) {
  const auto in = static_cast<std::size_t>(layer.in);
  std::vector<T> u(x, x + in), v(in), dv(in), dbase(in);
  T mean = 0, inverse = 1;
  if (layer.norm) inverse = normalise_row(layer, p, x, u.data(), &mean);
  for (std::size_t i = 0; i < in; ++i) v[i] = activate(layer.activation, u[i], share_of(p));
  basis_backward(layer, p, v.data(), dy, d, dv.data());
  if (layer.bias)
    for (int o = 0; o < layer.out; ++o) d.bias[o] += dy[o];
  for (std::size_t i = 0; layer.base && i < in; ++i) {
    const Dual<T> b = activate(layer.base_activation,
                               Dual<T>(layer.base_normalised ? v[i] : x[i], T(1)), Dual<T>(0));
    for (int o = 0; o < base_out; ++o) {
      d.base_weight[o * in + i] += base_dy[o] * b.v;
      dbase[i] += base_dy[o] * p.base_weight[o * in + i] * b.d;
    }
    if (layer.base_normalised) dv[i] += dbase[i];
  }
  for (std::size_t i = 0; i < in; ++i) {
    if (p.activation_share) *d.activation_share -= dv[i] * max0(-u[i]);
    dv[i] *= activate(layer.activation, Dual<T>(u[i], T(1)), Dual<T>(share_of(p))).d;
  }
  if (layer.norm)
    norm_backward(layer, p, x, mean, inverse, d, dv.data(), dx);
  else
    for (std::size_t i = 0; i < in; ++i) dx[i] = dv[i];
  for (std::size_t i = 0; layer.base && !layer.base_normalised && i < in; ++i) dx[i] += dbase[i];
}

}  // namespace kanbench

#pragma once
// The closed set of one-dimensional bases. A basis says how a number x weighs its coefficients:
// eval(x, emit) calls emit(k, phi_k(x)) for each k below size(). One with inner parameters, which a
// layer may learn, also has inner(), how many; start(p), what each begins at; eval(x, value, emit),
// where value(p) gives them; and passes(): parameters of one pass(p) can be differentiated at once,
// for phi_k depends on no more than target(pass, k) of them, on none where that is -1.

#include <type_traits>
#include <variant>

#include "kanbench/math/basis/bernstein.h"
#include "kanbench/math/basis/bspline.h"
#include "kanbench/math/basis/chebyshev.h"
#include "kanbench/math/basis/finer.h"
#include "kanbench/math/basis/fkan.h"
#include "kanbench/math/basis/fourier.h"
#include "kanbench/math/basis/gauss.h"
#include "kanbench/math/basis/gelu.h"
#include "kanbench/math/basis/gram.h"
#include "kanbench/math/basis/identity.h"
#include "kanbench/math/basis/jacobi.h"
#include "kanbench/math/basis/leaky_relu.h"
#include "kanbench/math/basis/legendre.h"
#include "kanbench/math/basis/rational.h"
#include "kanbench/math/basis/rbf.h"
#include "kanbench/math/basis/relu.h"
#include "kanbench/math/basis/relu_kan.h"
#include "kanbench/math/basis/rswaf.h"
#include "kanbench/math/basis/silu.h"
#include "kanbench/math/basis/sine.h"
#include "kanbench/math/basis/snake.h"
#include "kanbench/math/basis/tanh.h"
#include "kanbench/math/basis/wavelet.h"
#include "kanbench/math/basis/wire.h"

namespace kanbench {

using Basis =
    std::variant<basis::Identity, basis::Relu, basis::Rbf, basis::LeakyRelu, basis::Gelu,
                 basis::Silu, basis::Tanh, basis::Sine, basis::Gauss, basis::Wire, basis::Finer,
                 basis::Snake, basis::Fkan, basis::Rswaf, basis::BSpline, basis::Chebyshev,
                 basis::Legendre, basis::Gram, basis::Jacobi, basis::Bernstein, basis::ReluKan,
                 basis::Fourier, basis::Wavelet, basis::Rational>;

/// Whether a basis has inner parameters.
template <class B>
inline constexpr bool kHasInner = requires(const B& b) {
  b.inner();
};

/// Whether a layer's edges can each take the basis at a place of their own; it has one coefficient.
template <class B>
inline constexpr bool kOnEdges =
    std::is_same_v<B, basis::Wavelet> || std::is_same_v<B, basis::Sine> ||
    std::is_same_v<B, basis::Gauss> || std::is_same_v<B, basis::Wire>;

/// Coefficients per input of `basis`.
inline int size(const Basis& basis) {
  return std::visit([](const auto& b) { return b.size(); }, basis);
}

/// Inner parameters of `basis`.
inline int inner(const Basis& basis) {
  return std::visit(
      []<class B>(const B& b) {
        if constexpr (kHasInner<B>)
          return b.inner();
        else
          return 0;
      },
      basis);
}

/// kOnEdges of `basis`.
inline bool on_edges(const Basis& basis) {
  return std::visit([]<class B>(const B&) { return kOnEdges<B>; }, basis);
}

/// What inner parameter `p` of `basis` begins at.
inline float inner_start(const Basis& basis, int p) {
  return std::visit(
      [p]<class B>(const B& b) {
        if constexpr (kHasInner<B>)
          return b.start(p);
        else
          return 0.0f;
      },
      basis);
}

/// The name of `basis` in files and on the command line.
inline const char* name(const Basis& basis) {
  return std::visit([](const auto& b) { return b.name; }, basis);
}

}  // namespace kanbench

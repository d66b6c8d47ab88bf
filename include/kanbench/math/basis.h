#pragma once
// The closed set of one-dimensional bases. A basis says how a number x weighs its coefficients:
// eval(x, emit) calls emit(k, phi_k(x)) for each k below size().

#include <variant>

#include "kanbench/math/basis/identity.h"
#include "kanbench/math/basis/rbf.h"
#include "kanbench/math/basis/relu.h"

namespace kanbench {

using Basis = std::variant<basis::Identity, basis::Relu, basis::Rbf>;

/// Coefficients per input of `basis`.
inline int size(const Basis& basis) {
  return std::visit([](const auto& b) { return b.size(); }, basis);
}

/// The name of `basis` in files and on the command line.
inline const char* name(const Basis& basis) {
  return std::visit([](const auto& b) { return b.name; }, basis);
}

}  // namespace kanbench

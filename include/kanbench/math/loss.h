#pragma once
// The closed set of losses: value and slope of one prediction against its target.

#include <variant>

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench {

namespace loss {

/// |p - t|, slope 0 where they agree; the value of NaN is NaN, so that a sum of losses shows it.
struct L1 {
  static constexpr const char* name = "l1";
  template <class T>
  KB_HD T value(T p, T t) const {
    return (p - t) * slope(p, t);
  }
  template <class T>
  KB_HD T slope(T p, T t) const {
    return step0(p - t) - step0(t - p);
  }
};

/// (p - t)^2.
struct Mse {
  static constexpr const char* name = "mse";
  template <class T>
  KB_HD T value(T p, T t) const {
    return (p - t) * (p - t);
  }
  template <class T>
  KB_HD T slope(T p, T t) const {
    return T(2) * (p - t);
  }
};

}  // namespace loss

using Loss = std::variant<loss::L1, loss::Mse>;

/// The name of `loss` in files and on the command line.
inline const char* name(const Loss& loss) {
  return std::visit([](const auto& l) { return l.name; }, loss);
}

}  // namespace kanbench

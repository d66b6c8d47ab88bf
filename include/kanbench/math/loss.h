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

/// Squared within `delta` of the target and linear beyond (Huber, Annals of Mathematical Statistics
/// 35, 1964): d^2 / 2, or delta (|d| - delta / 2).
struct Huber {
  static constexpr const char* name = "huber";
  float delta = 0.01f;
  template <class T>
  KB_HD T value(T p, T t) const {
    const T held = slope(p, t);
    return held * (p - t - T(0.5f) * held);
  }
  template <class T>
  KB_HD T slope(T p, T t) const {
    const T above = step0(p - t - T(delta)), below = step0(t - p - T(delta));
    return T(delta) * (above - below) + (p - t) * (T(1) - above - below);
  }
};

/// |p - t| / (|t| + epsilon).
struct RelativeL1 {
  static constexpr const char* name = "relative_l1";
  float epsilon = 0.01f;
  template <class T>
  KB_HD T value(T p, T t) const {
    return (p - t) * slope(p, t);
  }
  template <class T>
  KB_HD T slope(T p, T t) const {
    return L1{}.slope(p, t) / (L1{}.value(t, T(0)) + T(epsilon));
  }
};

/// (p - t)^2 / (t^2 + epsilon).
struct RelativeL2 {
  static constexpr const char* name = "relative_l2";
  float epsilon = 0.01f;
  template <class T>
  KB_HD T value(T p, T t) const {
    return (p - t) * (p - t) / (t * t + T(epsilon));
  }
  template <class T>
  KB_HD T slope(T p, T t) const {
    return T(2) * (p - t) / (t * t + T(epsilon));
  }
};

}  // namespace loss

using Loss = std::variant<loss::L1, loss::Mse, loss::Huber, loss::RelativeL1, loss::RelativeL2>;

/// A loss as kernels take it: its place among the alternatives, and its number if it has one.
struct PlainLoss {
  int kind = 0;
  float number = 0;
};

inline PlainLoss plain(const Loss& loss) {
  PlainLoss plain{static_cast<int>(loss.index())};
  if (const auto* huber = std::get_if<loss::Huber>(&loss)) plain.number = huber->delta;
  if (const auto* l1 = std::get_if<loss::RelativeL1>(&loss)) plain.number = l1->epsilon;
  if (const auto* l2 = std::get_if<loss::RelativeL2>(&loss)) plain.number = l2->epsilon;
  return plain;
}

/// What `use` gives for the loss that `plain` stands for.
template <class Use>
KB_HD auto visit(const PlainLoss& plain, const Use& use) {
  switch (plain.kind) {
    case 0:
      return use(loss::L1{});
    case 1:
      return use(loss::Mse{});
    case 2:
      return use(loss::Huber{plain.number});
    case 3:
      return use(loss::RelativeL1{plain.number});
    default:
      return use(loss::RelativeL2{plain.number});
  }
}

/// The name of `loss` in files and on the command line.
inline const char* name(const Loss& loss) {
  return std::visit([](const auto& l) { return l.name; }, loss);
}

}  // namespace kanbench

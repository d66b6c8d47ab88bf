#pragma once
// The closed set of optimizers: how one parameter follows its gradient. Each is elementwise and
// keeps up to two numbers beside a parameter.

#include <cmath>
#include <cstdint>
#include <variant>

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"

namespace kanbench {

/// What all optimizers have in common.
struct UpdateRule {
  /// Steps of the encoder's and of the decoder's parameters.
  float encoder_rate = 1e-3f, decoder_rate = 1e-3f;
  /// Leaves an encoder parameter whose gradient is exactly zero alone: its moments stay as they
  /// are, it does not decay, and neither momentum nor Lion's sign moves it on; so moments of a
  /// table's row count the steps that touched it. False is each formula to the letter.
  bool skip_untouched = true;
  /// A gradient whose norm over all parameters is larger is scaled down to it; 0: none is.
  float largest_norm = 0;
  /// What every gradient is multiplied by before.
  float gradient_scale = 1;
};

/// What a formula needs at one step; which of the numbers count is each optimizer's own.
struct UpdateStep {
  float beta1 = 0, beta2 = 0, epsilon = 0, rate = 0, root = 0;
  /// What decay takes of a parameter, as a share of it.
  float decay = 0;
  /// What the gradient is multiplied by, and the place of the optimizer among the alternatives.
  float scale = 1;
  int kind = 0;
};

/// The factor that brings a gradient of squared norm `square` within `largest`; NaN for NaN.
KB_HD float clip_factor(double square, double largest) {
  const double norm = std::sqrt(square);
  return norm <= largest ? 1.0f : static_cast<float>(largest / norm);
}

/// Adam (Kingma and Ba, ICLR 2015): w -= rate * m / (sqrt(v) * root + epsilon), where rate holds
/// 1 / (1 - beta1^t) and root is 1 / sqrt(1 - beta2^t).
struct Adam : UpdateRule {
  static constexpr const char* name = "adam";
  static constexpr int moments = 2;
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-9f;

  UpdateStep at(double step_size, std::int64_t t) const {
    const double b1 = 1 - std::pow(static_cast<double>(beta1), static_cast<double>(t));
    const double b2 = 1 - std::pow(static_cast<double>(beta2), static_cast<double>(t));
    return {beta1, beta2, epsilon, static_cast<float>(step_size / b1),
            static_cast<float>(1 / std::sqrt(b2))};
  }
  template <class T>
  static KB_HD void apply(const UpdateStep& s, T g, T& w, T& m, T& v) {
    m = T(s.beta1) * m + T(1 - s.beta1) * g;
    v = T(s.beta2) * v + T(1 - s.beta2) * g * g;
    w = w - T(s.rate) * m / (sqrt(v) * T(s.root) + T(s.epsilon));
  }
};

/// Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019).
struct AdamW : UpdateRule {
  static constexpr const char* name = "adamw";
  static constexpr int moments = 2;
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-9f, weight_decay = 0.01f;

  UpdateStep at(double step_size, std::int64_t t) const {
    UpdateStep s = Adam{{}, beta1, beta2, epsilon}.at(step_size, t);
    s.decay = static_cast<float>(step_size * static_cast<double>(weight_decay));
    return s;
  }
  template <class T>
  static KB_HD void apply(const UpdateStep& s, T g, T& w, T& m, T& v) {
    w = w - T(s.decay) * w;
    Adam::apply(s, g, w, m, v);
  }
};

/// Lion (Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023): the sign of
/// beta1 m + (1 - beta1) g, then m = beta2 m + (1 - beta2) g; decay is decoupled.
struct Lion : UpdateRule {
  static constexpr const char* name = "lion";
  static constexpr int moments = 1;
  float beta1 = 0.9f, beta2 = 0.99f, weight_decay = 0;

  UpdateStep at(double step_size, std::int64_t) const {
    return {beta1, beta2,
            0,     static_cast<float>(step_size),
            0,     static_cast<float>(step_size * static_cast<double>(weight_decay))};
  }
  template <class T>
  static KB_HD void apply(const UpdateStep& s, T g, T& w, T& m, T&) {
    const T way = T(s.beta1) * m + T(1 - s.beta1) * g;
    w = w - T(s.decay) * w - T(s.rate) * (step0(way) - step0(-way));
    m = T(s.beta2) * m + T(1 - s.beta2) * g;
  }
};

/// Stochastic gradient descent: m = momentum m + g, and a step along m, or along g + momentum m
/// with Nesterov's look ahead (Sutskever et al., ICML 2013).
struct Sgd : UpdateRule {
  static constexpr const char* name = "sgd";
  static constexpr int moments = 1;
  float momentum = 0;
  bool nesterov = false;

  UpdateStep at(double step_size, std::int64_t) const {
    // Along g * beta2 + m * epsilon.
    return {momentum, nesterov ? 1.0f : 0.0f, nesterov ? momentum : 1.0f,
            static_cast<float>(step_size)};
  }
  template <class T>
  static KB_HD void apply(const UpdateStep& s, T g, T& w, T& m, T&) {
    m = T(s.beta1) * m + g;
    w = w - T(s.rate) * (T(s.beta2) * g + T(s.epsilon) * m);
  }
};

using Optimizer = std::variant<Adam, AdamW, Lion, Sgd>;

/// The name of `optimizer` in files and on the command line.
inline const char* name(const Optimizer& optimizer) {
  return std::visit([](const auto& o) { return o.name; }, optimizer);
}

inline const UpdateRule& rule_of(const Optimizer& optimizer) {
  return std::visit([](const auto& o) -> const UpdateRule& { return o; }, optimizer);
}
inline UpdateRule& rule_of(Optimizer& optimizer) {
  return std::visit([](auto& o) -> UpdateRule& { return o; }, optimizer);
}

/// The numbers of step `t` (from 1) at learning rate `rate`.
inline UpdateStep step_of(const Optimizer& optimizer, double rate, std::int64_t t) {
  UpdateStep step = std::visit([&](const auto& o) { return o.at(rate, t); }, optimizer);
  step.scale = rule_of(optimizer).gradient_scale;
  step.kind = static_cast<int>(optimizer.index());
  return step;
}

/// Calls `use` with an object of the alternative number `kind`, for its static functions.
template <class Use>
KB_HD auto visit_optimizer(int kind, const Use& use) {
  switch (kind) {
    case 0:
      return use(Adam{});
    case 1:
      return use(AdamW{});
    case 2:
      return use(Lion{});
    default:
      return use(Sgd{});
  }
}

}  // namespace kanbench

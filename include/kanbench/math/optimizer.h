#pragma once
// Adam (Kingma and Ba, ICLR 2015), one parameter at a time.

#include <cmath>
#include <cstdint>

#include "kanbench/math/platform.h"

namespace kanbench {

struct Adam {
  static constexpr const char* name = "adam";
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-9f;
  /// Steps of the encoder's and of the decoder's parameters.
  float encoder_rate = 1e-3f, decoder_rate = 1e-3f;
  /// Leaves an encoder parameter whose gradient is exactly zero alone, moments and all, as
  /// tiny-cuda-nn does; false is Adam to the letter.
  bool skip_untouched = true;
};

/// What Adam's formula needs at step t = 1, 2, ...: w -= rate * m / (sqrt(v) * root + epsilon),
/// where rate holds 1 / (1 - beta1^t) and root is 1 / sqrt(1 - beta2^t).
struct AdamStep {
  float beta1, beta2, epsilon, rate, root;
};

/// The coefficients for step `t` (from 1) at learning rate `rate`.
inline AdamStep adam_step(const Adam& adam, double rate, std::int64_t t) {
  const double b1 = 1 - std::pow(static_cast<double>(adam.beta1), static_cast<double>(t));
  const double b2 = 1 - std::pow(static_cast<double>(adam.beta2), static_cast<double>(t));
  return {adam.beta1, adam.beta2, adam.epsilon, static_cast<float>(rate / b1),
          static_cast<float>(1 / std::sqrt(b2))};
}

/// One parameter `w` with moments `m`, `v` and gradient `g`.
template <class T>
KB_HD void adam_update(const AdamStep& s, T g, T& w, T& m, T& v) {
  m = T(s.beta1) * m + T(1 - s.beta1) * g;
  v = T(s.beta2) * v + T(1 - s.beta2) * g * g;
  w = w - T(s.rate) * m / (sqrt(v) * T(s.root) + T(s.epsilon));
}

}  // namespace kanbench

#pragma once
// What the decoder's last number goes through on the device, and the slope there.

#include "kanbench/math/dual.h"
#include "kanbench/model.h"
#include "kernels/device.h"

namespace kanbench::cuda {

KB_DEVICE float activated(OutputActivation activation, float y) {
  if (activation == OutputActivation::sigmoid) return sigmoid(y);
  // Not max0(), which would hide a NaN.
  if (activation == OutputActivation::relu) return y < 0 ? 0.0f : y;
  return y;
}

/// The activation's slope where its value is `value`.
KB_DEVICE float activation_slope(OutputActivation activation, float value) {
  if (activation == OutputActivation::sigmoid) return value * (1 - value);
  return activation == OutputActivation::relu ? step0(value) : 1;
}

}  // namespace kanbench::cuda

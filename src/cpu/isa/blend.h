#pragma once
// Rows of values added up by their weights.

#include "cpu/kernels.h"

namespace kanbench::cpu::KB_ISA {
namespace {

void blend(const BlendArguments& a) {
  const float *const values = a.values, *const weights = a.weights;
  const float weight = a.weight, low = a.low, range = a.range;
  float* __restrict const out = a.out;
  if (!values) {
    for (std::int64_t i = 0; i < a.count; ++i) out[i] += low * (weights[i] * weight);
    return;
  }
  for (std::int64_t i = 0; i < a.count; ++i) {
    // NaN stays one.
    const float above = values[i] < 0.0f ? 0.0f : values[i];
    const float held = above > 1.0f ? 1.0f : above;
    out[i] += (low + range * held) * (weights[i] * weight);
  }
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

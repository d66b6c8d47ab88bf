#pragma once
// Elementary functions of packs, by polynomials fitted to a few parts in 10^8.

#include "cpu/isa/pack.h"

namespace kanbench::cpu::KB_ISA {
namespace {

KB_HD Pack choose(Pack c, Pack then, Pack otherwise) { return c.v > Vec{} ? then.v : otherwise.v; }

/// |x| is below 2^31.
KB_HD Pack floor(Pack x) {
  const Pack whole = __builtin_convertvector(__builtin_convertvector(x.v, Ints), Vec);
  return whole - step0(whole - x);
}

/// To 2e-7 for |x| up to 10^4, and finite beyond.
KB_HD void sin_cos(Pack x, Pack& sine, Pack& cosine) {
  const Vec magic = Pack(12582912.0f).v;
  const Pack far(4194304.0f);
  const Vec turns = minimum(maximum(Pack(x.v * 0.636619772f), -far), far).v;
  const Vec n = (turns + magic) - magic;
  // A quarter turn in parts whose products with n are exact.
  Vec r = ((x.v - n * 1.5703125f) - n * 4.837512969970703125e-4f) - n * 7.549789954891882e-8f;
  r = minimum(maximum(Pack(r), Pack(-1.0f)), Pack(1.0f)).v;
  const Vec z = r * r;
  const Vec s = ((-1.9582917201e-4f * z + 8.3327251187e-3f) * z - 1.6666664543e-1f) * (z * r) + r;
  const Vec c = ((2.4542947707e-5f * z - 1.3888279773e-3f) * z + 4.1666664540e-2f) * (z * z) -
                0.5f * z + 1.0f;
  const Ints quarter = __builtin_convertvector(n, Ints);
  const Vec swapped_sine = (quarter & 1) != 0 ? c : s, swapped_cosine = (quarter & 1) != 0 ? s : c;
  // NaN and infinity show.
  const Vec shown = x.v * 0.0f;
  sine = ((quarter & 2) != 0 ? -swapped_sine : swapped_sine) + shown;
  cosine = (((quarter + 1) & 2) != 0 ? -swapped_cosine : swapped_cosine) + shown;
}

KB_HD Pack tanh(Pack x) {
  const Pack e = exp(Pack(2.0f) * x);
  const Pack far = Pack(1.0f) - Pack(2.0f) / (e + Pack(1.0f));
  const Vec z = (x * x).v;
  const Vec p =
      (((-6.2763901321e-3f * z + 2.1116216016e-2f) * z - 5.3875138749e-2f) * z + 1.3332924012e-1f) *
          z -
      3.3333330431e-1f;
  const Pack near = x + x * Pack(z * p);
  return choose(Pack(0.36f) - Pack(z), near, far);
}

KB_HD Pack normal_cdf(Pack x) {
  const Pack y = minimum(maximum(x, -x) * Pack(0.70710678f), Pack(9.3f));
  const Vec t = (Pack(1.0f) / (Pack(1.0f) + Pack(0.4f) * y)).v;
  Vec p = 2.3729447471e-2f * t - 5.1019747812e-2f;
  p = p * t - 1.1063777521e-1f;
  p = p * t + 3.2455413738e-1f;
  p = p * t - 9.5436756537e-2f;
  p = p * t + 2.7420496675e-1f;
  p = p * t + 1.7923717470e-1f;
  p = p * t + 2.2996729867e-1f;
  p = p * t + 2.2540126764e-1f;
  const Pack tail = Pack(0.5f) * Pack(t * p) * exp(-(y * y));
  return choose(x, Pack(1.0f) - tail, tail) + x * Pack(0.0f);
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

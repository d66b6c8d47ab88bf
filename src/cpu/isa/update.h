#pragma once
// An optimizer over packs of parameters, fused with the check for finite gradients and their
// zeroing.

#include "cpu/isa/pack.h"
#include "cpu/kernels.h"

namespace kanbench::cpu::KB_ISA {
namespace {

/// One pack at `i`; `bad` becomes NaN if a gradient is not finite.
template <class O>
KB_HD void update_pack(const UpdateArguments& a, std::int64_t i, Pack& bad) {
  constexpr bool second = O::moments > 1;
  const Pack g = load(a.g + i);
  const Pack m = load(a.m + i), v = second ? load(a.v + i) : Pack(0.0f), w = load(a.w + i);
  Pack new_m = m, new_v = v, new_w = w;
  O::apply(a.step, g * Pack(a.step.scale), new_w, new_m, new_v);
  bad = bad + g * Pack(0.0f);
  store(a.m + i, a.skip_untouched ? where_nonzero(g, new_m, m) : new_m);
  if (second) store(a.v + i, a.skip_untouched ? where_nonzero(g, new_v, v) : new_v);
  store(a.w + i, a.skip_untouched ? where_nonzero(g, new_w, w) : new_w);
  store(a.g + i, Pack(0.0f));
}

template <class O>
KB_HD bool update_range(const UpdateArguments& a) {
  Pack bad(0.0f);
  for (std::int64_t i = 0; i < a.count; i += kWidth) {
    if (a.skip_untouched && all_zero(load(a.g + i))) continue;
    update_pack<O>(a, i, bad);
  }
  return sum(bad) == 0;
}

template <class O>
KB_HD bool update_listed(const UpdateArguments& a, const TouchedLines& touched) {
  Pack bad(0.0f);
  for (std::int64_t k = 0; k < touched.count; ++k) {
    const std::int64_t line = touched.lines[k];
    touched.flags[line] = 0;
    for (int i = 0; i < kMaxWidth; i += kWidth) update_pack<O>(a, line * kMaxWidth + i, bad);
  }
  return sum(bad) == 0;
}

bool update(const UpdateArguments& a) {
  return visit_optimizer(a.step.kind,
                         [&]<class O>(const O&) KB_INLINE { return update_range<O>(a); });
}

bool update_lines(const UpdateArguments& a, const TouchedLines& touched) {
  return visit_optimizer(a.step.kind,
                         [&]<class O>(const O&) KB_INLINE { return update_listed<O>(a, touched); });
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

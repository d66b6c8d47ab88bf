#pragma once
// Bases over tiles: from inputs x[rows] to phi[size][rows] and their slopes. Every basis goes
// through its own arithmetic on packs; Gaussians have a way of their own.

#include "cpu/isa/elementary.h"
#include "kanbench/math/basis.h"
#include "kanbench/math/dual.h"

namespace kanbench::cpu::KB_ISA {
namespace {

/// Whether a tile's phi can overwrite its x, with slopes told from phi alone.
template <class B>
inline constexpr bool kInPlace = false;
template <>
inline constexpr bool kInPlace<basis::Identity> = true;
template <>
inline constexpr bool kInPlace<basis::Relu> = true;

KB_HD void apply(const basis::Identity&, float*, std::int64_t) {}
KB_HD void apply(const basis::Relu&, float* x, std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += kWidth) store(x + i, max0(load(x + i)));
}
KB_HD Pack slope_from_phi(const basis::Identity&, Pack) { return Pack(1.0f); }
KB_HD Pack slope_from_phi(const basis::Relu&, Pack phi) { return step0(phi); }

/// Calls basis.eval() at x, with the inner parameters at `inner` where that is not null.
template <class B, class T, class Emit>
KB_HD void eval_at(const B& basis, const float* inner, T x, Emit&& emit) {
  if constexpr (kHasInner<B>)
    if (inner)
      return basis.eval(
          x, [inner](int p) KB_INLINE { return T(Pack(inner[p])); }, emit);
  basis.eval(x, emit);
}

template <class B>
void expand(const B& basis, const float* inner, const float* x, int rows, float* phi) {
  for (int s = 0; s < rows; s += kWidth)
    eval_at(basis, inner, load(x + s),
            [&](int k, Pack p) KB_INLINE { store(phi + k * rows + s, p); });
}

template <class B>
void expand(const B& basis, const float* inner, const float* x, int rows, float* phi,
            float* slope) {
  for (int s = 0; s < rows; s += kWidth)
    eval_at(basis, inner, Dual<Pack>(load(x + s), Pack(1.0f)), [&](int k, Dual<Pack> p) KB_INLINE {
      store(phi + k * rows + s, p.v);
      store(slope + k * rows + s, p.d);
    });
}

/// Adds to the lanes [inner][kMaxWidth] what dphi[size][rows] gives through inner parameters.
template <class B>
void accumulate_inner(const B& basis, const float* inner, const float* x, int rows,
                      const float* dphi, float* lanes) {
  for (int pass = 0; pass < basis.passes(); ++pass)
    for (int s = 0; s < rows; s += kWidth) {
      const auto value = [&](int p) KB_INLINE {
        return Dual<Pack>(Pack(inner[p]), Pack(basis.pass(p) == pass ? 1.0f : 0.0f));
      };
      basis.eval(Dual<Pack>(load(x + s)), value, [&](int k, Dual<Pack> phi) KB_INLINE {
        const int target = basis.target(pass, k);
        if (target < 0) return;
        float* to = lanes + target * kMaxWidth + s % kMaxWidth;
        store(to, load(to) + load(dphi + k * rows + s) * phi.d);
      });
    }
}

/// Gaussians from three exponentials. With t in spacings from the middle, d_k = k - (n - 1) / 2,
///   phi_k = exp(-(t - d_k)^2),   phi_{k+1} / phi_k = exp(2 t) exp(-2 d_k - 1),
/// so both halves grow outwards from the middle by one multiplication each, where nothing
/// overflows: |t| is held below 4.5 beyond the outermost centre, where all are under 2e-9.
template <int N>
struct GaussianChain {
  static constexpr float kReach = 0.5f * (N - 1) + 4.5f;
  static constexpr bool kOdd = N % 2;

  // e^x by its series, for constants.
  static constexpr float constant(double x) {
    double sum = 1, term = 1;
    for (int i = 1; i < 80; ++i) sum += term *= x / i;
    return static_cast<float>(sum);
  }
  struct Ratios {
    float up[N];
  };
  // phi_{k+1} / phi_k without exp(2 t); by symmetry the same serves downwards.
  static constexpr Ratios kRatios = [] {
    Ratios r{};
    for (int k = 0; k < N; ++k) r.up[k] = constant(-2 * (k - 0.5 * (N - 1)) - 1);
    return r;
  }();
  static constexpr float kStart = constant(-0.25);

  /// emit(k, phi_k, t) for each k, t held in reach.
  template <class Emit>
  static KB_HD void eval(Pack t, Emit&& emit) {
    t = minimum(maximum(t, Pack(-kReach)), Pack(kReach));
    const Pack middle = exp_within(-(t * t));
    Pack e, r;
    exp_both(kOdd ? t + t : t, e, r);
    const Pack up = kOdd ? e : e * e, down = kOdd ? r : r * r;
    const Pack start(kStart);
    Pack high = kOdd ? middle : middle * e * start;
    Pack low = kOdd ? middle : middle * r * start;
    emit(N / 2, high, t);
    if (!kOdd) emit(N / 2 - 1, low, t);
#pragma GCC unroll 8
    for (int k = N / 2 + 1; k < N; ++k) {
      const Pack ratio(kRatios.up[k - 1]);
      high = high * (up * ratio);
      low = low * (down * ratio);
      emit(k, high, t);
      emit(N - 1 - k, low, t);
    }
  }
};

template <int N>
void expand_gaussians(const basis::Rbf& basis, const float* x, int rows, float* phi, float* slope) {
  using Chain = GaussianChain<N>;
  const Pack inverse(1 / basis.spacing()), steep(-2 / basis.spacing());
  for (int s = 0; s < rows; s += kWidth) {
    if (!slope)
      Chain::eval(load(x + s) * inverse,
                  [&](int k, Pack p, Pack) KB_INLINE { store(phi + k * rows + s, p); });
    else
      Chain::eval(load(x + s) * inverse, [&](int k, Pack p, Pack t) KB_INLINE {
        store(phi + k * rows + s, p);
        store(slope + k * rows + s, steep * (t - Pack(k - 0.5f * (N - 1))) * p);
      });
  }
}

/// True if the basis was expanded by a chain; longer ones would underflow in the middle.
KB_HD bool expand_chain(const basis::Rbf& basis, const float* x, int rows, float* phi,
                        float* slope) {
  switch (basis.num_grids) {
    case 2:
      expand_gaussians<2>(basis, x, rows, phi, slope);
      return true;
    case 3:
      expand_gaussians<3>(basis, x, rows, phi, slope);
      return true;
    case 4:
      expand_gaussians<4>(basis, x, rows, phi, slope);
      return true;
    case 5:
      expand_gaussians<5>(basis, x, rows, phi, slope);
      return true;
    case 6:
      expand_gaussians<6>(basis, x, rows, phi, slope);
      return true;
    case 7:
      expand_gaussians<7>(basis, x, rows, phi, slope);
      return true;
    case 8:
      expand_gaussians<8>(basis, x, rows, phi, slope);
      return true;
    case 9:
      expand_gaussians<9>(basis, x, rows, phi, slope);
      return true;
    case 10:
      expand_gaussians<10>(basis, x, rows, phi, slope);
      return true;
    default:
      return false;
  }
}
/// Cubic splines as BSpline::cubic() has them, which by dual numbers take a tenth of a step longer:
/// on uniform knots, with s the distance from a spline's middle, in cells,
///   phi = (max(2 - s, 0)^3 - 4 max(1 - s, 0)^3) / 6, and its slope by hand.
KB_HD bool expand_chain(const basis::BSpline& basis, const float* x, int rows, float* phi,
                        float* slope) {
  if (basis.clamped || basis.order != 3) return false;
  const float cells = basis.cells_per_unit();
  const Pack radius(basis.grid_radius), scale(cells), half(0.5f * cells), sixth(1.0f / 6);
  for (int s = 0; s < rows; s += kWidth) {
    const Pack t = (load(x + s) + radius) * scale;
    for (int i = 0; i < basis.size(); ++i) {
      const Pack off = t - Pack(static_cast<float>(i - 1));
      const Pack distance = maximum(off, -off);
      const Pack a = max0(Pack(2.0f) - distance), b = max0(Pack(1.0f) - distance);
      const Pack a2 = a * a, b2 = Pack(4.0f) * b * b;
      store(phi + i * rows + s, sixth * (a2 * a - b2 * b));
      if (!slope) continue;
      const Pack steep = half * (a2 - b2);
      store(slope + i * rows + s, choose(off, -steep, steep));
    }
  }
  return true;
}
template <class B>
KB_HD bool expand_chain(const B&, const float*, int, float*, float*) {
  return false;
}

/// phi[size][rows] of x[rows], and slopes where `slope` is not null.
template <class B>
void expand_input(const B& basis, const float* inner, const float* x, int rows, float* phi,
                  float* slope) {
  if (!inner && expand_chain(basis, x, rows, phi, slope)) return;
  if (slope)
    expand(basis, inner, x, rows, phi, slope);
  else
    expand(basis, inner, x, rows, phi);
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

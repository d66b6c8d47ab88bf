#pragma once
// What the fused decoders make of one input: numbers that weights multiply, and on the way back
// the input's slope from theirs. A family of networks joins the fused kernels by one such struct.

#include "kernels/device.h"

namespace kanbench::cuda {

/// An MLP's layer: the input itself, or where it is not negative.
struct Rectifier {
  /// Numbers an input becomes.
  static constexpr int kSize = 1;
  static constexpr bool kNorm = false;
  /// The first layer's basis, which lets everything pass.
  bool identity = false;

  template <class Layer>
  KB_DEVICE static Rectifier of(const Layer& layer) {
    return {layer.identity};
  }
  KB_DEVICE void expand(float z, float, float (&phi)[kSize]) const {
    // Not fmaxf, which would hide a NaN.
    phi[0] = identity || !(z < 0) ? z : 0.0f;
  }

  /// Takes the slopes of each phi and makes those of z and, past the norm, of x.
  struct Slope {
    float sum = 0;
    KB_DEVICE void add(int, float, float dphi) { sum = dphi; }
  };
  KB_DEVICE void finish(const Slope& s, float z, float, float& dz, float& dx) const {
    dz = identity || z > 0 ? s.sum : 0.0f;
    dx = 0;
  }
};

/// FastKAN's layer: up to eight Gaussians on a uniform grid one spacing apart, and SiLU of the
/// input before the norm. exp(-(u - c)^2) = exp(-u^2) exp(2uc) exp(-c^2): with centres at half-odd
/// places around zero, three exponentials and their powers give all eight. |u| beyond 8 changes
/// nothing that float32 can hold, and its seventh power would overflow.
struct Gaussians {
  static constexpr int kSize = 9;
  static constexpr bool kNorm = true;
  /// u = z * inverse_spacing + shift; the shift moves fewer than eight centres to the first places.
  float inverse_spacing = 1, shift = 0;

  template <class Layer>
  KB_DEVICE static Gaussians of(const Layer& layer) {
    return {layer.inverse_spacing, layer.shift};
  }
  KB_DEVICE float place(float z) const {
    const float u = fmaf(z, inverse_spacing, shift);
    // Not fminf and fmaxf, which would hide a NaN.
    return u < -8.0f ? -8.0f : u > 8.0f ? 8.0f : u;
  }

  KB_DEVICE void expand(float z, float x, float (&phi)[kSize]) const {
    constexpr float kLog2E = 1.44269504f;
    const float u = place(z), l = u * kLog2E;
    const float a = exp2_approx(-u * l), up = exp2_approx(l), down = exp2_approx(-l);
    const float up2 = up * up, down2 = down * down;
    phi[4] = a * up * 0.7788007831f;
    phi[3] = a * down * 0.7788007831f;
    phi[5] = phi[4] * (up2 * 0.1353352832f);
    phi[2] = phi[3] * (down2 * 0.1353352832f);
    phi[6] = phi[5] * (up2 * 0.0183156389f);
    phi[1] = phi[2] * (down2 * 0.0183156389f);
    phi[7] = phi[6] * (up2 * 0.0024787522f);
    phi[0] = phi[1] * (down2 * 0.0024787522f);
    phi[8] = x * sigmoid(x);
  }

  struct Slope {
    float sum = 0, moment = 0, base = 0;
    KB_DEVICE void add(int k, float phi, float dphi) {
      if (k == 8) {
        base = dphi;
        return;
      }
      const float q = phi * dphi;
      sum += q;
      moment = fmaf(static_cast<float>(k) - 3.5f, q, moment);
    }
  };
  KB_DEVICE void finish(const Slope& s, float z, float x, float& dz, float& dx) const {
    dz = 2.0f * inverse_spacing * (s.moment - place(z) * s.sum);
    const float y = sigmoid(x);
    dx = s.base * y * fmaf(x, 1.0f - y, 1.0f);
  }

 private:
  KB_DEVICE static float sigmoid(float x) { return fmaf(0.5f, tanh_approx(0.5f * x), 0.5f); }
};

}  // namespace kanbench::cuda

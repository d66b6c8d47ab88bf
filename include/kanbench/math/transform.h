#pragma once
// Affine maps of space and the numbers that they are trained as. "similarity" (AMGSRN++: Wurster et
// al. 2024): M = R(q / |q|) diag(exp sigma), ten numbers, no shear. "affine" (Wurster et al.,
// "Adaptively placed multi-grid scene representation networks", TVCG 2024): M as it is, twelve.

#include <cmath>
#include <cstdint>
#include <span>

#include "kanbench/math/dual.h"
#include "kanbench/math/platform.h"
#include "kanbench/math/words.h"

namespace kanbench {

/// y = m x + t.
template <class T>
struct AffineMap {
  T m[3][3];
  T t[3];
};

/// A map's numbers, and the gradient of something by them. similarity: log scales (3), quaternion
/// (x, y, z, w), translation (3). affine: three rows of m, each followed by its number of t.
enum class Transform : std::int32_t { similarity, affine };
/// Their names, in the order of their values; so for every such field of an encoder.
inline Words words_of(Transform) {
  static constexpr const char* kAll[] = {"similarity", "affine"};
  return kAll;
}

/// Numbers of a map.
KB_HD int size(Transform transform) { return transform == Transform::affine ? 12 : 10; }

/// A quaternion of length one, and the length that was taken off. Of length zero: no rotation.
template <class T>
struct UnitQuaternion {
  T x, y, z, w, length;

  KB_HD explicit UnitQuaternion(const T* q) {
    const T square = q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3];
    const bool zero = !(square > T(0));
    length = zero ? T(1) : sqrt(square);
    x = q[0] / length, y = q[1] / length, z = q[2] / length, w = zero ? T(1) : q[3] / length;
  }

  KB_HD void rotation(T (&r)[3][3]) const {
    const T one(1), two(2);
    r[0][0] = one - two * (y * y + z * z);
    r[0][1] = two * (x * y - w * z);
    r[0][2] = two * (x * z + w * y);
    r[1][0] = two * (x * y + w * z);
    r[1][1] = one - two * (x * x + z * z);
    r[1][2] = two * (y * z - w * x);
    r[2][0] = two * (x * z - w * y);
    r[2][1] = two * (y * z + w * x);
    r[2][2] = one - two * (x * x + y * y);
  }

  /// Writes the gradient by the four numbers as they were given; g is that by the rotation.
  KB_HD void differentiate(const T (&g)[3][3], T* dq) const {
    const T xy = g[0][1] + g[1][0], xz = g[0][2] + g[2][0], yz = g[1][2] + g[2][1];
    const T wx = g[2][1] - g[1][2], wy = g[0][2] - g[2][0], wz = g[1][0] - g[0][1];
    const T two(2);
    const T d[4] = {two * (y * xy + z * xz + w * wx - two * x * (g[1][1] + g[2][2])),
                    two * (x * xy + z * yz + w * wy - two * y * (g[0][0] + g[2][2])),
                    two * (x * xz + y * yz + w * wz - two * z * (g[0][0] + g[1][1])),
                    two * (x * wx + y * wy + z * wz)};
    const T along = x * d[0] + y * d[1] + z * d[2] + w * d[3];
    dq[0] = (d[0] - x * along) / length;
    dq[1] = (d[1] - y * along) / length;
    dq[2] = (d[2] - z * along) / length;
    dq[3] = (d[3] - w * along) / length;
  }
};

/// The map of `numbers`.
template <class T, class Number>
KB_HD AffineMap<T> map_of(Transform transform, const Number* numbers) {
  AffineMap<T> map;
  if (transform == Transform::affine) {
    for (int k = 0; k < 3; ++k) {
      for (int j = 0; j < 3; ++j) map.m[k][j] = T(numbers[4 * k + j]);
      map.t[k] = T(numbers[4 * k + 3]);
    }
    return map;
  }
  const T q[4] = {T(numbers[3]), T(numbers[4]), T(numbers[5]), T(numbers[6])};
  UnitQuaternion<T>(q).rotation(map.m);
  for (int j = 0; j < 3; ++j) {
    const T scale = exp(T(numbers[j]));
    for (int k = 0; k < 3; ++k) map.m[k][j] = map.m[k][j] * scale;
    map.t[j] = T(numbers[7 + j]);
  }
  return map;
}

/// Writes the gradient by `numbers`; `d` is that by their map.
template <class T, class Number>
KB_HD void map_gradient(Transform transform, const Number* numbers, const AffineMap<T>& d,
                        T* dnumbers) {
  if (transform == Transform::affine) {
    for (int k = 0; k < 3; ++k) {
      for (int j = 0; j < 3; ++j) dnumbers[4 * k + j] = d.m[k][j];
      dnumbers[4 * k + 3] = d.t[k];
    }
    return;
  }
  const T q[4] = {T(numbers[3]), T(numbers[4]), T(numbers[5]), T(numbers[6])};
  const UnitQuaternion<T> unit(q);
  T r[3][3], dr[3][3];
  unit.rotation(r);
  for (int j = 0; j < 3; ++j) {
    const T scale = exp(T(numbers[j]));
    T dscale(0);
    for (int k = 0; k < 3; ++k) {
      dscale = dscale + d.m[k][j] * r[k][j];
      dr[k][j] = d.m[k][j] * scale;
    }
    dnumbers[j] = scale * dscale;
    dnumbers[7 + j] = d.t[j];
  }
  unit.differentiate(dr, dnumbers + 3);
}

/// The cofactors of m: the gradient of its determinant, which is returned.
template <class T>
KB_HD T cofactors(const T (&m)[3][3], T (&c)[3][3]) {
  for (int k = 0; k < 3; ++k)
    for (int j = 0; j < 3; ++j) {
      const int a = (k + 1) % 3, b = (k + 2) % 3, e = (j + 1) % 3, f = (j + 2) % 3;
      c[k][j] = m[a][e] * m[b][f] - m[a][f] * m[b][e];
    }
  return m[0][0] * c[0][0] + m[0][1] * c[0][1] + m[0][2] * c[0][2];
}

}  // namespace kanbench

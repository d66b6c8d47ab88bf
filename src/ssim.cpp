// SSIM needs four local means: of a, b, a^2 + b^2 and ab. A row is filtered along z, then x, and
// kept in a ring of eleven; each row of the map then takes the ring through the window along y.
#include "ssim.h"

#include <algorithm>
#include <cmath>

namespace kanbench::ssim {
namespace {

constexpr int fields = 4;
constexpr double c1 = 0.01 * 0.01;
constexpr double c2 = 0.03 * 0.03;
// Columns filtered along z at a time, so that the four sums stay in the first-level cache.
constexpr std::int64_t strip = 256;

// out[i] = the window over taps[0][i] ... taps[10][i].
void convolve(const std::array<const double*, taps>& rows, std::int64_t n, double* __restrict out) {
  const auto w = window();
  const double *a0 = rows[0], *a1 = rows[1], *a2 = rows[2], *a3 = rows[3], *a4 = rows[4],
               *a5 = rows[5], *a6 = rows[6], *a7 = rows[7], *a8 = rows[8], *a9 = rows[9],
               *a10 = rows[10];
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = w[0] * a5[i] + w[1] * (a4[i] + a6[i]) + w[2] * (a3[i] + a7[i]) +
             w[3] * (a2[i] + a8[i]) + w[4] * (a1[i] + a9[i]) + w[5] * (a0[i] + a10[i]);
  }
}

struct Means {
  double* __restrict a;
  double* __restrict b;
  double* __restrict squares;
  double* __restrict products;
};

void set_centre(const float* __restrict a, const float* __restrict b, double w, std::int64_t n,
                Means out) {
  for (std::int64_t i = 0; i < n; ++i) {
    const double p = a[i], q = b[i];
    out.a[i] = w * p;
    out.b[i] = w * q;
    out.squares[i] = w * (p * p + q * q);
    out.products[i] = w * (p * q);
  }
}

// Adds the two slices at one distance from the centre.
void add_pair(const float* __restrict a, const float* __restrict b, const float* __restrict a2,
              const float* __restrict b2, double w, std::int64_t n, Means out) {
  for (std::int64_t i = 0; i < n; ++i) {
    const double p = a[i], q = b[i], p2 = a2[i], q2 = b2[i];
    out.a[i] += w * (p + p2);
    out.b[i] += w * (q + q2);
    out.squares[i] += w * ((p * p + q * q) + (p2 * p2 + q2 * q2));
    out.products[i] += w * (p * q + p2 * q2);
  }
}

// The four fields of one row of voxels, filtered along z. `row` holds n numbers a field.
void filter_z(const Window& slices, std::int64_t offset, std::int64_t n, double* row) {
  const std::size_t centre = slices.original.size() / 2;
  for (std::int64_t x = 0; x < n; x += strip) {
    const std::int64_t count = std::min(strip, n - x);
    const std::int64_t at = offset + x;
    const Means out{row + x, row + n + x, row + 2 * n + x, row + 3 * n + x};
    set_centre(slices.original[centre] + at, slices.reconstruction[centre] + at,
               centre ? window()[0] : 1.0, count, out);
    for (std::size_t k = 1; k <= centre; ++k) {
      add_pair(slices.original[centre - k] + at, slices.reconstruction[centre - k] + at,
               slices.original[centre + k] + at, slices.reconstruction[centre + k] + at,
               window()[k], count, out);
    }
  }
}

// `row`, n voxels, as the window along x wants it: mirrored at both ends, or as it is.
const double* extend(const Axis& x, const double* row, double* padded) {
  if (x.cropped) return row;
  std::copy(row, row + x.n, padded + radius);
  for (int i = 0; i < radius; ++i) {
    padded[i] = row[x.source(0, i)];
    padded[radius + x.n + i] = row[x.source(x.n - 1, radius + 1 + i)];
  }
  return padded;
}

// The sum has eight partial sums in a fixed order, so that it vectorises and its bits are fixed.
double sum(const double* values, std::int64_t n) {
  double lanes[8] = {};
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int k = 0; k < 8; ++k) lanes[k] += values[i + k];
  }
  for (; i < n; ++i) lanes[i % 8] += values[i];
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// The map itself, over `a`.
void similarity(const Means& m, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const double mean_product = m.a[i] * m.b[i];
    const double mean_squares = m.a[i] * m.a[i] + m.b[i] * m.b[i];
    const double covariance = m.products[i] - mean_product;
    const double variances = m.squares[i] - mean_squares;
    m.a[i] = ((2 * mean_product + c1) * (2 * covariance + c2)) /
             ((mean_squares + c1) * (variances + c2));
  }
}

// One row of voxels through the windows along z and x into a ring row, m numbers a field.
class RowFilter {
 public:
  RowFilter(const Window& slices, const Axis& x)
      : slices_(slices),
        x_(x),
        raw_(static_cast<std::size_t>(fields * x.n)),
        padded_(static_cast<std::size_t>(x.n + 2 * radius)) {}

  void operator()(std::int64_t y, double* out) {
    filter_z(slices_, y * x_.n, x_.n, raw_.data());
    const std::int64_t m = x_.outputs();
    for (int field = 0; field < fields; ++field) {
      const double* row = extend(x_, raw_.data() + field * x_.n, padded_.data());
      std::array<const double*, taps> shifted;
      for (int k = 0; k < taps; ++k) shifted[static_cast<std::size_t>(k)] = row + k;
      convolve(shifted, m, out + field * m);
    }
  }

 private:
  const Window& slices_;
  const Axis& x_;
  std::vector<double> raw_, padded_;
};

}  // namespace

const std::array<double, radius + 1>& window() {
  static const std::array<double, radius + 1> weights = [] {
    std::array<double, radius + 1> w;
    for (int k = 0; k <= radius; ++k) {
      w[static_cast<std::size_t>(k)] = std::exp(-k * k / (2 * 1.5 * 1.5));
    }
    const double total = w[0] + 2 * (w[1] + w[2] + w[3] + w[4] + w[5]);
    for (double& weight : w) weight /= total;
    return w;
  }();
  return weights;
}

std::int64_t Axis::source(std::int64_t output, int tap) const {
  if (cropped) return output + tap;
  if (n == 1) return 0;
  const std::int64_t period = 2 * (n - 1);
  const std::int64_t i = (((output + tap - radius) % period) + period) % period;
  return std::min(i, period - i);
}

void row_sums(const Window& slices, const Axis& x, const Axis& y, std::int64_t first,
              std::span<double> sums) {
  const std::int64_t m = x.outputs();
  const std::int64_t stride = fields * m;
  RowFilter filter(slices, x);
  std::vector<double> ring(static_cast<std::size_t>(taps * stride));
  // The voxel row that each ring slot holds; a mirrored row is looked up, not filtered again.
  std::array<std::int64_t, taps> held;
  held.fill(-1);
  std::vector<double> means(static_cast<std::size_t>(stride));
  for (std::size_t r = 0; r < sums.size(); ++r) {
    std::array<const double*, taps> rows;
    for (int k = 0; k < taps; ++k) {
      const std::int64_t source = y.source(first + static_cast<std::int64_t>(r), k);
      // Eleven neighbouring rows, mirrored or not, never share a slot.
      const auto slot = static_cast<std::size_t>(source % taps);
      double* at = ring.data() + static_cast<std::int64_t>(slot) * stride;
      if (held[slot] != source) filter(source, at);
      held[slot] = source;
      rows[static_cast<std::size_t>(k)] = at;
    }
    double* out = means.data();
    for (int field = 0; field < fields; ++field) {
      convolve(rows, m, out + field * m);
      for (const double*& row : rows) row += m;
    }
    similarity({out, out + m, out + 2 * m, out + 3 * m}, m);
    sums[r] = sum(out, m);
  }
}

}  // namespace kanbench::ssim

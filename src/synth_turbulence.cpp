// A sum of 64 Fourier modes of random direction and phase, their wave numbers spread evenly in
// log k from 1 to 32 waves across the cube. An energy spectrum k^(-5/3) then gives each mode, which
// stands for a band of width proportional to k, an energy k^(-2/3) and an amplitude k^(-1/3).
// exp(i k.x) is one factor an axis, so a voxel costs two multiply-adds a mode.
#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <memory>
#include <numbers>
#include <vector>

#include "kanbench/math/random.h"
#include "synth_field.h"

namespace kanbench {
namespace {

constexpr int modes = 64;
constexpr double least_waves = 1, most_waves = 32;

struct Mode {
  std::array<double, 3> waves;
  double phase, amplitude;
};

double unit(std::uint32_t word) { return (word + 0.5) / 4294967296.0; }

std::vector<Mode> draw_modes(std::uint64_t seed) {
  const Stream stream = make_stream(seed, 0, Purpose::synth);
  std::vector<Mode> drawn;
  for (int m = 0; m < modes; ++m) {
    const Words4 words = stream.words(static_cast<std::uint64_t>(m));
    const double k =
        least_waves * std::pow(most_waves / least_waves, (m + unit(words.v[0])) / modes);
    const double cosine = 2 * unit(words.v[1]) - 1;
    const double sine = std::sqrt(1 - cosine * cosine);
    const double turn = 2 * std::numbers::pi * unit(words.v[2]);
    drawn.push_back({{k * sine * std::cos(turn), k * sine * std::sin(turn), k * cosine},
                     2 * std::numbers::pi * unit(words.v[3]),
                     std::pow(k, -1.0 / 3.0)});
  }
  return drawn;
}

struct Tables {
  std::int64_t nx = 0;
  // Cosine and sine of each mode along x, nx numbers each, mode after mode.
  std::vector<double> cos_x, sin_x;
  // exp(i k y) and exp(i (k z + phase)) * amplitude, modes for each voxel.
  std::vector<std::complex<double>> y, z;
};

std::vector<std::complex<double>> factors(const std::vector<Mode>& drawn, std::size_t axis,
                                          std::int64_t n) {
  std::vector<std::complex<double>> table;
  table.reserve(static_cast<std::size_t>(n * modes));
  for (std::int64_t i = 0; i < n; ++i) {
    const double u = (static_cast<double>(i) + 0.5) / static_cast<double>(n);
    for (const Mode& mode : drawn) {
      const double phase = axis == 2 ? mode.phase : 0;
      table.push_back(std::polar(axis == 2 ? mode.amplitude : 1.0,
                                 2 * std::numbers::pi * mode.waves[axis] * u + phase));
    }
  }
  return table;
}

Tables make_tables(const std::vector<Mode>& drawn, const Shape& shape) {
  Tables t;
  t.nx = shape.x;
  const auto x = factors(drawn, 0, shape.x);
  t.cos_x.resize(x.size());
  t.sin_x.resize(x.size());
  for (std::int64_t i = 0; i < shape.x; ++i) {
    for (std::int64_t m = 0; m < modes; ++m) {
      const std::complex<double> value = x[static_cast<std::size_t>(i * modes + m)];
      t.cos_x[static_cast<std::size_t>(m * shape.x + i)] = value.real();
      t.sin_x[static_cast<std::size_t>(m * shape.x + i)] = value.imag();
    }
  }
  t.y = factors(drawn, 1, shape.y);
  t.z = factors(drawn, 2, shape.z);
  return t;
}

// Real part of the sum over modes, four at a time so that the row is read and written less.
void sum_modes(const Tables& t, std::int64_t y, std::int64_t z, double* __restrict row) {
  constexpr int together = 4;
  const std::int64_t n = t.nx;
  std::fill(row, row + n, 0.0);
  for (int m = 0; m < modes; m += together) {
    double re[together], im[together];
    for (int k = 0; k < together; ++k) {
      const std::complex<double> p = t.y[static_cast<std::size_t>(y * modes + m + k)];
      const std::complex<double> q = t.z[static_cast<std::size_t>(z * modes + m + k)];
      re[k] = p.real() * q.real() - p.imag() * q.imag();
      im[k] = p.real() * q.imag() + p.imag() * q.real();
    }
    const double* c = t.cos_x.data() + m * n;
    const double* s = t.sin_x.data() + m * n;
    for (std::int64_t i = 0; i < n; ++i) {
      row[i] += ((re[0] * c[i] - im[0] * s[i]) + (re[1] * c[n + i] - im[1] * s[n + i])) +
                ((re[2] * c[2 * n + i] - im[2] * s[2 * n + i]) +
                 (re[3] * c[3 * n + i] - im[3] * s[3 * n + i]));
    }
  }
}

}  // namespace

// The range is that of a 64^3 lattice, widened by a tenth of it at either end, so that it does not
// depend on the resolution asked for.
SynthField turbulence_field(const Shape& shape, std::uint64_t seed) {
  const std::vector<Mode> drawn = draw_modes(seed);
  constexpr std::int64_t coarse = 64;
  const Tables trial = make_tables(drawn, {coarse, coarse, coarse});
  std::vector<double> row(coarse);
  SynthField field;
  field.low = field.high = 0;
  for (std::int64_t i = 0; i < coarse * coarse; ++i) {
    sum_modes(trial, i % coarse, i / coarse, row.data());
    const auto [least, most] = std::minmax_element(row.begin(), row.end());
    field.low = std::min(field.low, *least);
    field.high = std::max(field.high, *most);
  }
  const double margin = (field.high - field.low) / 10;
  field.low -= margin;
  field.high += margin;
  const auto tables = std::make_shared<const Tables>(make_tables(drawn, shape));
  field.row = [tables](std::int64_t y, std::int64_t z, double* out) {
    sum_modes(*tables, y, z, out);
  };
  return field;
}

}  // namespace kanbench

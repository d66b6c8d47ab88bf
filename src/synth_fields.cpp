// The analytic fields but turbulence.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <vector>

#include "kanbench/parallel.h"
#include "synth_field.h"

namespace kanbench {
namespace {

using Table = std::vector<double>;

// function(coordinate) at the n voxel centres of [-half, half].
template <class Function>
Table tabulate(std::int64_t n, double half, Function function) {
  Table table(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    table[static_cast<std::size_t>(i)] = function(centred(i, n, half));
  }
  return table;
}

double at(const Table& table, std::int64_t i) { return table[static_cast<std::size_t>(i)]; }

}  // namespace

// Closed-shell harmonic-oscillator model of oxygen-16: four nucleons fill each spatial orbital, so
// two of them at r and r' have probability 16 rho(r, r) rho(r', r') - 4 rho(r, r')^2 with
// rho(r, r') ~ exp(-(r^2 + r'^2) / 2 b^2) (1 + 2 r.r' / b^2); a Gaussian hole keeps them apart.
// Every exponential is a product of one factor an axis: the last bits may depend on the compiler,
// but no voxel of the demo volume lies so close to a rounding boundary (see the test).
SynthField nucleon_field(const Shape& shape, std::uint64_t) {
  constexpr double half = 5, b = 1.76, other = 2, hole = 0.7;
  constexpr double c = 2 / (b * b);
  struct Tables {
    Table x, y, z, near_x, near_y, near_z;
    std::int64_t nx, ny, nz;
  };
  const auto shell = [](double r) { return std::exp(-r * r / (b * b)); };
  const auto near = [](double r) { return std::exp(-r * r / (hole * hole)); };
  const auto t = std::make_shared<const Tables>(Tables{
      tabulate(shape.x, half, shell), tabulate(shape.y, half, shell),
      tabulate(shape.z, half, shell),
      tabulate(shape.x, half, [&](double x) { return near(x - other); }),
      tabulate(shape.y, half, near), tabulate(shape.z, half, near), shape.x, shape.y, shape.z});
  SynthField field;
  field.measure_high = true;
  field.extent = 2 * half;
  field.row = [t](std::int64_t yi, std::int64_t zi, double* __restrict row) {
    const double y = centred(yi, t->ny, half), z = centred(zi, t->nz, half);
    const double across = y * y + z * z;
    const double shell_yz = at(t->y, yi) * at(t->z, zi);
    const double near_yz = at(t->near_y, yi) * at(t->near_z, zi);
    const double* shell_x = t->x.data();
    const double* near_x = t->near_x.data();
    for (std::int64_t i = 0; i < t->nx; ++i) {
      const double x = centred(i, t->nx, half);
      const double exchange = 1 + c * (x * other);
      const double density = 4 * (1 + c * (x * x + across)) * (1 + c * (other * other));
      row[i] = shell_x[i] * shell_yz * (density - exchange * exchange) * (1 - near_x[i] * near_yz);
    }
  };
  return field;
}

// The test signal of Marschner and Lobb, "An evaluation of reconstruction filters for volume
// rendering", IEEE Visualization 1994. Its bounds, 0 and 1, follow from those of sine and cosine.
SynthField marschner_lobb_field(const Shape& shape, std::uint64_t) {
  constexpr double frequency = 6, alpha = 0.25, pi = std::numbers::pi;
  const auto rings = std::make_shared<Table>(static_cast<std::size_t>(shape.x * shape.y));
  const std::int64_t nx = shape.x, nz = shape.z;
  parallel(shape.y, [&](std::int64_t j) {
    const double y = centred(j, shape.y, 1);
    for (std::int64_t i = 0; i < nx; ++i) {
      const double x = centred(i, nx, 1);
      const double r = std::sqrt(x * x + y * y);
      (*rings)[static_cast<std::size_t>(j * nx + i)] =
          alpha * (1 + std::cos(2 * pi * frequency * std::cos(pi * r / 2)));
    }
  });
  SynthField field;
  field.extent = 2;
  field.row = [rings, nx, nz](std::int64_t y, std::int64_t zi, double* __restrict row) {
    const double base = 1 - std::sin(pi * centred(zi, nz, 1) / 2);
    const double* ring = rings->data() + y * nx;
    for (std::int64_t i = 0; i < nx; ++i) row[i] = (base + ring[i]) / (2 * (1 + alpha));
  };
  return field;
}

// sin X cos Y + sin Y cos Z + sin Z cos X; since 2 pq <= p^2 + q^2, it stays within +-3/2, which it
// reaches.
SynthField gyroid_field(const Shape& shape, std::uint64_t) {
  constexpr double half = 4 * std::numbers::pi;
  struct Tables {
    Table sin_x, cos_x, sin_y, cos_y, sin_z, cos_z;
  };
  const auto sine = [](double x) { return std::sin(x); };
  const auto cosine = [](double x) { return std::cos(x); };
  const auto t = std::make_shared<const Tables>(
      Tables{tabulate(shape.x, half, sine), tabulate(shape.x, half, cosine),
             tabulate(shape.y, half, sine), tabulate(shape.y, half, cosine),
             tabulate(shape.z, half, sine), tabulate(shape.z, half, cosine)});
  SynthField field;
  field.low = -1.5;
  field.high = 1.5;
  field.row = [t](std::int64_t y, std::int64_t z, double* __restrict row) {
    const double cos_y = at(t->cos_y, y), sin_z = at(t->sin_z, z);
    const double constant = at(t->sin_y, y) * at(t->cos_z, z);
    const double *sin_x = t->sin_x.data(), *cos_x = t->cos_x.data();
    const auto n = static_cast<std::int64_t>(t->sin_x.size());
    for (std::int64_t i = 0; i < n; ++i) row[i] = sin_x[i] * cos_y + constant + sin_z * cos_x[i];
  };
  return field;
}

// |psi_320|^2 of hydrogen, r in Bohr radii, without its normalisation: (3 z^2 - r^2)^2 e^(-2r/3).
// Greatest where 4 z^4 e^(-2z/3) is, at z = 6.
SynthField hydrogen_field(const Shape& shape, std::uint64_t) {
  constexpr double half = 24;
  SynthField field;
  field.high = 4 * 1296 * std::exp(-4.0);
  field.extent = 2 * half;
  field.row = [shape](std::int64_t yi, std::int64_t zi, double* row) {
    const double y = centred(yi, shape.y, half), z = centred(zi, shape.z, half);
    for (std::int64_t i = 0; i < shape.x; ++i) {
      const double x = centred(i, shape.x, half);
      const double r2 = x * x + y * y + z * z;
      const double lobe = 3 * z * z - r2;
      row[i] = lobe * lobe * std::exp(-2.0 / 3.0 * std::sqrt(r2));
    }
  };
  return field;
}

// Arnold, Beltrami and Childress' flow, its own curl: (A sin z + C cos y, B sin x + A cos z,
// C sin y + B cos x), with the customary A^2 = 3, B^2 = 2, C = 1.
std::array<SynthField, 3> abc_flow(const Shape& shape) {
  constexpr double half = std::numbers::pi, c = 1;
  const double a = std::sqrt(3.0), b = std::sqrt(2.0);
  std::array<SynthField, 3> flow;
  for (SynthField& velocity : flow) {
    velocity.high = a + b;
    velocity.low = -velocity.high;
    velocity.extent = 2 * half;
  }
  flow[0].row = [=](std::int64_t y, std::int64_t z, double* row) {
    const double value =
        a * std::sin(centred(z, shape.z, half)) + c * std::cos(centred(y, shape.y, half));
    std::fill_n(row, shape.x, value);
  };
  flow[1].row = [=](std::int64_t, std::int64_t z, double* row) {
    const double constant = a * std::cos(centred(z, shape.z, half));
    for (std::int64_t i = 0; i < shape.x; ++i)
      row[i] = b * std::sin(centred(i, shape.x, half)) + constant;
  };
  flow[2].row = [=](std::int64_t y, std::int64_t, double* row) {
    const double constant = c * std::sin(centred(y, shape.y, half));
    for (std::int64_t i = 0; i < shape.x; ++i)
      row[i] = constant + b * std::cos(centred(i, shape.x, half));
  };
  return flow;
}

SynthField constant_field(const Shape& shape, std::uint64_t) {
  SynthField field;
  field.row = [n = shape.x](std::int64_t, std::int64_t, double* row) {
    for (std::int64_t i = 0; i < n; ++i) row[i] = 0.5;
  };
  return field;
}

}  // namespace kanbench

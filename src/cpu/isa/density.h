#pragma once
// The density of grids that move and its gradient's sums, over packs of rows.

#include "cpu/isa/pack.h"
#include "cpu/kernels.h"

namespace kanbench::cpu::KB_ISA {
namespace {

KB_HD void load_centred(const DensityArguments& a, std::int64_t i, Pack (&x)[3]) {
  for (int d = 0; d < 3; ++d) x[d] = load(a.points[d] + i) * Pack(2.0f) - Pack(1.0f);
}

void add_density(const DensityArguments& a, float* density) {
  const DensityGrid<float> grid = *a.grid;
  for (std::int64_t i = 0; i < a.rows; i += kWidth) {
    Pack x[3], power[3];
    load_centred(a, i, x);
    store(density + i, load(density + i) + Pack(grid.determinant) * grid.bump(x, power));
  }
}

// Floats are added up over so many rows, the rest in double.
inline constexpr std::int64_t kSumRows = 256;

void sum_density(const DensityArguments& a, const float* slopes, double* sums) {
  const DensityGrid<float> grid = *a.grid;
  for (std::int64_t first = 0; first < a.rows; first += kSumRows) {
    Pack total[kDensitySums];
    for (Pack& t : total) t = Pack(0.0f);
    const std::int64_t end = first + kSumRows < a.rows ? first + kSumRows : a.rows;
    for (std::int64_t i = first; i < end; i += kWidth) {
      Pack x[3], power[3], terms[kDensitySums];
      load_centred(a, i, x);
      const Pack wh = load(slopes + i) * grid.bump(x, power);
      density_terms(x, power, wh, terms);
      for (int k = 0; k < kDensitySums; ++k) total[k] = total[k] + terms[k];
    }
    for (int k = 0; k < kDensitySums; ++k) sums[k] += static_cast<double>(sum(total[k]));
  }
}

}  // namespace
}  // namespace kanbench::cpu::KB_ISA

// Grids that move: their arithmetic against figures from SciPy (tests/golden), gradients against
// central differences, where grids lie, and when they move.

#include <cmath>
#include <nlohmann/json.hpp>

#include "kanbench/geometry.h"
#include "kanbench/math/density.h"
#include "kanbench/model.h"
#include "reference.h"
#include "support.h"

namespace kanbench {
namespace {

using encoder::AdaptiveMultiGrid;
using encoder::GridPlacement;
using nlohmann::json;

json golden_cases() {
  std::ifstream file(test::source_directory() / "tests" / "golden" / "adaptive_grids.json");
  return json::parse(file)["cases"];
}

AdaptiveMultiGrid grids_of(const json& c) {
  AdaptiveMultiGrid grids;
  grids.n_grids = c["n_grids"];
  grids.resolution = c["resolution"];
  grids.features = c["features"];
  grids.transform = c["transform"] == "affine" ? Transform::affine : Transform::similarity;
  return grids;
}

std::vector<double> numbers_of(const json& rows) {
  std::vector<double> all;
  for (const json& row : rows)
    for (const json& number : row) all.push_back(number.get<double>());
  return all;
}

// A model whose decoder hands its only input on, and its parameters as the golden script has them.
ModelSpec spec_of(const AdaptiveMultiGrid& grids) {
  ModelSpec spec;
  spec.encoder = grids;
  spec.layers = {{grids.width(), 1}};
  return spec;
}

std::vector<float> golden_block(const json& c, const ModelSpec& spec) {
  const Layout layout = make_layout(spec);
  std::vector<float> block(static_cast<std::size_t>(layout.size));
  const std::vector<double> numbers = numbers_of(c["transforms"]);
  std::copy(numbers.begin(), numbers.end(),
            block.begin() + layout.slices[layout.transforms].offset);
  for (std::size_t g = 0; g < layout.tables.size(); ++g) {
    const Slice& slice = layout.slices[g];
    for (std::int64_t n = 0; n < slice.rows; ++n)
      for (std::int64_t j = 0; j < slice.columns; ++j)
        block[slice.offset + n * slice.columns + j] =
            static_cast<float>((n * 37 + j * 11 + static_cast<int>(g) * 101) % 257 - 128) / 128;
  }
  return block;
}

// The density loss in plain double loops; `q` and `all` are held.
struct PlainLoss {
  Transform transform;
  int grids;
  std::vector<double> points, errors;

  std::size_t rows() const { return errors.size(); }
  std::vector<double> density(const std::vector<double>& numbers) const {
    std::vector<double> rho(rows());
    for (std::size_t i = 0; i < rows(); ++i)
      for (int g = 0; g < grids; ++g) {
        const DensityGrid<double> grid(
            transform, map_of<double>(transform, numbers.data() + g * size(transform)));
        double x[3], power[3];
        for (int d = 0; d < 3; ++d) x[d] = 2 * points[3 * i + d] - 1;
        rho[i] += grid.determinant * grid.bump(x, power);
      }
    return rho;
  }
  std::vector<double> targets(const std::vector<double>& rho, double all) const {
    double mean = 0, total = 0;
    for (const double e : errors) mean += e / static_cast<double>(rows());
    std::vector<double> q(rows());
    for (std::size_t i = 0; i < rows(); ++i)
      total += q[i] = std::exp(log_target(rho[i] / all, errors[i], mean));
    for (double& one : q) one /= total;
    return q;
  }
  double loss(const std::vector<double>& rho, const std::vector<double>& q, double all) const {
    double sum = 0;
    for (std::size_t i = 0; i < rows(); ++i)
      sum += density_loss(rho[i] / all, q[i], static_cast<double>(rows()), all).value;
    return sum;
  }
  std::vector<double> gradient(const std::vector<double>& numbers, const std::vector<double>& rho,
                               const std::vector<double>& q, double all) const {
    std::vector<double> d(numbers.size());
    for (int g = 0; g < grids; ++g) {
      const double* own = numbers.data() + g * size(transform);
      const DensityGrid<double> grid(transform, map_of<double>(transform, own));
      double sums[kDensitySums] = {};
      for (std::size_t i = 0; i < rows(); ++i) {
        double x[3], power[3], terms[kDensitySums];
        for (int k = 0; k < 3; ++k) x[k] = 2 * points[3 * i + k] - 1;
        const double h = grid.bump(x, power);
        const double w = density_loss(rho[i] / all, q[i], static_cast<double>(rows()), all).slope;
        density_terms(x, power, w * h, terms);
        for (int k = 0; k < kDensitySums; ++k) sums[k] += terms[k];
      }
      map_gradient(transform, own, density_gradient(grid, sums), d.data() + g * size(transform));
    }
    return d;
  }
};

PlainLoss plain_loss(const json& c) {
  const AdaptiveMultiGrid grids = grids_of(c);
  return {grids.transform, grids.n_grids, numbers_of(c["points"]),
          c["errors"].get<std::vector<double>>()};
}

double sum_of(const std::vector<double>& numbers) {
  double sum = 0;
  for (const double one : numbers) sum += one;
  return sum;
}

TEST(AdaptiveGrids, EncodeAsAnIndependentProgram) {
  for (const json& c : golden_cases()) {
    const AdaptiveMultiGrid grids = grids_of(c);
    const ModelSpec spec = spec_of(grids);
    const Layout layout = make_layout(spec);
    std::vector<float> block = golden_block(c, spec);
    const std::size_t weight = layout.layers[0].weight;
    double largest = 0;
    for (int j = 0; j < grids.width(); ++j) {
      std::fill(block.begin() + weight, block.end(), 0.0f);
      block[weight + j] = 1;
      test::Reference reference(spec, block);
      for (std::size_t i = 0; i < c["points"].size(); ++i) {
        const std::vector<double> x = c["points"][i];
        const double want = c["encoded"][i][j];
        largest = std::max(largest, std::abs(want));
        EXPECT_NEAR(reference.predict(x.data()), want, 1e-5) << c["transform"] << " " << i;
      }
    }
    EXPECT_GT(largest, 0.1);
  }
}

TEST(AdaptiveGrids, FallToZeroWithinACellOfTheirBox) {
  encoder::AdaptiveLevel level;
  level.resolution = 5;
  // The box [0.25, 0.75]^3.
  const float numbers[10] = {std::log(2.0f), std::log(2.0f), std::log(2.0f), 0, 0, 0, 1, 0, 0, 0};
  level.place(numbers);
  const auto weight = [&](double x) {
    double sum = 0;
    const double at[3] = {x, 0.5, 0.5};
    level.gather(at, [&](std::uint32_t, double w) { sum += w; });
    return sum;
  };
  EXPECT_NEAR(weight(0.25), 1, 1e-6);
  EXPECT_NEAR(weight(0.6), 1, 1e-6);
  EXPECT_NEAR(weight(0.75 + 0.125 / 4), 0.75, 1e-6);
  EXPECT_NEAR(weight(0.25 - 0.125 / 2), 0.5, 1e-6);
  EXPECT_EQ(weight(0.1), 0);
  EXPECT_EQ(weight(0.9), 0);
  level.node[0][3] = NAN;
  EXPECT_EQ(weight(0.5), 0);
  level.node[0][3] = 3e38f;
  EXPECT_EQ(weight(0.5), 0);
}

TEST(AdaptiveGrids, DensityLossIsAnIndependentPrograms) {
  for (const json& c : golden_cases()) {
    const PlainLoss plain = plain_loss(c);
    const std::vector<double> numbers = numbers_of(c["transforms"]);
    const std::vector<double> rho = plain.density(numbers);
    for (std::size_t i = 0; i < rho.size(); ++i)
      EXPECT_NEAR(rho[i], c["density"][i], 1e-12 * (1 + rho[i]));
    const double all = sum_of(rho);
    const std::vector<double> q = plain.targets(rho, all);
    EXPECT_NEAR(plain.loss(rho, q, all), c["loss"], 1e-12);
    const std::vector<double> want = numbers_of(c["gradient"]),
                              d = plain.gradient(numbers, rho, q, all);
    double largest = 0;
    for (const double one : want) largest = std::max(largest, std::abs(one));
    for (std::size_t k = 0; k < d.size(); ++k)
      EXPECT_NEAR(d[k], want[k], 1e-6 * largest) << c["transform"] << " number " << k;
  }
}

TEST(AdaptiveGrids, DensityGradientIsThatOfCentralDifferences) {
  for (const json& c : golden_cases()) {
    const PlainLoss plain = plain_loss(c);
    std::vector<double> numbers = numbers_of(c["transforms"]);
    const std::vector<double> rho = plain.density(numbers);
    const double all = sum_of(rho);
    const std::vector<double> q = plain.targets(rho, all);
    const std::vector<double> d = plain.gradient(numbers, rho, q, all);
    for (std::size_t k = 0; k < numbers.size(); ++k) {
      const double h = 1e-6, before = numbers[k];
      numbers[k] = before + h;
      const double up = plain.loss(plain.density(numbers), q, all);
      numbers[k] = before - h;
      const double down = plain.loss(plain.density(numbers), q, all);
      numbers[k] = before;
      EXPECT_NEAR(d[k], (up - down) / (2 * h), 1e-8 + 1e-5 * std::abs(d[k])) << "number " << k;
    }
  }
}

TEST(AdaptiveGrids, EqualErrorsAskForNoOtherDensity) {
  PlainLoss plain = plain_loss(golden_cases()[0]);
  std::fill(plain.errors.begin(), plain.errors.end(), 0.25);
  const std::vector<double> rho = plain.density(numbers_of(golden_cases()[0]["transforms"]));
  const double all = sum_of(rho);
  const std::vector<double> q = plain.targets(rho, all);
  for (std::size_t i = 0; i < q.size(); ++i) EXPECT_NEAR(q[i], rho[i] / all, 1e-12);
  EXPECT_NEAR(plain.loss(rho, q, all), 0, 1e-12);
}

TEST(AdaptiveGrids, FlatMatricesHaveAFiniteGradient) {
  const float numbers[12] = {};
  const DensityGrid<double> grid(Transform::affine, map_of<double>(Transform::affine, numbers));
  EXPECT_EQ(grid.determinant, 0);
  const double sums[kDensitySums] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
  const AffineMap<double> d = density_gradient(grid, sums);
  for (const auto& row : d.m)
    for (const double one : row) EXPECT_TRUE(std::isfinite(one));
  const float none[10] = {};
  const AffineMap<double> map = map_of<double>(Transform::similarity, none);
  for (int k = 0; k < 3; ++k)
    for (int j = 0; j < 3; ++j) EXPECT_EQ(map.m[k][j], k == j ? 1 : 0);
}

TEST(AdaptiveGrids, PenaltysSlopeIsThatOfCentralDifferences) {
  AdaptiveMultiGrid grids;
  grids.n_grids = 3, grids.resolution = 3, grids.features = 2;
  grids.tv_weight = 0.7, grids.l1_weight = 0.3;
  const int r = 3, f = 2, count = 3;
  const std::int64_t stride = 64;
  std::vector<double> table(count * stride);
  const Stream stream{3, 0};
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = unit_float(stream.words(i).v[0]) - 0.5;
  const auto at = [&](int g, int z, int y, int x, int k) -> double& {
    return table[g * stride + ((z * r + y) * r + x) * f + k];
  };
  const auto objective = [&] {
    double sums[5] = {};
    int counts[5] = {};
    const auto add = [&](int axis, double value) { sums[axis] += value, ++counts[axis]; };
    for (int g = 0; g < count; ++g)
      for (int z = 0; z < r; ++z)
        for (int y = 0; y < r; ++y)
          for (int x = 0; x < r; ++x)
            for (int k = 0; k < f; ++k) {
              const double v = at(g, z, y, x, k);
              if (x + 1 < r) add(0, std::pow(at(g, z, y, x + 1, k) - v, 2));
              if (y + 1 < r) add(1, std::pow(at(g, z, y + 1, x, k) - v, 2));
              if (z + 1 < r) add(2, std::pow(at(g, z + 1, y, x, k) - v, 2));
              if (g + 1 < count) add(3, std::pow(at(g + 1, z, y, x, k) - v, 2));
              add(4, std::abs(v));
            }
    double tv = 0;
    for (int axis = 0; axis < 4; ++axis) tv += sums[axis] / counts[axis];
    return 1.5 * (grids.tv_weight * tv + grids.l1_weight * sums[4] / counts[4]);
  };
  const encoder::GridPenalty penalty = grids.penalty(1.5);
  for (int g = 0; g < count; ++g)
    for (int i = 0; i < r * r * r * f; ++i) {
      double& v = table[g * stride + i];
      const int x = i / f % r, y = i / f / r % r, z = i / f / r / r;
      const double slope = encoder::penalty_slope(penalty, &v, x, y, z, r, f, g, count, stride);
      const double before = v, h = 1e-5;
      v = before + h;
      const double up = objective();
      v = before - h;
      const double down = objective();
      v = before;
      EXPECT_NEAR(slope, (up - down) / (2 * h), 1e-7) << g << " " << i;
    }
  grids.tv_weight = grids.l1_weight = 0;
  EXPECT_FALSE(grids.penalty(1).any());
}

TEST(AdaptiveGrids, SlopesInThePointAreThoseOfCentralDifferences) {
  for (const json& c : golden_cases()) {
    const ModelSpec spec = spec_of(grids_of(c));
    std::vector<float> block = golden_block(c, spec);
    std::fill(block.begin() + make_layout(spec).decoder_begin, block.end(), 0.5f);
    test::Reference reference(spec, block);
    for (const json& point : c["points"]) {
      std::vector<double> x = point;
      double dx[3];
      reference.differentiate(x.data(), 0, loss::Mse{}, 1, dx);
      for (int d = 0; d < 3; ++d) {
        const double h = 1e-7, before = x[d];
        x[d] = before + h;
        const double up = std::pow(reference.predict(x.data()), 2);
        x[d] = before - h;
        const double down = std::pow(reference.predict(x.data()), 2);
        x[d] = before;
        EXPECT_NEAR(dx[d], (up - down) / (2 * h), 1e-5 * (1 + std::abs(dx[d])));
      }
    }
  }
}

TEST(AdaptiveGrids, LieAtFirstWhereTheyAreAsked) {
  const auto corners = [](Transform transform, GridPlacement placement) {
    AdaptiveMultiGrid grids;
    grids.transform = transform, grids.initialisation = placement;
    const std::vector<float> block = draw_parameters(spec_of(grids), {}, 5);
    const Layout layout = make_layout(spec_of(grids));
    std::vector<Corners> all;
    for (int g = 0; g < grids.n_grids; ++g)
      all.push_back(grid_corners(
          transform, block.data() + layout.slices[layout.transforms].offset + g * size(transform)));
    return all;
  };
  for (const Transform transform : {Transform::similarity, Transform::affine}) {
    const auto width = [](const Corners& c) { return c[1][0] - c[0][0]; };
    double sums[3] = {}, low = 1, high = 0;
    for (const GridPlacement placement :
         {GridPlacement::standard, GridPlacement::large, GridPlacement::small})
      for (const Corners& c : corners(transform, placement)) {
        sums[static_cast<int>(placement)] += width(c) / 64;
        if (placement != GridPlacement::small) continue;
        low = std::min(low, 0.5 * (c[0][0] + c[7][0]));
        high = std::max(high, 0.5 * (c[0][0] + c[7][0]));
      }
    EXPECT_NEAR(sums[0], 1, 0.06);
    EXPECT_GT(sums[1], 1.15);
    EXPECT_LT(sums[2], 0.4);
    EXPECT_LT(low, 0.2);
    EXPECT_GT(high, 0.8);
  }
}

TEST(AdaptiveGrids, MoveForAShareOfTheSteps) {
  AdaptiveMultiGrid grids;
  EXPECT_EQ(geometry_step(grids, 499, 30000).rate, 0);
  EXPECT_DOUBLE_EQ(geometry_step(grids, 500, 30000).rate, 1e-3);
  EXPECT_EQ(geometry_step(grids, 500, 30000).number, 1);
  EXPECT_NEAR(geometry_step(grids, 3500, 30000).rate, 0.5e-3, 1e-9);
  EXPECT_GT(geometry_step(grids, 6400, 30000).rate, 1e-8);
  EXPECT_EQ(geometry_step(grids, 6499, 30000).rate, 0);
  EXPECT_EQ(geometry_step(grids, 20000, 30000).rate, 0);
  // A short training starts sooner.
  EXPECT_EQ(geometry_step(grids, 49, 1000).rate, 0);
  EXPECT_GT(geometry_step(grids, 50, 1000).rate, 0);
  // In few steps it takes larger ones: 0.8 in all, on average half the first.
  EXPECT_DOUBLE_EQ(geometry_step(grids, 204, 4096).rate, 1.6 / (0.2 * 4096));
  EXPECT_DOUBLE_EQ(geometry_step(grids, 5, 100).rate, 1e-2);
  grids.transform_lrate = 3e-3;
  EXPECT_DOUBLE_EQ(geometry_step(grids, 5, 100).rate, 3e-3);
  grids.transform_share = 0;
  EXPECT_EQ(geometry_step(grids, 600, 30000).rate, 0);
}

}  // namespace
}  // namespace kanbench

// The field of an ensemble: bricks that are known are blended to what is known.

#include "kanbench/ensemble.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "brick_weights.h"
#include "kanbench/backend.h"
#include "kanbench/decomposition.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/model_file.h"
#include "support.h"

namespace kanbench {
namespace {

using Point = std::array<double, 3>;

Manifest cut_up(const Shape& shape, const Shape& grid, int ghost, bool blend = true) {
  Manifest all{"plane", shape, Dtype::uint8, -3, 5, {1, 1, 1}, grid, ghost, blend, true, {}};
  for (std::int64_t i = 0; i < grid.count(); ++i) {
    const Box core = part_of(whole(shape), grid, i);
    all.bricks.push_back(
        {core, grow(core, ghost, shape), 0, 1, "brick_" + std::to_string(i) + ".safetensors"});
  }
  return all;
}

void write_model(const std::filesystem::path& path, const ModelSpec& spec,
                 std::vector<float> parameters, const Shape& shape, double low, double high) {
  AtomicFile file(path);
  file.write(
      encode_model({spec, std::move(parameters), "plane", shape, Dtype::uint8, {{low, high}}}));
  file.commit();
}

// 0.2 + 0.3 x + 0.1 y + 0.25 z in [0, 1], of points in [0, 1]^3.
constexpr double kAt0 = 0.2;
constexpr Point kSlope{0.3, 0.1, 0.25};
double plane(const Point& p) {
  return kAt0 + kSlope[0] * p[0] + kSlope[1] * p[1] + kSlope[2] * p[2];
}

ModelSpec linear_spec() {
  ModelSpec spec;
  spec.encoder = encoder::Identity{};
  spec.layers = {{3, 1, basis::Identity{}, false, true, false}};
  return spec;
}

// The linear model of `slope` and `at0`.
std::vector<float> linear(const Point& slope, double at0) {
  const Layout layout = make_layout(linear_spec());
  std::vector<float> block(static_cast<std::size_t>(layout.size));
  const auto parameters = bind(layout.layers[0], block.data());
  for (std::size_t d = 0; d < 3; ++d) parameters.weight[d] = static_cast<float>(slope[d]);
  *parameters.bias = static_cast<float>(at0);
  return block;
}

// A linear model a brick, in its own range, or in the whole's where not local.
void write_plane(Manifest& all, const std::filesystem::path& directory) {
  const double size[3] = {double(all.shape.x), double(all.shape.y), double(all.shape.z)};
  for (Brick& brick : all.bricks) {
    Point slope = kSlope, corner{};
    double least = kAt0;
    for (std::size_t d = 0; d < 3 && all.local; ++d) {
      corner[d] = double(brick.held.low[d]) / size[d];
      slope[d] *= double(brick.held.high[d] - brick.held.low[d]) / size[d];
    }
    least = plane(corner);
    const double rise = all.local ? slope[0] + slope[1] + slope[2] : 1;
    if (!all.local) least = 0;
    const double range = all.high - all.low;
    brick.low = all.low + range * least;
    brick.high = brick.low + range * rise;
    if (!all.local) std::tie(brick.low, brick.high) = std::tie(all.low, all.high);
    const double at0 = all.local ? 0 : kAt0;
    for (double& s : slope) s /= rise;
    write_model(directory / brick.file, linear_spec(), linear(slope, at0),
                all.local ? brick.held.shape() : all.shape, brick.low, brick.high);
  }
}

std::vector<float> decode(const Field& field, const Lattice& lattice) {
  Backend& backend = field.backend();
  const std::int64_t count = lattice.box.shape().count();
  Buffer<float> values(backend, count);
  // What was there before is not to be seen.
  const std::vector<float> before(static_cast<std::size_t>(count), 7.0f);
  backend.upload(values.data(), before.data(), values.bytes());
  field.decode(lattice, {values.data()});
  std::vector<float> host(before.size());
  backend.download(host.data(), values.data(), values.bytes());
  return host;
}

// Calls visit(index, point in [0, 1]^3) for the lattice's values in their order.
template <class Visit>
void each_point(const Lattice& lattice, Visit visit) {
  std::size_t i = 0;
  const Box& box = lattice.box;
  const auto at = [](std::int64_t voxel, std::int64_t size) {
    return (double(voxel) + 0.5) / double(size);
  };
  for (std::int64_t z = box.low[2]; z < box.high[2]; ++z)
    for (std::int64_t y = box.low[1]; y < box.high[1]; ++y)
      for (std::int64_t x = box.low[0]; x < box.high[0]; ++x)
        visit(i++, Point{at(x, lattice.size.x), at(y, lattice.size.y), at(z, lattice.size.z)});
}

double largest_error(const Field& field, const Lattice& lattice) {
  const std::vector<float> values = decode(field, lattice);
  double largest = 0;
  each_point(lattice, [&](std::size_t i, const Point& p) {
    largest = std::max(largest, std::abs(double(values[i]) - plane(p)));
  });
  return largest;
}

TEST(AxisWeights, AddUpToOneEverywhere) {
  std::mt19937 random(1);
  const auto draw = [&](int least, int most) {
    return std::uniform_int_distribution<int>(least, most)(random);
  };
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<std::int64_t> cuts{0};
    for (int bricks = draw(1, 6); bricks > 0; --bricks) cuts.push_back(cuts.back() + draw(1, 9));
    const int ghost = draw(0, 8);
    const bool blend = draw(0, 3) > 0;
    const AxisWeights axis(cuts, ghost, blend);
    for (int n = 0; n < 200; ++n) {
      const double size = double(cuts.back());
      const double position = n < 100 ? size * draw(0, 1 << 20) / (1 << 20)
                                      : std::min(size, 0.5 * draw(0, 2 * int(cuts.back())));
      double sum = 0;
      int counting = 0;
      for (std::int64_t b = 0; b < axis.bricks(); ++b) {
        const auto i = static_cast<std::size_t>(b);
        const float weight = axis.at(b, position);
        ASSERT_GE(weight, 0.0f);
        ASSERT_LE(weight, 1.0f);
        counting += weight > 0;
        sum += weight;
        const bool core = position >= double(cuts[i]) && position < double(cuts[i + 1]);
        if (!blend || ghost == 0) {
          ASSERT_EQ(weight, core || (position == size && b + 1 == axis.bricks()) ? 1.0f : 0.0f);
        }
        if (position < double(cuts[i] - ghost) || position > double(cuts[i + 1] + ghost)) {
          ASSERT_EQ(weight, 0.0f);
        }
        if (weight > 0) {
          ASSERT_GE(position, axis.low(b));
          ASSERT_LE(position, axis.high(b));
        }
      }
      ASSERT_LE(counting, 2);
      ASSERT_NEAR(sum, 1, 0x1p-24) << position;
    }
  }
}

TEST(AxisWeights, AreLinearAcrossWhatNeighboursShare) {
  const AxisWeights axis({0, 10, 20}, 2, true);
  EXPECT_EQ(axis.at(0, 0), 1.0f);
  EXPECT_EQ(axis.at(0, 8), 1.0f);
  EXPECT_EQ(axis.at(0, 9), 0.75f);
  EXPECT_EQ(axis.at(0, 10), 0.5f);
  EXPECT_EQ(axis.at(1, 11), 0.75f);
  EXPECT_EQ(axis.at(0, 12), 0.0f);
  EXPECT_EQ(axis.at(1, 20), 1.0f);
}

TEST(Ensemble, PlaneIsBlendedToThePlane) {
  const std::unique_ptr<Backend> backend = open_cpu();
  const Shape shape{23, 17, 30};
  struct Way {
    Shape grid;
    int ghost;
    bool blend, local;
  };
  for (const Way& way : {Way{{2, 2, 2}, 1, true, true}, Way{{3, 1, 4}, 2, true, true},
                         Way{{5, 4, 3}, 7, true, true}, Way{{2, 3, 1}, 0, true, true},
                         Way{{2, 2, 2}, 3, false, true}, Way{{2, 2, 3}, 2, true, false}}) {
    const test::TemporaryDirectory directory;
    Manifest all = cut_up(shape, way.grid, way.ghost, way.blend);
    all.local = way.local;
    write_plane(all, directory.path());
    const Ensemble field(*backend, all, directory.path());
    for (const Lattice& lattice :
         {Lattice{shape, whole(shape)}, Lattice{{46, 34, 60}, {{3, 0, 7}, {40, 30, 60}}},
          Lattice{{13, 50, 7}, whole({13, 50, 7})}, Lattice{{1, 1, 1}, whole({1, 1, 1})},
          Lattice{{4000, 3000, 5000}, {{1990, 1400, 2500}, {2010, 1420, 2501}}}})
      EXPECT_LT(largest_error(field, lattice), 1e-6)
          << text(way.grid) << " ghost " << way.ghost << " at " << text(lattice.size);
  }
}

// Bricks that are constant have no file, and contribute their value.
TEST(Ensemble, WithoutBlendingEachPointIsItsBricks) {
  const std::unique_ptr<Backend> backend = open_cpu();
  Manifest all = cut_up({4, 6, 5}, {2, 3, 2}, 1, false);
  for (std::size_t i = 0; i < all.bricks.size(); ++i) {
    all.bricks[i].file.clear();
    all.bricks[i].low = all.bricks[i].high = all.low + 0.5 * double(i);
  }
  const Ensemble field(*backend, all, "/nowhere");
  // Along x the middle of three voxels lies on the face: it is of the brick that begins there.
  for (const Shape& size : {all.shape, Shape{3, 18, 40}, Shape{8, 1, 11}}) {
    const Lattice lattice{size, whole(size)};
    const std::vector<float> values = decode(field, lattice);
    each_point(lattice, [&](std::size_t i, const Point& p) {
      const Point at{p[0] * 4, p[1] * 6, p[2] * 5};
      const auto holds = [&](const Brick& brick) {
        for (std::size_t d = 0; d < 3; ++d)
          if (at[d] < double(brick.core.low[d]) || at[d] >= double(brick.core.high[d]))
            return false;
        return true;
      };
      const auto brick = std::find_if(all.bricks.begin(), all.bricks.end(), holds);
      ASSERT_NE(brick, all.bricks.end());
      EXPECT_NEAR(values[i], (brick->low - all.low) / (all.high - all.low), 1e-6);
    });
  }
}

TEST(Ensemble, ConstantBricksAreBlended) {
  const std::unique_ptr<Backend> backend = open_cpu();
  Manifest all = cut_up({8, 3, 3}, {2, 1, 1}, 2);
  for (Brick& brick : all.bricks) brick.file.clear();
  all.bricks[0].low = all.bricks[0].high = all.low;
  all.bricks[1].low = all.bricks[1].high = all.high;
  const Ensemble field(*backend, all, "/nowhere");
  const std::vector<float> values = decode(field, {all.shape, {{0, 1, 1}, {8, 2, 2}}});
  EXPECT_EQ(values, (std::vector<float>{0, 0, 0.125f, 0.375f, 0.625f, 0.875f, 1, 1}));
  EXPECT_EQ(field.parameters(), 0);
  EXPECT_EQ(field.bytes(), static_cast<std::int64_t>(to_json(all).size()));
}

// Models that look like noise, so that nothing but the right point gives the right value.
class Noise {
 public:
  explicit Noise(Manifest manifest, int log2_table = 8, int resolution = 5)
      : all(std::move(manifest)) {
    ModelSpec spec;
    spec.encoder = encoder::HashGrid{3, 2, log2_table, resolution, 1.6};
    spec.layers = {{6, 8, basis::Identity{}, false, false, false},
                   {8, 1, basis::Relu{}, false, false, false}};
    spec.output = OutputActivation::sigmoid;
    for (std::size_t i = 0; i < all.bricks.size(); ++i) {
      all.bricks[i].low = 0.1 * double(i);
      all.bricks[i].high = all.bricks[i].low + 2;
      write_model(directory / all.bricks[i].file, spec, draw_parameters(spec, {1, 0.1, 2}, i),
                  all.bricks[i].held.shape(), all.bricks[i].low, all.bricks[i].high);
    }
    parameters = make_layout(spec).parameters;
  }
  test::TemporaryDirectory directory;
  Manifest all;
  std::int64_t parameters = 0;
};

TEST(Ensemble, PointsAndLatticesGiveTheSame) {
  const std::unique_ptr<Backend> backend = open_cpu();
  const Noise noise(cut_up({30, 27, 33}, {2, 2, 2}, 2));
  const Ensemble field(*backend, noise.all, noise.directory.path());
  // Every third voxel's centre is one of the volume in thirds, whose bricks end between voxels.
  const std::vector<float> fine = decode(field, {{30, 27, 33}, whole({30, 27, 33})});
  const std::vector<float> coarse = decode(field, {{10, 9, 11}, whole({10, 9, 11})});
  double spread = 0;
  for (std::int64_t z = 0; z < 11; ++z)
    for (std::int64_t y = 0; y < 9; ++y)
      for (std::int64_t x = 0; x < 10; ++x) {
        const float at = coarse[static_cast<std::size_t>((z * 9 + y) * 10 + x)];
        const auto same = static_cast<std::size_t>(((3 * z + 1) * 27 + 3 * y + 1) * 30 + 3 * x + 1);
        EXPECT_NEAR(at, fine[same], 1e-5);
        spread = std::max(spread, double(std::abs(at - fine[same + 1])));
      }
  EXPECT_GT(spread, 0.01);
}

TEST(Ensemble, PartsAreWhatTheWholeIs) {
  const std::unique_ptr<Backend> backend = open_cpu();
  const Noise noise(cut_up({30, 27, 33}, {3, 2, 2}, 1));
  const Ensemble field(*backend, noise.all, noise.directory.path());
  for (const Shape& size : {Shape{30, 27, 33}, Shape{41, 20, 25}}) {
    const std::vector<float> all = decode(field, {size, whole(size)});
    const Shape grid{2, 3, 5};
    for (std::int64_t i = 0; i < grid.count(); ++i) {
      const Box box = part_of(whole(size), grid, i);
      const std::vector<float> part = decode(field, {size, box});
      std::size_t at = 0;
      for (std::int64_t z = box.low[2]; z < box.high[2]; ++z)
        for (std::int64_t y = box.low[1]; y < box.high[1]; ++y)
          for (std::int64_t x = box.low[0]; x < box.high[0]; ++x)
            ASSERT_EQ(part[at++], all[static_cast<std::size_t>((z * size.y + y) * size.x + x)]);
    }
  }
}

TEST(Ensemble, VoxelsAreTheValuesRounded) {
  const std::unique_ptr<Backend> backend = open_cpu();
  const Noise noise(cut_up({20, 12, 9}, {2, 2, 1}, 1));
  const Ensemble field(*backend, noise.all, noise.directory.path());
  const Lattice lattice{{20, 12, 9}, {{2, 0, 1}, {20, 12, 9}}};
  const std::vector<float> values = decode(field, lattice);
  std::vector<std::uint16_t> voxels(values.size());
  field.decode(lattice, {nullptr, voxels.data(), Dtype::uint16, -3, 5000});
  for (std::size_t i = 0; i < values.size(); ++i)
    ASSERT_EQ(voxels[i], std::lround(-3 + std::clamp(double(values[i]), 0.0, 1.0) * 5003));
}

TEST(Ensemble, ModelsStayWithinMemory) {
  const std::unique_ptr<Backend> backend = open_cpu();
  const Noise noise(cut_up({24, 24, 24}, {3, 3, 3}, 1), 15, 32);
  const Lattice lattice{{24, 24, 24}, whole({24, 24, 24})};
  const std::vector<float> expected =
      decode(Ensemble(*backend, noise.all, noise.directory.path()), lattice);
  const std::unique_ptr<Backend> small = open_cpu();
  const auto model = static_cast<std::size_t>(noise.parameters) * sizeof(float);
  small->limit_memory(8 * model);
  const Ensemble field(*small, noise.all, noise.directory.path());
  EXPECT_EQ(decode(field, lattice), expected);
  EXPECT_EQ(decode(field, lattice), expected);
  EXPECT_EQ(field.parameters(), 27 * noise.parameters);
  EXPECT_GT(field.bytes(), static_cast<std::int64_t>(27 * model));
}

TEST(Ensemble, FilesThatDoNotFitAreNamed) {
  const std::unique_ptr<Backend> backend = open_cpu();
  const Noise noise(cut_up({12, 12, 12}, {2, 1, 1}, 1));
  const auto said = [&](const Manifest& all) {
    return test::message_of<Error>([&] {
      const Ensemble field(*backend, all, noise.directory.path());
      decode(field, {all.shape, whole(all.shape)});
    });
  };
  Manifest all = noise.all;
  all.bricks[1].file = "brick_7.safetensors";
  EXPECT_NE(said(all).find("brick_7.safetensors: no such file"), std::string::npos);
  all = noise.all;
  all.bricks[1].file = all.bricks[0].file;
  EXPECT_NE(said(all).find("another range"), std::string::npos);
  all = noise.all;
  all.ghost = 0;
  for (Brick& brick : all.bricks) brick.held = brick.core;
  EXPECT_NE(said(all).find("is of 7x12x12 voxels"), std::string::npos);
  test::write_text(noise.directory / all.bricks[0].file, "spoilt");
  EXPECT_NE(said(noise.all).find("brick_0.safetensors"), std::string::npos);
}

}  // namespace
}  // namespace kanbench

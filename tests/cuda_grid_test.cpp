// The hash grid's kernels against plain loops in double: every number of features, type of table
// and layout, and the ways to add gradients.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "cuda_memory.h"
#include "emulator.h"
#include "kernels/grid.h"

namespace kanbench::cuda {
namespace {

using test::OnDevice;

constexpr int kLevels = 5;
constexpr int kFeatures[] = {1, 2, 3, 4, 5, 8, 16};
constexpr Precision kTypes[] = {Precision::fp32, Precision::fp16, Precision::bf16};

Layout layout_of(int features) {
  encoder::HashGrid grid;
  grid.n_levels = kLevels;
  grid.n_features_per_level = features;
  grid.log2_hashmap_size = 9;
  grid.base_resolution = 3;
  grid.per_level_scale = 1.7;
  ModelSpec spec;
  spec.encoder = grid;
  spec.layers.push_back({.in = grid.width(), .out = 1});
  return make_layout(spec);
}

/// Points of a batch with those at the volume's ends among them, feature-major.
std::vector<float> draw_points(std::int64_t rows, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> unit(0, 1);
  std::vector<float> points(static_cast<std::size_t>(3 * rows));
  for (float& x : points) x = unit(random);
  for (std::int64_t i = 0; i < std::min<std::int64_t>(rows, 8); ++i)
    for (int d = 0; d < 3; ++d)
      if (i >> d & 1) points[static_cast<std::size_t>(d * rows + i)] = 1;
  return points;
}

std::vector<float> draw_numbers(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(static_cast<std::size_t>(count));
  for (float& x : numbers) x = normal(random);
  return numbers;
}

/// Numbers in a type, in the device's memory, and what they are after rounding.
struct Typed {
  Precision type;
  std::vector<float> values;
  OnDevice<float> floats;
  OnDevice<std::uint16_t> words;

  Typed(Precision precision, const std::vector<float>& numbers)
      : type(precision),
        values(numbers),
        floats(numbers),
        words(precision == Precision::fp32 ? std::size_t{1} : numbers.size()) {
    if (type == Precision::fp32) return;
    std::vector<std::uint16_t> rounded;
    for (float& x : values) {
      rounded.push_back(type == Precision::fp16 ? test::half_word(x) : test::bfloat_word(x));
      x = number(rounded.back());
    }
    words = OnDevice<std::uint16_t>(rounded);
  }
  float number(std::uint16_t word) const {
    return type == Precision::fp16 ? test::half_number(word) : test::bfloat_number(word);
  }
  void* data() const {
    return type == Precision::fp32 ? static_cast<void*>(floats.data()) : words.data();
  }
  std::vector<float> read() const {
    if (type == Precision::fp32) return floats.read();
    std::vector<float> numbers;
    for (const std::uint16_t word : words.read()) numbers.push_back(number(word));
    return numbers;
  }
};

std::size_t place(bool chunked, int j, std::int64_t row, std::int64_t stride) {
  return static_cast<std::size_t>(chunked ? (j / 8 * stride + row) * 8 + j % 8 : j * stride + row);
}

/// Calls emit(number of the table, feature, weight) for each corner of every level.
template <class Emit>
void gather(const Layout& layout, int features, const std::vector<float>& points, std::int64_t row,
            Emit emit) {
  const auto rows = static_cast<std::int64_t>(points.size()) / 3;
  float x[3];
  for (int d = 0; d < 3; ++d) x[d] = points[static_cast<std::size_t>(d * rows + row)];
  for (int l = 0; l < static_cast<int>(layout.levels.size()); ++l)
    std::get<encoder::GridLevel>(layout.levels[static_cast<std::size_t>(l)].geometry)
        .gather(x, [&](std::uint32_t entry, float weight) {
          for (int f = 0; f < features; ++f)
            emit(static_cast<std::size_t>(layout.slices[static_cast<std::size_t>(l)].offset +
                                          std::int64_t{entry} * features + f),
                 l * features + f, weight);
        });
}

constexpr float kUntouched = -7777;

void expect_encoded(int features, Precision type, bool chunked, std::int64_t rows) {
  SCOPED_TRACE(testing::Message() << features << " features " << name(type) << " chunked "
                                  << chunked << " rows " << rows);
  const Layout layout = layout_of(features);
  const GridInfo grid = make_grid(layout, features);
  const std::vector<float> points = draw_points(rows, 1);
  const Typed table(type, draw_numbers(layout.decoder_begin, 2));
  const std::int64_t stride = rows + 3;
  const int width = kLevels * features;
  const int padded = chunked ? static_cast<int>(round_up(width, 16)) : width;
  const OnDevice<float> at(points);
  const Typed out(chunked ? type : Precision::fp32,
                  std::vector<float>(static_cast<std::size_t>(padded * stride), kUntouched));
  encode(grid, type, table.data(), {at.data(), rows, 3, rows},
         {out.data(), chunked ? type : Precision::tf32, chunked, stride}, nullptr);
  const std::vector<float> found = out.read();
  const double rounding = !chunked || type == Precision::fp32 ? 0
                          : type == Precision::fp16           ? 0x1p-11
                                                              : 0x1p-8;
  for (std::int64_t row = 0; row < rows; ++row) {
    std::vector<double> wanted(static_cast<std::size_t>(padded));
    gather(layout, features, points, row, [&](std::size_t i, int j, float weight) {
      wanted[static_cast<std::size_t>(j)] += double{weight} * table.values[i];
    });
    for (int j = 0; j < padded; ++j) {
      const double want = wanted[static_cast<std::size_t>(j)];
      ASSERT_NEAR(found[place(chunked, j, row, stride)], want, 1e-5 + rounding * std::abs(want))
          << "row " << row << " feature " << j;
    }
  }
  for (int j = 0; j < padded; ++j)
    for (std::int64_t row = rows; row < stride; ++row)
      ASSERT_EQ(found[place(chunked, j, row, stride)], out.values[0]);
  emulator::check_guards();
}

TEST(CudaGrid, EncodesAsPlainLoopsDo) {
  for (const int features : kFeatures)
    for (const Precision type : kTypes)
      for (const bool chunked : {false, true})
        for (const std::int64_t rows : {1, 33, 300}) expect_encoded(features, type, chunked, rows);
}

TEST(CudaGrid, IdentityCopiesCoordinates) {
  ModelSpec spec;
  spec.encoder = encoder::Identity{};
  spec.layers.push_back({.in = 3, .out = 1});
  const GridInfo grid = make_grid(make_layout(spec), 0);
  const std::int64_t rows = 33;
  const std::vector<float> points = draw_points(rows, 3);
  const OnDevice<float> at(points);
  for (const bool chunked : {false, true})
    for (const Precision type : kTypes) {
      if (!chunked && type != Precision::fp32) continue;
      const int padded = chunked ? 16 : 3;
      const Typed out(type, std::vector<float>(static_cast<std::size_t>(padded * rows), 1.0f));
      const FeatureRows features{out.data(), type, chunked, rows};
      encode(grid, type, nullptr, {at.data(), rows, 3, rows}, features, nullptr);
      const Typed wanted(type, points);
      const std::vector<float> found = out.read();
      for (std::int64_t row = 0; row < rows; ++row)
        for (int j = 0; j < padded; ++j)
          ASSERT_EQ(found[place(chunked, j, row, rows)],
                    j < 3 ? wanted.values[static_cast<std::size_t>(j * rows + row)] : 0.0f);
      scatter(grid, {}, {at.data(), rows, 3, rows}, features, {}, nullptr);
    }
  emulator::check_guards();
}

/// A scatter and what it should give.
class Scatter {
 public:
  Scatter(int features, Precision type, bool chunked, std::int64_t rows, float size = 1)
      : features_(features),
        rows_(rows),
        chunked_(chunked),
        layout_(layout_of(features)),
        points_(draw_points(rows, 4)),
        at_(points_),
        dfeatures_(type, scaled(draw_numbers(round_up(kLevels * features, 16) * rows, 5), size)),
        state_(1) {
    StepState state;
    state.loss_scale = 8;
    state_ = OnDevice<StepState>(std::vector<StepState>{state});
    before_.assign(static_cast<std::size_t>(layout_.decoder_begin), 0.0f);
    before_[0] = 0.25f;
    wanted_.assign(before_.begin(), before_.end());
    for (std::int64_t row = 0; row < rows; ++row)
      gather(layout_, features, points_, row, [&](std::size_t i, int j, float weight) {
        wanted_[i] += double{weight} * dfeatures_.values[place(chunked, j, row, rows)] * 2 / 8;
      });
  }

  std::vector<float> run(const ScatterPlan& plan, bool fixed, std::uint64_t schedule = 0) const {
    emulator::set_schedule(schedule);
    const OnDevice<float> gradient(before_);
    const OnDevice<std::uint64_t> sums(before_.size());
    const OnDevice<std::uint32_t> largest(1);
    ScatterTarget target{gradient.data(), layout_.decoder_begin, {}, 2, state_.data()};
    if (fixed) target.fixed = {sums.data(), largest.data()};
    scatter(make_grid(layout_, features_), target, {at_.data(), rows_, 3, rows_},
            {dfeatures_.data(), dfeatures_.type, chunked_, rows_}, plan, nullptr);
    for (const std::uint64_t sum : sums.read()) EXPECT_EQ(sum, 0u);
    emulator::check_guards();
    return gradient.read();
  }

  void expect(const std::vector<float>& found, double tolerance) const {
    double largest = 0;
    for (const double x : wanted_) largest = std::max(largest, std::abs(x));
    for (std::size_t i = 0; i < found.size(); ++i)
      ASSERT_NEAR(found[i], wanted_[i], tolerance * largest) << "number " << i;
  }

 private:
  static std::vector<float> scaled(std::vector<float> numbers, float by) {
    for (float& x : numbers) x *= by;
    return numbers;
  }

  int features_;
  std::int64_t rows_;
  bool chunked_;
  Layout layout_;
  std::vector<float> points_, before_;
  OnDevice<float> at_;
  Typed dfeatures_;
  OnDevice<StepState> state_;
  std::vector<double> wanted_;
};

TEST(CudaGrid, ScattersAsPlainLoopsDo) {
  for (const int features : kFeatures)
    for (const Precision type : kTypes)
      for (const bool chunked : {false, true})
        for (const std::int64_t rows : {1, 33, 300}) {
          if (!chunked && type != Precision::fp32) continue;
          SCOPED_TRACE(testing::Message() << features << " features " << name(type) << " chunked "
                                          << chunked << " rows " << rows);
          const Scatter scatter(features, type, chunked, rows);
          for (const RowAdds adds : {RowAdds::vectors, RowAdds::pairs, RowAdds::lanes})
            scatter.expect(scatter.run({adds, 0, 0}, false), 1e-6);
          scatter.expect(scatter.run({RowAdds::vectors, 2, 3}, false), 1e-6);
          scatter.expect(scatter.run({}, true), 1e-7);
        }
}

TEST(CudaGrid, FixedPointSumsDoNotDependOnTheSchedule) {
  for (const int features : {2, 5}) {
    const Scatter scatter(features, Precision::fp16, true, 300);
    const std::vector<float> first = scatter.run({}, true, 1);
    EXPECT_EQ(first, scatter.run({}, true, 2));
    EXPECT_EQ(first, scatter.run({}, true, 3));
    bool differs = false;
    const std::vector<float> in_order = scatter.run({}, false, 1);
    for (const std::uint64_t schedule : {2, 3}) {
      const std::vector<float> other = scatter.run({}, false, schedule);
      scatter.expect(other, 1e-6);
      differs |= other != in_order;
    }
    EXPECT_TRUE(differs) << "the schedules are all alike";
  }
  emulator::set_schedule(0);
}

TEST(CudaGrid, FixedPointHoldsLargeAndSmallNumbers) {
  for (const float size : {1e-30f, 1e-6f, 1e4f, 1e30f}) {
    const Scatter scatter(2, Precision::fp32, false, 33, size);
    // The number that was there before is lost beside large ones, and large beside small ones.
    scatter.expect(scatter.run({}, true), 1e-6);
  }
}

TEST(CudaGrid, AGradientThatIsNotFiniteStaysSo) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const Scatter scatter(2, Precision::fp16, true, 33, bad);
    const std::vector<float> found = scatter.run({}, true);
    EXPECT_TRUE(std::none_of(found.begin(), found.end(), [](float x) { return std::isfinite(x); }));
  }
}

TEST(CudaGrid, PlansByDeviceAndBatch) {
  const GridInfo grid = make_grid(layout_of(2), 2);
  EXPECT_EQ(plan_scatter(grid, 1 << 18, 8, 0, 108).adds, RowAdds::lanes);
  EXPECT_EQ(plan_scatter(grid, 1 << 18, 9, 0, 132).adds, RowAdds::pairs);
  EXPECT_EQ(plan_scatter(grid, 1 << 18, 9, 0, 132).shared_levels, 0);
  const std::int64_t first = grid.levels[0].level.entries * 8,
                     second = grid.levels[1].level.entries * 8;
  EXPECT_EQ(plan_scatter(grid, 1 << 18, 9, first, 132).shared_levels, 1);
  EXPECT_EQ(plan_scatter(grid, 1 << 18, 9, second, 132).shared_levels, 2);
  EXPECT_EQ(plan_scatter(grid, 1 << 18, 9, 1 << 20, 132).shared_levels, kLevels);
  EXPECT_EQ(plan_scatter(grid, 100, 9, 1 << 20, 132).shared_levels, 0);
}

}  // namespace
}  // namespace kanbench::cuda

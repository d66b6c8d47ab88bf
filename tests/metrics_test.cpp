// Figures of merit against scikit-image and SciPy (tests/golden/ssim.py) and against known
// perturbations of real volumes.
#include "kanbench/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "kanbench/parallel.h"
#include "support.h"

namespace kanbench {
namespace {

struct Pair {
  Shape shape;
  std::vector<float> original, reconstruction;
};

Metrics measure(const Pair& pair) {
  MetricsSum sum(pair.shape);
  const std::int64_t slice = pair.shape.x * pair.shape.y;
  for (std::int64_t z = 0; z < pair.shape.z; ++z) {
    sum.add_slice(pair.original.data() + z * slice, pair.reconstruction.data() + z * slice);
  }
  return sum.result();
}

std::int64_t hashed(std::uint64_t i, std::uint64_t salt) {
  auto h = static_cast<std::uint32_t>(i * 2654435761u + salt);
  h ^= h >> 15;
  h *= 2246822519u;
  h ^= h >> 13;
  return h;
}

std::int64_t triangle(std::int64_t t, std::int64_t period) {
  t = ((t % period) + period) % period;
  return std::min(t, period - t);
}

// The volumes of tests/golden/ssim.py.
Pair volumes(const Shape& shape, const std::string& kind) {
  Pair pair{shape, {}, {}};
  std::uint64_t i = 0;
  for (std::int64_t z = 0; z < shape.z; ++z) {
    for (std::int64_t y = 0; y < shape.y; ++y) {
      for (std::int64_t x = 0; x < shape.x; ++x, ++i) {
        std::int64_t a = 0, b = 0;
        if (kind == "waves") {
          a = 60 * triangle(3 * x + 5 * y + 7 * z, 64) + 50 * triangle(9 * x - 4 * y + 2 * z, 46) +
              hashed(i, 1) % 257;
          b = a + hashed(i, 2) % 401 - 200;
        } else {
          const bool inside = (x - 9) * (x - 9) + (y - 10) * (y - 10) + (z - 11) * (z - 11) < 36;
          a = inside ? 2048 + 128 * triangle(x + y + z, 16) + hashed(i, 3) % 129 : 40;
          b = a + (inside ? hashed(i, 4) % 301 - 150 : hashed(i, 5) % 5 - 2);
        }
        pair.original.push_back(static_cast<float>(std::clamp<std::int64_t>(a, 0, 4096)) / 4096);
        pair.reconstruction.push_back(static_cast<float>(std::clamp<std::int64_t>(b, 0, 4096)) /
                                      4096);
      }
    }
  }
  return pair;
}

nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(std::ifstream(path));
}

void expect_close(double value, double expected, double relative) {
  EXPECT_NEAR(value, expected, relative * std::abs(expected));
}

TEST(Metrics, AgreeWithScikitImage) {
  const auto cases = read_json(test::source_directory() / "tests" / "golden" / "ssim.json");
  ASSERT_GE(cases.size(), 4u);
  for (const auto& row : cases) {
    SCOPED_TRACE(row["name"].get<std::string>());
    const Shape shape{row["shape"][0], row["shape"][1], row["shape"][2]};
    const Metrics m = measure(volumes(shape, row["kind"]));
    expect_close(m.mse, row["mse"].get<double>(), 1e-12);
    expect_close(m.psnr, row["psnr"].get<double>(), 1e-12);
    expect_close(m.max_error, row["max_error"].get<double>(), 1e-12);
    expect_close(m.ssim, row["ssim"].get<double>(), 1e-10);
    expect_close(m.ssim_3d, row["ssim_3d"].get<double>(), 1e-10);
  }
}

// name_XxYxZ_dtype.raw
template <class T>
std::vector<T> read_voxels(const std::filesystem::path& path, std::int64_t count) {
  std::vector<T> voxels(static_cast<std::size_t>(count));
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(voxels.data()),
            static_cast<std::streamsize>(voxels.size() * sizeof(T)));
  return file ? voxels : std::vector<T>();
}

// The volume, normalised, and q = clip(floor(v / step) * step + step / 2, min, max).
template <class T>
Pair quantised(const std::filesystem::path& path, const Shape& shape, Dtype dtype, double step) {
  const std::vector<T> voxels = read_voxels<T>(path, shape.count());
  if (voxels.empty()) return {};
  const auto [low, high] = std::minmax_element(voxels.begin(), voxels.end());
  const VolumeView view{
      voxels.data(), shape, dtype, static_cast<double>(*low), static_cast<double>(*high),
      whole(shape)};
  Pair pair{shape, std::vector<float>(voxels.size()), std::vector<float>(voxels.size())};
  normalise(view, 0, shape.count(), pair.original.data());
  for (std::size_t i = 0; i < voxels.size(); ++i) {
    const double v = static_cast<double>(voxels[i]);
    const double q = std::clamp(std::floor(v / step) * step + step / 2, view.low, view.high);
    pair.reconstruction[i] = static_cast<float>((q - view.low) / (view.high - view.low));
  }
  return pair;
}

Pair real_volume(const std::string& file, double step) {
  const std::filesystem::path path = test::shared_data() / file;
  const auto last = file.rfind('_');
  const auto first = file.rfind('_', last - 1);
  Shape shape;
  std::sscanf(file.c_str() + first + 1, "%ldx%ldx%ld", &shape.x, &shape.y, &shape.z);
  const std::string type = file.substr(last + 1, file.size() - last - 5);
  if (type == "uint8") return quantised<std::uint8_t>(path, shape, Dtype::uint8, step);
  if (type == "uint16") return quantised<std::uint16_t>(path, shape, Dtype::uint16, step);
  return quantised<float>(path, shape, Dtype::float32, step);
}

TEST(Metrics, AgreeOnRealVolumes) {
  const auto path = test::shared_data() / "refmetrics.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is absent";
  for (const auto& row : read_json(path)) {
    const std::string file = row["file"];
    SCOPED_TRACE(file);
    const Pair pair = real_volume(file, row["quant_step"]);
    ASSERT_FALSE(pair.original.empty());
    const Metrics m = measure(pair);
    // The reference normalised in double; here the slices are float.
    expect_close(m.mse, row["mse_norm"].get<double>(), 1e-6);
    EXPECT_NEAR(m.psnr, row["psnr_range"].get<double>(), 1e-5);
    expect_close(m.ssim, row["ssim2d_z_crop5(torchmetrics<1.4.2)"].get<double>(), 1e-6);
    expect_close(m.ssim_3d, row["ssim3d_crop5"].get<double>(), 1e-6);
    expect_close(m.max_error, row["max_abs"].get<double>(), 1e-5);
  }
}

TEST(Metrics, DoNotDependOnThreads) {
  for (const Shape shape : {Shape{70, 150, 13}, Shape{9, 140, 13}, Shape{33, 5, 3}}) {
    const Pair pair = volumes(shape, "waves");
    set_threads(1);
    const Metrics one = measure(pair);
    set_threads(2);
    const Metrics two = measure(pair);
    set_threads(0);
    EXPECT_EQ(one.mse, two.mse);
    EXPECT_EQ(one.psnr, two.psnr);
    EXPECT_EQ(one.ssim, two.ssim);
    EXPECT_EQ(one.ssim_3d, two.ssim_3d);
    EXPECT_EQ(one.max_error, two.max_error);
  }
}

TEST(Metrics, ExactReconstruction) {
  for (const Shape shape : {Shape{15, 14, 13}, Shape{15, 14, 1}, Shape{1, 1, 1}, Shape{2, 1, 5}}) {
    Pair pair = volumes(shape, "waves");
    pair.reconstruction = pair.original;
    const Metrics m = measure(pair);
    EXPECT_EQ(m.mse, 0);
    EXPECT_EQ(m.psnr, std::numeric_limits<double>::infinity());
    EXPECT_EQ(m.max_error, 0);
    EXPECT_NEAR(m.ssim, 1, 1e-14);
    EXPECT_NEAR(m.ssim_3d, 1, 1e-14);
  }
}

TEST(Metrics, ReconstructionIsClamped) {
  Pair pair = volumes({12, 12, 2}, "waves");
  pair.original[0] = 1;
  pair.original[1] = 0;
  pair.reconstruction = pair.original;
  pair.reconstruction[0] = 7;
  pair.reconstruction[1] = -3;
  EXPECT_EQ(measure(pair).mse, 0);
}

TEST(Metrics, NanIsNotPassedOver) {
  Pair pair = volumes({12, 12, 2}, "waves");
  pair.reconstruction[5] = std::numeric_limits<float>::quiet_NaN();
  const Metrics m = measure(pair);
  EXPECT_TRUE(std::isnan(m.mse));
  EXPECT_TRUE(std::isnan(m.psnr));
  EXPECT_TRUE(std::isnan(m.max_error));
  EXPECT_TRUE(std::isnan(m.ssim));
}

TEST(Metrics, SlicesMustBeAsManyAsTheVolumeHas) {
  const Pair pair = volumes({12, 12, 2}, "waves");
  MetricsSum sum(pair.shape);
  EXPECT_THROW(sum.result(), std::logic_error);
  sum.add_slice(pair.original.data(), pair.original.data());
  EXPECT_THROW(sum.result(), std::logic_error);
  sum.add_slice(pair.original.data(), pair.original.data());
  EXPECT_THROW(sum.add_slice(pair.original.data(), pair.original.data()), std::logic_error);
}

TEST(Metrics, VariantNamesTheBorder) {
  const auto has = [](const Shape& shape, const char* word) {
    return ssim_variant(shape).find(word) != std::string::npos;
  };
  EXPECT_TRUE(has({11, 11, 11}, "cropped"));
  EXPECT_FALSE(has({11, 11, 11}, "mirror-padded"));
  EXPECT_TRUE(has({11, 11, 10}, "cropped") && has({11, 11, 10}, "mirror-padded"));
  EXPECT_FALSE(has({10, 64, 64}, "cropped"));
}

// Each part measured by a MetricsSum of its own, from its own slices alone.
MetricSums measure_parts(const Pair& pair, std::int64_t parts) {
  const std::int64_t slice = pair.shape.x * pair.shape.y;
  MetricSums all;
  for (std::int64_t k = 0; k < parts; ++k) {
    const Range slices{pair.shape.z * k / parts, pair.shape.z * (k + 1) / parts};
    const Range held = with_halo(slices, pair.shape);
    MetricsSum sum(pair.shape, slices);
    for (std::int64_t z = held.begin; z < held.end; ++z)
      sum.add_slice(pair.original.data() + z * slice, pair.reconstruction.data() + z * slice);
    const MetricSums part = sum.sums();
    all.squared_error += part.squared_error;
    all.ssim += part.ssim;
    all.ssim_3d += part.ssim_3d;
    all.max_error = std::max(all.max_error, part.max_error);
    all.finite = all.finite && part.finite;
  }
  return all;
}

TEST(MetricParts, MakeUpTheWhole) {
  for (const Shape shape :
       {Shape{20, 17, 29}, Shape{11, 11, 11}, Shape{13, 12, 10}, Shape{9, 14, 31}, Shape{14, 9, 5},
        Shape{3, 4, 26}, Shape{12, 13, 1}, Shape{1, 1, 7}, Shape{16, 5, 2}}) {
    const Pair pair = volumes(shape, "waves");
    const Metrics want = measure(pair);
    // More parts than slices leave some without any.
    for (const std::int64_t parts : {std::int64_t{1}, std::int64_t{2}, std::int64_t{3},
                                     std::int64_t{7}, shape.z, shape.z + 3}) {
      SCOPED_TRACE(text(shape) + " in " + std::to_string(parts));
      const Metrics got = metrics_of(measure_parts(pair, parts), shape);
      expect_close(got.mse, want.mse, 1e-12);
      expect_close(got.psnr, want.psnr, 1e-12);
      expect_close(got.ssim, want.ssim, 1e-12);
      expect_close(got.ssim_3d, want.ssim_3d, 1e-12);
      EXPECT_EQ(got.max_error, want.max_error);
      if (parts > 1) continue;
      EXPECT_EQ(got.mse, want.mse);
      EXPECT_EQ(got.ssim, want.ssim);
      EXPECT_EQ(got.ssim_3d, want.ssim_3d);
    }
  }
}

TEST(MetricParts, AgreeWithScikitImage) {
  for (const auto& row : read_json(test::source_directory() / "tests" / "golden" / "ssim.json")) {
    SCOPED_TRACE(row["name"].get<std::string>());
    const Shape shape{row["shape"][0], row["shape"][1], row["shape"][2]};
    const Metrics m = metrics_of(measure_parts(volumes(shape, row["kind"]), 3), shape);
    expect_close(m.mse, row["mse"].get<double>(), 1e-12);
    expect_close(m.max_error, row["max_error"].get<double>(), 1e-12);
    expect_close(m.ssim, row["ssim"].get<double>(), 1e-10);
    expect_close(m.ssim_3d, row["ssim_3d"].get<double>(), 1e-10);
  }
}

TEST(MetricParts, NeedFiveSlicesMoreASide) {
  const Shape shape{12, 12, 40};
  EXPECT_EQ(with_halo({0, 40}, shape), (Range{0, 40}));
  EXPECT_EQ(with_halo({7, 8}, shape), (Range{2, 13}));
  EXPECT_EQ(with_halo({3, 36}, shape), (Range{0, 40}));
  EXPECT_EQ(with_halo({9, 9}, shape).size(), 0);
  MetricsSum none(shape, {9, 9});
  EXPECT_EQ(none.sums().squared_error, 0);
  EXPECT_THROW(MetricsSum(shape, {30, 41}), std::logic_error);
  EXPECT_THROW(MetricsSum(shape, {5, 4}), std::logic_error);
}

TEST(MetricParts, NanIsOnlyInItsPart) {
  Pair pair = volumes({12, 12, 8}, "waves");
  pair.reconstruction[5 * 144 + 3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(measure_parts(pair, 4).finite);
  MetricsSum first(pair.shape, {0, 1});
  for (std::int64_t z = 0; z < 6; ++z)
    first.add_slice(pair.original.data() + z * 144, pair.reconstruction.data() + z * 144);
  const MetricSums sums = first.sums();
  EXPECT_TRUE(sums.finite);
  EXPECT_THROW(first.result(), std::logic_error);
  const Metrics m = metrics_of(measure_parts(pair, 4), pair.shape);
  EXPECT_TRUE(std::isnan(m.mse) && std::isnan(m.ssim) && std::isnan(m.max_error));
}

template <class T>
void check_normalised(Dtype dtype, double low, double high) {
  const std::vector<T> voxels{static_cast<T>(low), static_cast<T>(low + (high - low) / 4),
                              static_cast<T>(high)};
  const VolumeView view{voxels.data(), {3, 1, 1}, dtype, low, high, whole({3, 1, 1})};
  float out[3];
  normalise(view, 0, 3, out);
  EXPECT_EQ(out[0], 0.0f);
  EXPECT_EQ(out[1], static_cast<float>((static_cast<double>(voxels[1]) - low) / (high - low)));
  EXPECT_EQ(out[2], 1.0f);
  normalise(view, 2, 1, out);
  EXPECT_EQ(out[0], 1.0f);
}

TEST(Normalise, EveryDtype) {
  check_normalised<std::uint8_t>(Dtype::uint8, 3, 251);
  check_normalised<std::int8_t>(Dtype::int8, -100, 100);
  check_normalised<std::uint16_t>(Dtype::uint16, 0, 65535);
  check_normalised<std::int16_t>(Dtype::int16, -32768, 32767);
  check_normalised<std::uint32_t>(Dtype::uint32, 0, 4294967295.0);
  check_normalised<std::int32_t>(Dtype::int32, -2147483648.0, 2147483647.0);
  check_normalised<std::uint64_t>(Dtype::uint64, 0, 9007199254740992.0);
  check_normalised<std::int64_t>(Dtype::int64, -9007199254740992.0, 9007199254740992.0);
  check_normalised<float>(Dtype::float32, -1.5, 2.5);
  check_normalised<double>(Dtype::float64, 1e-300, 4e-300);
}

TEST(Metrics, OfComponentsAreTheirMeans) {
  const Metrics one{1e-3, 30, 0.5, 0.25, 0.125}, other{3e-3, 25, 1, 0.75, 0.5};
  const Metrics mean = mean_of({one, other});
  EXPECT_DOUBLE_EQ(mean.mse, 2e-3);
  EXPECT_DOUBLE_EQ(mean.psnr, psnr_of(2e-3));
  EXPECT_DOUBLE_EQ(mean.ssim, 0.75);
  EXPECT_DOUBLE_EQ(mean.ssim_3d, 0.5);
  EXPECT_EQ(mean.max_error, 0.5);
  const Metrics same = mean_of({{0, psnr_of(0), 1, 1, 0}});
  EXPECT_EQ(same.psnr, psnr_of(0));
  EXPECT_EQ(same.max_error, 0);
  for (const bool first : {false, true}) {
    Metrics broken = other;
    broken.max_error = NAN;
    EXPECT_TRUE(std::isnan(mean_of({first ? broken : one, first ? one : broken}).max_error));
  }
}

}  // namespace
}  // namespace kanbench

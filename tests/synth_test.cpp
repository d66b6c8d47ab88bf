// Analytic volumes against their formulas, written out plainly here.
#include "kanbench/synth.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "kanbench/dtype.h"
#include "kanbench/error.h"
#include "kanbench/math/random.h"
#include "kanbench/parallel.h"
#include "support.h"

namespace kanbench {
namespace {

constexpr double pi = std::numbers::pi;

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string generate_bytes(const std::string& name, const Shape& shape, Dtype dtype,
                           std::uint64_t seed = 0) {
  const test::TemporaryDirectory directory;
  return bytes_of(write_synth(name, directory.path(), shape, dtype, seed));
}

template <class T>
std::vector<T> generate(const std::string& name, const Shape& shape, Dtype dtype,
                        std::uint64_t seed = 0) {
  const std::string bytes = generate_bytes(name, shape, dtype, seed);
  std::vector<T> voxels(bytes.size() / sizeof(T));
  std::memcpy(voxels.data(), bytes.data(), voxels.size() * sizeof(T));
  EXPECT_EQ(static_cast<std::int64_t>(voxels.size()), shape.count());
  return voxels;
}

std::vector<double> generate_doubles(const std::string& name, const Shape& shape,
                                     std::uint64_t seed = 0) {
  return generate<double>(name, shape, Dtype::float64, seed);
}

using Formula = std::function<double(double, double, double)>;

// The formula at the voxel centres of [-half, half]^3.
std::vector<double> sampled(const Shape& shape, double half, const Formula& formula) {
  const auto centre = [half](std::int64_t i, std::int64_t n) {
    return half * (2 * (static_cast<double>(i) + 0.5) / static_cast<double>(n) - 1);
  };
  std::vector<double> values;
  for (std::int64_t z = 0; z < shape.z; ++z) {
    for (std::int64_t y = 0; y < shape.y; ++y) {
      for (std::int64_t x = 0; x < shape.x; ++x) {
        values.push_back(formula(centre(x, shape.x), centre(y, shape.y), centre(z, shape.z)));
      }
    }
  }
  return values;
}

void expect_near(const std::vector<double>& values, const std::vector<double>& expected) {
  ASSERT_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_NEAR(values[i], expected[i], 1e-12) << "voxel " << i;
  }
}

double nucleon(double x, double y, double z) {
  const double b = 1.76, b2 = b * b;
  const auto rho = [b2](double rr, double ss, double rs) {
    return std::pow(pi, -1.5) * std::pow(b2, -1.5) * std::exp(-(rr + ss) / (2 * b2)) *
           (1 + 2 * rs / b2);
  };
  const double rr = x * x + y * y + z * z, ss = 4, rs = 2 * x;
  const double pair = 16 * rho(rr, rr, rr) * rho(ss, ss, ss) - 4 * std::pow(rho(rr, ss, rs), 2);
  const double distance2 = (x - 2) * (x - 2) + y * y + z * z;
  return pair * (1 - std::exp(-distance2 / (0.7 * 0.7)));
}

void scale_by_maximum(std::vector<double>& values) {
  const double most = *std::max_element(values.begin(), values.end());
  for (double& value : values) value /= most;
}

constexpr Shape odd_shape{13, 10, 7};

TEST(Synth, DemoVolumeIsReproducedBitForBit) {
  const auto path = test::source_directory() / "demo_data" / "nucleon_41x41x41_uint8.raw";
  const std::string committed = bytes_of(path);
  ASSERT_EQ(committed.size(), 41u * 41 * 41);
  EXPECT_TRUE(committed == generate_bytes("nucleon", {41, 41, 41}, Dtype::uint8));
}

// The bits hold on any machine because no voxel lies near a rounding boundary.
TEST(Synth, DemoVolumeIsItsFormulaWithMargin) {
  const Shape shape{41, 41, 41};
  const auto voxels = generate<std::uint8_t>("nucleon", shape, Dtype::uint8);
  std::vector<double> values = sampled(shape, 5, nucleon);
  scale_by_maximum(values);
  double margin = 1;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double level = 255 * values[i];
    ASSERT_EQ(voxels[i], std::floor(level + 0.5)) << "voxel " << i;
    margin = std::min(margin, std::abs(level + 0.5 - std::round(level + 0.5)));
  }
  EXPECT_GT(margin, 1e-8);
}

TEST(Synth, NucleonIsItsFormula) {
  std::vector<double> expected = sampled(odd_shape, 5, nucleon);
  scale_by_maximum(expected);
  expect_near(generate_doubles("nucleon", odd_shape), expected);
}

TEST(Synth, MarschnerLobbIsItsFormula) {
  expect_near(generate_doubles("marschner_lobb", odd_shape),
              sampled(odd_shape, 1, [](double x, double y, double z) {
                const double rho = std::cos(12 * pi * std::cos(pi * std::hypot(x, y) / 2));
                return (1 - std::sin(pi * z / 2) + 0.25 * (1 + rho)) / 2.5;
              }));
}

TEST(Synth, GyroidIsItsFormula) {
  expect_near(
      generate_doubles("gyroid", odd_shape),
      sampled(odd_shape, 4 * pi, [](double x, double y, double z) {
        return (std::sin(x) * std::cos(y) + std::sin(y) * std::cos(z) + std::sin(z) * std::cos(x)) /
                   3 +
               0.5;
      }));
}

TEST(Synth, HydrogenIsItsFormula) {
  expect_near(generate_doubles("hydrogen", odd_shape),
              sampled(odd_shape, 24, [](double x, double y, double z) {
                const double r = std::sqrt(x * x + y * y + z * z);
                if (r == 0) return 0.0;
                const double cosine = z / r;
                const double psi = r * r * std::exp(-r / 3) * (3 * cosine * cosine - 1);
                return psi * psi / (5184 * std::exp(-4.0));
              }));
}

// An affine image of the sum over modes, each evaluated by itself.
TEST(Synth, TurbulenceIsASumOfModes) {
  const Stream stream = make_stream(7, 0, Purpose::synth);
  const auto unit = [](std::uint32_t word) { return (word + 0.5) / 4294967296.0; };
  const auto sum = [&](double x, double y, double z) {
    double total = 0;
    for (std::uint64_t m = 0; m < 64; ++m) {
      const Words4 w = stream.words(m);
      const double k = std::pow(32.0, (static_cast<double>(m) + unit(w.v[0])) / 64);
      const double c = 2 * unit(w.v[1]) - 1, s = std::sqrt(1 - c * c);
      const double turn = 2 * pi * unit(w.v[2]);
      const double along = s * (std::cos(turn) * x + std::sin(turn) * y) + c * z;
      total += std::cos(2 * pi * (k * along + unit(w.v[3]))) * std::pow(k, -1.0 / 3);
    }
    return total;
  };
  const auto values = generate_doubles("turbulence", odd_shape, 7);
  const auto expected = sampled(
      odd_shape, 0.5, [&](double x, double y, double z) { return sum(x + 0.5, y + 0.5, z + 0.5); });
  const auto [least, most] = std::minmax_element(expected.begin(), expected.end());
  const auto i = static_cast<std::size_t>(least - expected.begin());
  const auto j = static_cast<std::size_t>(most - expected.begin());
  const double slope = (values[j] - values[i]) / (*most - *least);
  EXPECT_GT(slope, 0);
  for (std::size_t v = 0; v < values.size(); ++v) {
    ASSERT_NEAR(values[v], values[i] + slope * (expected[v] - *least), 1e-10);
  }
}

TEST(Synth, TurbulenceDoesNotDependOnTheResolution) {
  const auto coarse = generate_doubles("turbulence", {5, 6, 4});
  const auto fine = generate_doubles("turbulence", {15, 18, 12});
  for (std::size_t z = 0; z < 4; ++z) {
    for (std::size_t y = 0; y < 6; ++y) {
      for (std::size_t x = 0; x < 5; ++x) {
        EXPECT_NEAR(coarse[x + 5 * (y + 6 * z)],
                    fine[3 * x + 1 + 15 * (3 * y + 1 + 18 * (3 * z + 1))], 1e-12);
      }
    }
  }
}

TEST(Synth, TurbulenceFillsItsRange) {
  const auto values = generate_doubles("turbulence", {40, 40, 40}, 3);
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  EXPECT_GT(*least, 0);
  EXPECT_LT(*least, 0.2);
  EXPECT_GT(*most, 0.8);
  EXPECT_LT(*most, 1);
}

TEST(Synth, SeedMattersToTurbulenceOnly) {
  const Shape shape{9, 8, 7};
  for (const Synth& synth : synths()) {
    const bool same = generate_bytes(synth.name, shape, Dtype::float32, 1) ==
                      generate_bytes(synth.name, shape, Dtype::float32, 2);
    EXPECT_EQ(same, std::string(synth.name) != "turbulence") << synth.name;
    EXPECT_TRUE(generate_bytes(synth.name, shape, Dtype::float32, 1) ==
                generate_bytes(synth.name, shape, Dtype::float32, 1));
  }
}

TEST(Synth, ThreadsDoNotMatter) {
  const Shape shape{21, 50, 6};
  for (const Synth& synth : synths()) {
    set_threads(1);
    const std::string one = generate_bytes(synth.name, shape, Dtype::float64);
    set_threads(2);
    EXPECT_TRUE(one == generate_bytes(synth.name, shape, Dtype::float64)) << synth.name;
    set_threads(0);
  }
}

// The value of the mirror image, voxel by voxel.
std::vector<double> mirrored(const std::vector<double>& values, std::size_t n, bool x, bool y,
                             bool z) {
  std::vector<double> image;
  for (std::size_t k = 0; k < n; ++k) {
    for (std::size_t j = 0; j < n; ++j) {
      for (std::size_t i = 0; i < n; ++i) {
        image.push_back(
            values[(x ? n - 1 - i : i) + n * ((y ? n - 1 - j : j) + n * (z ? n - 1 - k : k))]);
      }
    }
  }
  return image;
}

TEST(Synth, Symmetries) {
  constexpr std::size_t n = 12;
  const Shape cube{n, n, n};
  const auto nucleon_values = generate_doubles("nucleon", cube);
  EXPECT_EQ(nucleon_values, mirrored(nucleon_values, n, false, true, true));
  EXPECT_NE(nucleon_values, mirrored(nucleon_values, n, true, false, false));
  const auto hydrogen = generate_doubles("hydrogen", cube);
  EXPECT_EQ(hydrogen, mirrored(hydrogen, n, true, true, true));
  const auto rings = generate_doubles("marschner_lobb", cube);
  EXPECT_EQ(rings, mirrored(rings, n, true, true, false));
  const auto gyroid = generate_doubles("gyroid", cube);
  auto odd = mirrored(gyroid, n, true, true, true);
  for (double& value : odd) value = 1 - value;
  expect_near(gyroid, odd);
  for (std::size_t k = 0; k < n; ++k) {
    for (std::size_t j = 0; j < n; ++j) {
      for (std::size_t i = 0; i < n; ++i) {
        EXPECT_NEAR(gyroid[i + n * (j + n * k)], gyroid[j + n * (k + n * i)], 1e-12);
      }
    }
  }
}

template <class T>
void check_scaling(Dtype dtype) {
  SCOPED_TRACE(name(dtype));
  const Shape shape{9, 8, 7};
  const bool whole_numbers = std::numeric_limits<T>::is_integer;
  const double highest = whole_numbers ? static_cast<double>(std::numeric_limits<T>::max()) : 1;
  const double ulp = highest * std::numeric_limits<T>::epsilon();
  const auto exact = generate_doubles("nucleon", shape);
  const auto voxels = generate<T>("nucleon", shape, dtype);
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double expected = exact[i] * highest;
    // Half a step of rounding, and a double's own precision for 64-bit integers.
    const double tolerance = whole_numbers ? 0.5 + highest * 1e-15 + 1e-9 : ulp;
    ASSERT_NEAR(static_cast<double>(voxels[i]), expected, tolerance) << "voxel " << i;
  }
  EXPECT_EQ(*std::max_element(voxels.begin(), voxels.end()),
            whole_numbers ? std::numeric_limits<T>::max() : T{1});
  const auto constant = generate<T>("constant", shape, dtype);
  for (const T voxel : constant) {
    ASSERT_EQ(voxel, constant[0]);
    ASSERT_NEAR(static_cast<double>(voxel), highest / 2, whole_numbers ? 0.5 + highest * 1e-15 : 0);
  }
}

TEST(Synth, EveryDtype) {
  check_scaling<std::uint8_t>(Dtype::uint8);
  check_scaling<std::int8_t>(Dtype::int8);
  check_scaling<std::uint16_t>(Dtype::uint16);
  check_scaling<std::int16_t>(Dtype::int16);
  check_scaling<std::uint32_t>(Dtype::uint32);
  check_scaling<std::int32_t>(Dtype::int32);
  check_scaling<std::uint64_t>(Dtype::uint64);
  check_scaling<std::int64_t>(Dtype::int64);
  check_scaling<float>(Dtype::float32);
  check_scaling<double>(Dtype::float64);
}

TEST(Synth, NamesTheFileAndItsHeader) {
  const test::TemporaryDirectory directory;
  const auto path = write_synth("gyroid", directory.path(), {3, 4, 5}, Dtype::uint16, 0);
  EXPECT_EQ(path, directory / "gyroid_3x4x5_uint16.raw");
  EXPECT_TRUE(std::filesystem::exists(directory / "gyroid_3x4x5_uint16.nhdr"));
}

TEST(Synth, OneVoxelIsEnough) {
  for (const Synth& synth : synths()) {
    EXPECT_EQ(generate_bytes(synth.name, {1, 1, 1}, Dtype::uint8).size(),
              static_cast<std::size_t>(synth.components))
        << synth.name;
  }
}

// Integers hold all components in one range, so that a direction stays what it is.
TEST(Synth, AFlowHasOneScale) {
  const test::TemporaryDirectory directory;
  const auto read = [&](Dtype dtype, auto number) {
    const auto path = write_synth("abc_flow", directory.path(), {7, 6, 5}, dtype, 0);
    const std::string bytes = bytes_of(path);
    std::vector<decltype(number)> numbers(bytes.size() / sizeof number);
    std::memcpy(numbers.data(), bytes.data(), bytes.size());
    return numbers;
  };
  const auto velocities = read(Dtype::float64, double{});
  const auto scaled = read(Dtype::uint16, std::uint16_t{});
  ASSERT_EQ(velocities.size(), 3u * 7 * 6 * 5);
  ASSERT_EQ(scaled.size(), velocities.size());
  const double most = std::sqrt(3.0) + std::sqrt(2.0);
  for (std::size_t i = 0; i < scaled.size(); ++i)
    ASSERT_NEAR(scaled[i], 65535 * (velocities[i] + most) / (2 * most), 0.5001) << i;
}

TEST(Synth, Errors) {
  const test::TemporaryDirectory directory;
  const auto message = [&](const std::string& name, const Shape& shape) {
    return test::message_of<Error>(
        [&] { write_synth(name, directory.path(), shape, Dtype::uint8, 0); });
  };
  const std::string unknown = message("gyriod", {4, 4, 4});
  EXPECT_NE(unknown.find("'gyriod', did you mean 'gyroid'?"), std::string::npos) << unknown;
  EXPECT_NE(unknown.find("marschner_lobb"), std::string::npos) << unknown;
  EXPECT_NE(message("gyroid", {4, 0, 4}).find("4x0x4"), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

}  // namespace
}  // namespace kanbench

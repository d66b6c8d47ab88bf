// The shared arithmetic against figures from NumPy and PyTorch (tests/golden), and its laws.

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "kanbench/error.h"
#include "kanbench/math/basis.h"
#include "kanbench/math/encoder.h"
#include "kanbench/math/layer.h"
#include "kanbench/math/optimizer.h"
#include "kanbench/math/random.h"
#include "kanbench/math/voxels.h"
#include "kanbench/model.h"
#include "reference.h"
#include "support.h"

namespace kanbench {
namespace {

using nlohmann::json;

json golden(const std::string& name) {
  std::ifstream file(test::source_directory() / "tests" / "golden" / name);
  return json::parse(file);
}

std::vector<double> flat(const json& values) {
  if (!values.is_array()) return {values.get<double>()};
  std::vector<double> all;
  for (const json& part : values)
    for (double v : flat(part)) all.push_back(v);
  return all;
}

TEST(Silu, HasTheGoldenValuesAndSlopes) {
  const json file = golden("layers.json");
  for (std::size_t i = 0; i < file["x"].size(); ++i) {
    const Dual<double> y = silu(Dual<double>(file["x"][i], 1.0));
    EXPECT_NEAR(y.v, flat(file["silu"]["values"][i])[0], 1e-11);
    EXPECT_NEAR(y.d, flat(file["silu"]["slopes"][i])[0], 1e-11);
  }
}

TEST(Silu, IsFiniteFarOut) {
  for (float x : {-1e30f, -100.0f, 100.0f, 1e30f}) {
    const Dual<float> y = silu(Dual<float>(x, 1.0f));
    EXPECT_EQ(y.v, x > 0 ? x : 0) << x;
    EXPECT_EQ(y.d, x > 0 ? 1 : 0) << x;
  }
}

TEST(Loss, ShowsANumberThatIsNotFinite) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(loss::L1{}.value(nan, 0.5)));
  EXPECT_TRUE(std::isnan(loss::Mse{}.value(nan, 0.5)));
  EXPECT_EQ(loss::L1{}.value(0.25, 1.0), 0.75);
  EXPECT_EQ(loss::L1{}.value(1.0, 0.25), 0.75);
  EXPECT_EQ(loss::L1{}.value(0.5, 0.5), 0);
}

TEST(Layer, NormalisesAsPyTorch) {
  const json norm = golden("layers.json")["layer_norm"];
  const std::vector<double> weight = flat(norm["weight"]), bias = flat(norm["bias"]);
  LayerParameters<const double> p;
  p.norm_weight = weight.data();
  p.norm_bias = bias.data();
  const Layer layer{static_cast<int>(weight.size()), 1, basis::Identity{}, false, false, true};
  for (std::size_t r = 0; r < norm["x"].size(); ++r) {
    const std::vector<double> x = flat(norm["x"][r]), y = flat(norm["y"][r]);
    std::vector<double> z(x.size());
    double mean;
    normalise_row(layer, p, x.data(), z.data(), &mean);
    for (std::size_t i = 0; i < z.size(); ++i) EXPECT_NEAR(z[i], y[i], 1e-10);
  }
}

TEST(Layer, OfFastKanIsPyTorchs) {
  const json file = golden("layers.json");
  for (const json& j : file["fastkan_layers"]) {
    const bool norm = j.contains("layernorm.weight"), base = j.contains("base_weight");
    const Layer layer{j["in"], j["out"], basis::Rbf{j["num_grids"], j["grid_radius"]},
                      base,    base,     norm};
    const auto values = [&](const char* key) {
      return j.contains(key) ? flat(j[key]) : std::vector<double>{};
    };
    const std::vector<double> weight = values("spline_weight"), base_weight = values("base_weight"),
                              bias = values("base_bias"), norm_weight = values("layernorm.weight"),
                              norm_bias = values("layernorm.bias");
    const LayerParameters<const double> p{weight.data(), base_weight.data(), bias.data(),
                                          norm_weight.data(), norm_bias.data()};
    for (std::size_t r = 0; r < j["x"].size(); ++r) {
      const std::vector<double> x = flat(j["x"][r]), want = flat(j["y"][r]);
      std::vector<double> z(x.size()), y(want.size());
      layer_forward(layer, layer.out, p, x.data(), z.data(), y.data(), y.data());
      for (std::size_t o = 0; o < y.size(); ++o) EXPECT_NEAR(y[o], want[o], 1e-6);
    }
  }
}

double table_entry(std::uint32_t level, std::uint32_t row, std::uint32_t feature) {
  const std::uint32_t mixed = row * 2654435761u + feature * 40503u + level * 97u;
  return (static_cast<double>(mixed % 2047) - 1023) / 1024;
}

TEST(HashGrid, EncodesAsAnIndependentProgram) {
  const json file = golden("hash_grid.json");
  for (const json& c : file["cases"]) {
    const json& e = c["encoder"];
    const encoder::HashGrid grid{e["n_levels"], e["n_features_per_level"], e["log2_hashmap_size"],
                                 e["base_resolution"], e["per_level_scale"]};
    for (int l = 0; l < grid.n_levels; ++l) {
      const encoder::GridLevel level = grid.level(l);
      const json& want = c["levels"][l];
      EXPECT_FLOAT_EQ(level.scale, want["scale"]);
      EXPECT_EQ(level.resolution, want["resolution"]);
      EXPECT_EQ(level.entries, want["entries"]);
      EXPECT_EQ(level.dense, want["dense"]);
      for (std::size_t i = 0; i < file["points"].size(); ++i) {
        const std::vector<double> x = flat(file["points"][i]);
        std::vector<double> sums(grid.features());
        double total = 0;
        level.gather(x.data(), [&](std::uint32_t row, double w) {
          ASSERT_LT(row, level.entries);
          total += w;
          for (int f = 0; f < grid.features(); ++f) sums[f] += w * table_entry(l, row, f);
        });
        EXPECT_NEAR(total, 1, 1e-12);
        for (int f = 0; f < grid.features(); ++f)
          EXPECT_NEAR(sums[f], c["features"][i][l * grid.features() + f], 1e-9)
              << e << ", level " << l << ", point " << i;
      }
    }
  }
}

TEST(Model, HasPyTorchsGradients) {
  const json file = golden("gradients.json");
  for (const json& j : file) {
    ModelSpec spec;
    spec.network_type = j["network_type"];
    const bool kan = spec.network_type == "fastkan";
    const json& e = j["encoder"];
    spec.encoder =
        encoder::HashGrid{e["n_levels"], e["n_features_per_level"], e["log2_hashmap_size"],
                          e["base_resolution"], e["per_level_scale"]};
    for (std::size_t l = 0; l + 1 < j["widths"].size(); ++l) {
      Layer layer{j["widths"][l], j["widths"][l + 1]};
      layer.base = layer.bias = layer.norm = kan;
      if (kan)
        layer.basis = basis::Rbf{j["num_grids"], j["grid_radius"]};
      else if (l > 0)
        layer.basis = basis::Relu{};
      spec.layers.push_back(layer);
    }
    const Layout layout = make_layout(spec);
    test::Reference reference(spec, std::vector<float>(static_cast<std::size_t>(layout.size)));
    ASSERT_EQ(j["parameters"].size(), layout.slices.size());
    for (const Slice& slice : layout.slices) {
      const std::vector<double> values = flat(j["parameters"].at(slice.name));
      ASSERT_EQ(static_cast<std::int64_t>(values.size()), slice.size()) << slice.name;
      std::copy(values.begin(), values.end(), reference.parameters.begin() + slice.offset);
    }
    double total = 0;
    for (std::size_t i = 0; i < j["points"].size(); ++i) {
      const std::vector<double> p = flat(j["points"][i]);
      double dp[3];
      EXPECT_NEAR(reference.predict(p.data()), flat(j["values"][i])[0], 1e-6);
      total += reference.differentiate(p.data(), flat(j["targets"][i])[0], loss::L1{}, 1, dp);
    }
    EXPECT_NEAR(total, j["loss"], 1e-5);
    for (const Slice& slice : layout.slices) {
      const std::vector<double> want = flat(j["gradients"].at(slice.name));
      for (std::size_t i = 0; i < want.size(); ++i)
        EXPECT_NEAR(reference.gradient[slice.offset + i], want[i], 1e-5) << slice.name << " " << i;
    }
  }
}

// The known answers published with Random123.
TEST(Random, PhiloxGivesTheKnownAnswers) {
  const Words4 zero = philox({{0, 0, 0, 0}}, 0, 0);
  EXPECT_EQ(zero.v[0], 0x6627e8d5u);
  EXPECT_EQ(zero.v[1], 0xe169c58du);
  EXPECT_EQ(zero.v[2], 0xbc57ac4cu);
  EXPECT_EQ(zero.v[3], 0x9b00dbd8u);
  const std::uint32_t ones = 0xffffffffu;
  const Words4 full = philox({{ones, ones, ones, ones}}, ones, ones);
  EXPECT_EQ(full.v[0], 0x408f276du);
  EXPECT_EQ(full.v[1], 0x41c83b0eu);
  EXPECT_EQ(full.v[2], 0xa20bc7c6u);
  EXPECT_EQ(full.v[3], 0x6d5451fdu);
  const Words4 pi =
      philox({{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}}, 0xa4093822u, 0x299f31d0u);
  EXPECT_EQ(pi.v[0], 0xd16cfe09u);
  EXPECT_EQ(pi.v[1], 0x94fdccebu);
  EXPECT_EQ(pi.v[2], 0x5001e420u);
  EXPECT_EQ(pi.v[3], 0x24126ea1u);
}

TEST(Random, StreamsOfOtherSeedsRanksAndPurposesDiffer) {
  const std::uint32_t word = make_stream(1, 0, Purpose::samples).words(5).v[0];
  EXPECT_NE(word, make_stream(2, 0, Purpose::samples).words(5).v[0]);
  EXPECT_NE(word, make_stream(1, 1, Purpose::samples).words(5).v[0]);
  EXPECT_NE(word, make_stream(1, 0, Purpose::encoder).words(5).v[0]);
  EXPECT_NE(word, make_stream(1, 0, Purpose::samples, 1).words(5).v[0]);
  EXPECT_LT(unit_float(0xffffffffu), 1.0f);
}

TEST(Voxels, AreInterpolatedBetweenCentresAndHeldAtTheEdge) {
  // A field linear in the voxel index is reproduced between the outermost centres.
  constexpr int nx = 4, ny = 3, nz = 5;
  std::vector<double> voxels;
  for (int z = 0; z < nz; ++z)
    for (int y = 0; y < ny; ++y)
      for (int x = 0; x < nx; ++x) voxels.push_back(2 * x - 3 * y + 5 * z + 1);
  const VoxelGrid<double> grid{voxels.data(), {nx, ny, nz}, {}, {nx, ny, nz}};
  const auto held = [](double p, int n) { return std::min(std::max(p, 0.0), n - 1.0); };
  for (float u : {0.0f, 0.1f, 0.5f, 0.77f, 1.0f})
    for (float v : {0.0f, 0.3f, 0.5f, 1.0f})
      for (float w : {0.0f, 0.21f, 0.6f, 1.0f}) {
        const double want = 2 * held(u * nx - 0.5, nx) - 3 * held(v * ny - 0.5, ny) +
                            5 * held(w * nz - 0.5, nz) + 1;
        EXPECT_NEAR(lookup(grid, u, v, w), want, 2e-6);
      }
}

TEST(Voxels, IndicesPassTwoToThe31) {
  const Tap last = tap(1.0f, std::int64_t{1} << 33);
  EXPECT_EQ(last.low, (std::int64_t{1} << 33) - 1);
  const Tap middle = tap(0.5f, std::int64_t{1} << 33);
  EXPECT_EQ(middle.low, (std::int64_t{1} << 32) - 1);
  EXPECT_NEAR(middle.weight, 0.5, 1e-6);
}

// Adam written out from the paper, moments corrected each by itself.
TEST(Adam, FollowsThePaper) {
  Adam adam;
  double w = 0.7, m = 0, v = 0, paper_w = 0.7, paper_m = 0, paper_v = 0;
  for (int t = 1; t <= 50; ++t) {
    const double g = std::sin(t * 1.7) * 0.3;
    adam_update(adam_step(adam, 0.01, t), g, w, m, v);
    paper_m = 0.9 * paper_m + 0.1 * g;
    paper_v = 0.999 * paper_v + 0.001 * g * g;
    const double m_hat = paper_m / (1 - std::pow(0.9, t));
    const double v_hat = paper_v / (1 - std::pow(0.999, t));
    paper_w -= 0.01 * m_hat / (std::sqrt(v_hat) + 1e-9);
    EXPECT_NEAR(w, paper_w, 1e-6) << t;
  }
}

TEST(Layout, AlignsTensorsAndCountsParameters) {
  ModelSpec spec;
  spec.encoder = encoder::HashGrid{3, 2, 6, 4, 1.7};
  spec.layers = {{6, 5, basis::Identity{}}, {5, 1, basis::Relu{}}};
  const Layout layout = make_layout(spec);
  EXPECT_EQ(layout.parameters, 3 * 64 * 2 + 6 * 5 + 5);
  for (const Slice& slice : layout.slices) EXPECT_EQ(slice.offset % 16, 0) << slice.name;
  EXPECT_EQ(layout.slices.back().name, "decoder.layers.1.weight");
  spec.encoder = encoder::HashGrid{32, 16, 26, 65536, 1};
  EXPECT_GT(make_layout(spec).size, std::int64_t{1} << 34);
}

TEST(Layout, RefusesLevelsFinerThanFloatCanPlace) {
  ModelSpec spec;
  spec.encoder = encoder::HashGrid{17, 2, 12, 16, 2};
  EXPECT_NO_THROW(make_layout(spec));
  for (const encoder::HashGrid grid :
       {encoder::HashGrid{18, 2, 12, 16, 2}, encoder::HashGrid{32, 2, 12, 65536, 16}}) {
    spec.encoder = grid;
    const std::string message = test::message_of<Error>([&] { make_layout(spec); });
    EXPECT_NE(message.find("per_level_scale"), std::string::npos) << message;
  }
}

TEST(Parameters, DependOnTheSeedAndKeepTheirBounds) {
  ModelSpec spec;
  spec.network_type = "fastkan";
  spec.encoder = encoder::HashGrid{4, 2, 10, 8, 2};
  spec.layers = {{8, 16, basis::Rbf{}, true, true, true}, {16, 1, basis::Rbf{}, true, true, true}};
  const Initialisation init{1e-3, 0.05, 1};
  const std::vector<float> a = draw_parameters(spec, init, 1), b = draw_parameters(spec, init, 1),
                           c = draw_parameters(spec, init, 2);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
  const Layout layout = make_layout(spec);
  for (std::int64_t i = 0; i < layout.decoder_begin; ++i) EXPECT_LE(std::abs(a[i]), 1e-3f);
  double squares = 0;
  const LayerOffsets& first = layout.layers[0];
  for (int i = 0; i < 16 * 8 * 8; ++i) squares += a[first.weight + i] * a[first.weight + i];
  EXPECT_NEAR(std::sqrt(squares / (16 * 8 * 8)), 0.05, 0.005);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(a[first.norm_weight + i], 1.0f);
}

}  // namespace
}  // namespace kanbench

// Encoders against figures of an independent program (tests/golden/encoders.py) and their laws.

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "encoder_cases.h"
#include "kanbench/error.h"
#include "kanbench/model_file.h"
#include "reference.h"
#include "support.h"

namespace kanbench {
namespace {

using nlohmann::json;
using namespace test;

json golden(const std::string& file) {
  std::ifstream in(source_directory() / "tests/golden" / file);
  return json::parse(in);
}

// A model whose decoder is one neuron.
ModelSpec spec_of(const Encoder& encoder) {
  ModelSpec spec;
  spec.encoder = encoder;
  spec.layers = {{width(encoder), 1, basis::Identity{}}};
  return spec;
}

Encoder encoder_of(const json& described, std::size_t width) {
  const json spec = {{"network_type", "mlp"},
                     {"encoder", described},
                     {"layers",
                      {{{"in", width},
                        {"out", 1},
                        {"basis", {{"name", "identity"}}},
                        {"base", false},
                        {"bias", false},
                        {"norm", false}}}},
                     {"output_activation", "None"}};
  return parse_model_spec(spec.dump(), "golden").encoder;
}

// As golden/encoders.py fills its tables, by their numbers.
std::vector<float> golden_block(const Layout& layout) {
  std::vector<float> block(static_cast<std::size_t>(layout.size));
  for (std::size_t t = 0; t < layout.tables.size(); ++t) {
    const Slice& slice = layout.slices[t];
    for (std::int64_t i = 0; i < slice.size(); ++i) {
      const auto row = static_cast<std::uint32_t>(i / slice.columns),
                 feature = static_cast<std::uint32_t>(i % slice.columns);
      const std::uint32_t mixed =
          row * 2654435761u + feature * 40503u + static_cast<std::uint32_t>(t) * 97u;
      block[static_cast<std::size_t>(slice.offset + i)] =
          (static_cast<float>(mixed % 2047) - 1023) / 1024;
    }
  }
  return block;
}

std::vector<double> encode(const Encoder& encoder, const double* point) {
  const ModelSpec spec = spec_of(encoder);
  return Reference(spec, golden_block(make_layout(spec))).features(point);
}

TEST(Encoder, EncodesAsAnIndependentProgram) {
  const json file = golden("encoders.json");
  for (const json& c : file["cases"])
    for (std::size_t i = 0; i < file["points"].size(); ++i) {
      const std::vector<double> want = c["features"][i];
      const std::vector<double> p = file["points"][i];
      const std::vector<double> got = encode(encoder_of(c["encoder"], want.size()), p.data());
      ASSERT_EQ(got.size(), want.size()) << c["encoder"];
      for (std::size_t f = 0; f < want.size(); ++f)
        EXPECT_NEAR(got[f], want[f], 1e-9) << c["encoder"] << ", point " << i << ", number " << f;
    }
}

TEST(Encoder, EachHasAGoldenRow) {
  std::set<std::string> there{"hash_grid"};
  if (!golden("adaptive_grids.json")["cases"].empty()) there.insert("adaptive_multi_grid");
  const json file = golden("encoders.json");
  for (const json& c : file["cases"]) there.insert(c["encoder"]["name"]);
  const auto each = [&]<std::size_t... I>(std::index_sequence<I...>) {
    for (const char* name : {std::variant_alternative_t<I, Encoder>::name...})
      EXPECT_TRUE(there.contains(name)) << name;
  };
  each(std::make_index_sequence<std::variant_size_v<Encoder>>{});
}

TEST(Encoder, EachIsAmongTheSmallOnes) {
  std::set<std::size_t> there;
  for (const Encoder& one : small_encoders()) there.insert(one.index());
  EXPECT_EQ(there.size(), std::variant_size_v<Encoder>);
}

TEST(Encoder, SinesInFloatAreExactlyReduced) {
  const Layout layout = make_layout(spec_of(encoder::Frequency{16, false}));
  for (const float u : {0.0f, 1.0f, 0.3f, 0.99999994f, 5.9604645e-8f, 0.123456789f}) {
    const float x[3] = {u, 1 - u, 0.5f};
    std::vector<float> got(96);
    for (const Level& level : layout.levels)
      std::get<encoder::WaveLevel>(level.geometry).evaluate(x, [&](int f, float value) {
        got[static_cast<std::size_t>(level.first + f)] = value;
      });
    for (int axis = 0; axis < 3; ++axis)
      for (int l = 0; l < 16; ++l) {
        const double half_turns = std::fmod(std::ldexp(double{x[axis]}, l), 2);
        const std::size_t at = static_cast<std::size_t>(axis * 16 + l) * 2;
        EXPECT_NEAR(got[at], std::sin(M_PI * half_turns), 2e-7) << u << " " << axis << " " << l;
        EXPECT_NEAR(got[at + 1], std::cos(M_PI * half_turns), 2e-7) << u << " " << axis << " " << l;
      }
  }
}

TEST(Encoder, WeightsSumToOne) {
  for (const Encoder& one : small_encoders()) {
    const Layout layout = make_layout(spec_of(one));
    for (const double u : {0.0, 0.21, 0.5, 0.875, 1.0})
      for (const Level& level : layout.levels)
        std::visit(
            [&](const auto& g) {
              if constexpr (std::decay_t<decltype(g)>::kCorners > 0) {
                const double x[3] = {u, 1 - u, 0.37};
                double total = 0;
                int corners = 0;
                g.gather(x, [&](std::uint32_t row, double w) {
                  EXPECT_LT(row, g.rows());
                  EXPECT_GE(w, 0);
                  total += w;
                  ++corners;
                });
                EXPECT_NEAR(total, 1, 1e-12) << label(one);
                EXPECT_EQ(corners, g.kCorners);
              }
            },
            level.geometry);
  }
}

double trilinear(double x, double y, double z) {
  return 0.3 - x + 2 * y + 0.5 * z - 3 * x * y + x * z + 4 * y * z - 2 * x * y * z;
}

TEST(DenseGrid, HoldsATrilinearFunctionExactly) {
  for (const int n : {2, 5, 32}) {
    const ModelSpec spec = spec_of(encoder::DenseGrid{n, 1});
    std::vector<float> block(static_cast<std::size_t>(make_layout(spec).size));
    const double step = 1.0 / (n - 1);
    for (int z = 0; z < n; ++z)
      for (int y = 0; y < n; ++y)
        for (int x = 0; x < n; ++x)
          block[static_cast<std::size_t>(x + n * (y + n * z))] =
              static_cast<float>(trilinear(x * step, y * step, z * step));
    const Reference reference(spec, block);
    for (const double u : {0.0, 0.1, 0.47, 0.999, 1.0}) {
      const double p[3] = {u, 0.77 * u, 1 - u};
      EXPECT_NEAR(reference.features(p)[0], trilinear(p[0], p[1], p[2]), 2e-6) << n << " " << u;
    }
  }
}

const double kPoints[][3] = {{0, 0, 0}, {1, 1, 1}, {0.13, 0.98, 0.5}, {0.721, 0.002, 0.333}};

TEST(TiledGrid, IsTheHashGridWhereAllIsDense) {
  const encoder::HashGrid hashed{3, 2, 15, 4, 2};
  const encoder::TiledGrid tiled{3, 2, 15, 4, 2};
  ASSERT_TRUE(hashed.level(2).dense);
  for (const auto& p : kPoints) EXPECT_EQ(encode(hashed, p), encode(tiled, p));
}

TEST(MultiDenseGrid, IsTheDenseGridAtOneLevel) {
  for (const auto& p : kPoints)
    EXPECT_EQ(encode(encoder::MultiDenseGrid{1, 3, 9, 2}, p), encode(encoder::DenseGrid{9, 3}, p));
}

TEST(Concat, IsItsPartsSideBySide) {
  const encoder::Frequency frequency{4, true};
  const encoder::DenseGrid grid{5, 3};
  const encoder::RandomFourier waves{17, 2, 1};
  for (const auto& p : kPoints) {
    std::vector<double> apart = encode(frequency, p);
    for (const double number : encode(grid, p)) apart.push_back(number);
    for (const double number : encode(waves, p)) apart.push_back(number);
    EXPECT_EQ(encode(encoder::Concat{{frequency, grid, waves}}, p), apart);
  }
}

TEST(RandomFourier, DrawsNormalDirectionsFromItsSeed) {
  const encoder::RandomFourier one{2000, 3, 1};
  double sum = 0, squares = 0;
  for (int i = 0; i < 2000; ++i) {
    float b[3], other[3];
    one.direction(i, b);
    encoder::RandomFourier{2000, 3, 2}.direction(i, other);
    EXPECT_NE(b[0], other[0]);
    for (const float x : b) sum += x, squares += double{x} * x;
  }
  EXPECT_NEAR(sum / 6000, 0, 0.15);
  EXPECT_NEAR(std::sqrt(squares / 6000), 3, 0.1);
  EXPECT_EQ(make_layout(spec_of(one)).parameters, 4000);
}

TEST(Layout, PutsTablesBeforeTheDecoderInTheirOrder) {
  const Layout layout = make_layout(spec_of(small_encoders().back()));
  EXPECT_EQ(layout.tables, (std::vector<int>{3, 4, 6, 7, 8}));
  int first = 0;
  for (const Level& level : layout.levels) {
    EXPECT_EQ(level.first, first);
    first += level.features;
  }
  for (std::size_t t = 0; t < layout.tables.size(); ++t) {
    EXPECT_EQ(table_level(layout, t).slice, static_cast<int>(t));
    EXPECT_EQ(layout.slices[t].name, "encoder.levels." + std::to_string(layout.tables[t]));
    EXPECT_EQ(layout.slices[t].columns, table_level(layout, t).features);
    EXPECT_LT(layout.slices[t].offset, layout.decoder_begin);
  }
}

TEST(Layout, RefusesTablesTooLargeAndTooSmall) {
  const std::pair<Encoder, const char*> cases[] = {
      {encoder::DenseGrid{1 << 20, 1}, "at most 2^30 numbers"},
      {encoder::DenseGrid{(1 << 20) + 1, 1}, "a resolution of 1048576"},
      {encoder::DenseGrid{1024, 2}, "1073741824 rows of 2 numbers"},
      {encoder::DenseGrid{1, 2}, "at least 2 nodes"},
      {encoder::TriPlane{1 << 16, 1}, "level 0 of the tri_plane has 4294967296 rows"},
      {encoder::MultiDenseGrid{2, 2, 1, 2},
       "level 0 of the multi_dense_grid has a resolution of 1"},
      {encoder::MultiDenseGrid{32, 2, 65536, 16}, "level 0 of the multi_dense_grid"},
      {encoder::TiledGrid{32, 2, 12, 65536, 16}, "level 2 of the tiled_grid passes"}};
  for (const auto& [encoder, part] : cases) {
    const std::string said = message_of<Error>([&] { make_layout(spec_of(encoder), "run 7"); });
    EXPECT_EQ(said.rfind("run 7: ", 0), 0u) << said;
    EXPECT_NE(said.find(part), std::string::npos) << said;
  }
  EXPECT_EQ(make_layout(spec_of(encoder::DenseGrid{1024, 1})).parameters, (1 << 30) + 1);
}

std::string refused(const json& encoder) {
  return message_of<Error>([&] { encoder_of(encoder, 3); });
}

TEST(ModelSpec, HoldsEveryEncoder) {
  for (const Encoder& one : small_encoders()) {
    const std::string text = to_json(spec_of(one));
    const ModelSpec back = parse_model_spec(text, "m");
    EXPECT_EQ(to_json(back), text);
    EXPECT_EQ(back.encoder.index(), one.index());
  }
}

TEST(ModelSpec, RefusesEncodersThatNobodyCanHave) {
  const json frequency = {{"name", "frequency"}, {"n_frequencies", 3}, {"include_input", false}};
  const auto with = [](json object, const char* key, const json& value) {
    object[key] = value;
    return object;
  };
  const json waves = {{"name", "random_fourier"}, {"n_frequencies", 2048}, {"std", 1}, {"seed", 0}};
  const json grid = {{"name", "dense_grid"}, {"resolution", 4}, {"features", 2}};
  const auto concat = [](const json& parts) { return json{{"name", "concat"}, {"parts", parts}}; };
  const std::pair<json, const char*> cases[] = {
      {with(frequency, "n_frequencies", 17), "17 is out of range: 1.0 to 16.0"},
      {with(frequency, "include_input", 1), "expected true or false"},
      {with(frequency, "n_frequencies", "3"), "expected a whole number"},
      {with(frequency, "std", 1), "unknown key 'std'"},
      {with(waves, "n_frequencies", 2049), "out of range"},
      {with(waves, "std", 1e30), "out of range"},
      {with(waves, "std", nullptr), "expected a number"},
      {with(waves, "seed", -1), "out of range"},
      {with(waves, "seed", 4294967296), "out of range"},
      {with(grid, "resolution", 1), "out of range"},
      {with(grid, "resolution", 1 << 30), "out of range"},
      {with(grid, "features", 33), "out of range"},
      {with(grid, "features", 0), "out of range"},
      {{{"name", "dense_grid"}, {"resolution", 4}}, "has no 'features'"},
      {concat(json::array()), "expected a list of 1 to 64 encoders, found 0"},
      {concat(json(65, frequency)), "found 65"},
      {concat(3), "found number"},
      {concat(json::array({concat(json::array({frequency}))})), "unknown name 'concat'"},
      {concat({frequency, 3}), ".parts[1]: expected an object"},
      {concat({frequency, waves}), "makes 4114 numbers of a point, at most 4096"},
      {{{"name", "concat"}}, "has no 'parts'"}};
  const json moving = json::parse(to_json(spec_of(encoder::AdaptiveMultiGrid{}))).at("encoder");
  const std::pair<json, const char*> of_moving[] = {
      {with(moving, "transform", "shear"), "unknown word 'shear' (known: similarity, affine)"},
      {with(moving, "transform", 1), "expected text"},
      {with(moving, "initialisation", "tiny"), "(known: default, large, small)"},
      {with(moving, "n_grids", 0), "out of range"},
      {with(moving, "tv_weight", -1), "out of range"}};
  const auto check_refused = [](const json& encoder, const char* part) {
    const std::string said = refused(encoder);
    EXPECT_NE(said.find(part), std::string::npos) << encoder << ": " << said;
    EXPECT_EQ(said.find('\n'), std::string::npos);
  };
  for (const auto& [encoder, part] : cases) check_refused(encoder, part);
  for (const auto& [encoder, part] : of_moving) check_refused(encoder, part);
  const encoder::Concat twice{{encoder::AdaptiveMultiGrid{}, encoder::AdaptiveMultiGrid{}}};
  EXPECT_NE(message_of<Error>([&] { make_layout(spec_of(twice)); }).find("stands twice"),
            std::string::npos);
}

}  // namespace
}  // namespace kanbench

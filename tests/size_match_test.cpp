// Networks brought to one size: within 2% of it for every decoder and encoder, by a width or a
// table that the row names, and refused where nothing comes near.

#include <filesystem>
#include <nlohmann/json.hpp>

#include "kanbench/error.h"
#include "kanbench/model_file.h"
#include "kanbench/recipe.h"
#include "kanbench/result.h"
#include "run_support.h"
#include "support.h"

namespace kanbench {
namespace {

using test::Json;
using test::message_of;

std::vector<Run> matched(const std::string& changes, const SizeMatch& match,
                         const std::vector<std::string>& types = {"mlp"}) {
  RunOverrides overrides;
  overrides.match = match;
  return select_runs(test::runs_with(changes, types), {}, overrides);
}

double parameters_of(const Run& run) {
  return static_cast<double>(make_layout(make_spec(run)).parameters);
}

TEST(SizeMatch, BringsEveryDecoderNear) {
  std::vector<std::string> types = network_type_names();
  std::erase(types, "custom");
  const std::string base = R"({"log2_hashmap_size": 9, "n_levels": 4, "n_features_per_level": 4})";
  for (const std::int64_t wanted : {12000, 40000, 300000})
    for (const auto& run : matched(base, {wanted, 0}, types)) {
      const auto size = static_cast<double>(wanted);
      EXPECT_NEAR(parameters_of(run), size, 0.02 * size) << run.network_type;
      EXPECT_EQ(run.matched.find(std::to_string(wanted) + " parameters by n_neurons " +
                                 std::to_string(run.n_neurons)),
                0u);
    }
}

TEST(SizeMatch, BringsEveryEncoderNear) {
  const std::string encoders = R"({"n_levels": 3, "encoder": {"values": ["hash_grid",
      "tiled_grid", "multi_dense_grid", "dense_grid", "tri_plane", "frequency", "random_fourier",
      "identity", "fv_srn", ["frequency", "tri_plane"]]}})";
  for (const std::int64_t wanted : {20000, 500000})
    for (const auto& run : matched(encoders, {wanted, 0}, {"mlp", "fastkan"})) {
      const auto size = static_cast<double>(wanted);
      EXPECT_NEAR(parameters_of(run), size, 0.02 * size) << run.encoder;
    }
}

TEST(SizeMatch, LeavesTheTableWhereTheWidthWillDo) {
  const auto run = matched("{}", {290000, 0})[0];
  EXPECT_EQ(run.log2_hashmap_size, 12);
  EXPECT_NE(run.n_neurons, 32);
  const auto smaller = matched("{}", {100000, 0})[0];
  EXPECT_LT(smaller.log2_hashmap_size, 12);
  EXPECT_NE(
      smaller.matched.find(", log2_hashmap_size " + std::to_string(smaller.log2_hashmap_size)),
      std::string::npos);
}

TEST(SizeMatch, OfBytesIsThatOfTheFile) {
  for (const auto& run : matched(R"({"log2_hashmap_size": 9})", {0, 400000}, {"mlp", "kan"})) {
    ModelFile file;
    file.spec = make_spec(run);
    file.dataset = run.dataset;
    file.parameters = draw_parameters(file.spec, make_initialisation(run), 1);
    EXPECT_NEAR(static_cast<double>(encode_model(file).size()), 400000, 8000) << run.network_type;
  }
}

TEST(SizeMatch, IsInTheRowAndNotInTheId) {
  Result result;
  result.run = matched("{}", {290000, 0})[0];
  const Json row = Json::parse(json_line(result))["row"];
  EXPECT_EQ(row["matched"], result.run.matched);
  auto same = test::runs_with("{}")[0];
  same.n_neurons = result.run.n_neurons;
  EXPECT_EQ(run_id(same, "v"), run_id(result.run, "v"));
}

TEST(SizeMatch, SaysWhatCannotBe) {
  EXPECT_NE(message_of<Error>([] {
              matched("{}", {3, 0});
            }).find("comes within 2%; the nearest"),
            std::string::npos);
  EXPECT_NE(message_of<Error>([] {
              matched(R"({"zfp_mlp": 0.1})", {0, 100000});
            }).find("use --match-parameters"),
            std::string::npos);
  EXPECT_NE(message_of<Error>([] {
              matched("{}", {0, 100});
            }).find("--match-bytes 100: run 0"),
            std::string::npos);
}

}  // namespace
}  // namespace kanbench

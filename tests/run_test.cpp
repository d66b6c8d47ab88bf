// Runs: choosing among them, writing one down, their names, and the files that are shipped.

#include "kanbench/run.h"

#include "kanbench/error.h"
#include "run_support.h"
#include "support.h"

namespace kanbench {
namespace {

using test::each;
using test::file_with;
using test::Json;
using test::message_of;
using test::plain_run;
using test::runs_with;

std::vector<Run> two_datasets() {
  Json first = plain_run(), second = plain_run();
  first["log2_hashmap_size"] = {10, 11};
  return parse_runs(Json{{"nucleon", first}, {"fuel", second}}.dump(), "p.json");
}

TEST(Selection, FiltersKeepIndices) {
  const auto runs = two_datasets();
  RunFilter filter;
  filter.dataset = "fuel";
  filter.network_types = {"fkan"};
  const auto selected = select_runs(runs, filter, {});
  ASSERT_EQ(selected.size(), 1u);
  EXPECT_EQ(selected[0].index, 5);
  filter = {};
  filter.hashmap_size = 11;
  EXPECT_EQ(each(select_runs(runs, filter, {}), &kanbench::Run::index),
            (std::vector<std::int64_t>{2, 3}));
  filter = {};
  filter.run_index = 4;
  EXPECT_EQ(select_runs(runs, filter, {})[0].dataset, "fuel");
  EXPECT_EQ(select_runs(runs, {}, {}).size(), 6u);
}

TEST(Selection, AppliesOverrides) {
  RunOverrides overrides;
  overrides.epochs = 2;
  overrides.repeats = 3;
  overrides.batch_size = 256;
  overrides.seed = 7;
  overrides.precision = "fp32";
  overrides.faithful = true;
  for (const auto& run : select_runs(two_datasets(), {}, overrides)) {
    EXPECT_EQ(run.epochs, 2);
    EXPECT_EQ(run.repeats, 3);
    EXPECT_EQ(run.batch_size, 256);
    EXPECT_EQ(run.seed, 7u);
    EXPECT_EQ(run.precision, "fp32");
    EXPECT_TRUE(run.faithful);
  }
}

TEST(Selection, SaysWhatThereIs) {
  const auto of = [](const RunFilter& filter, const RunOverrides& overrides = {}) {
    return message_of<Error>([&] { select_runs(two_datasets(), filter, overrides); });
  };
  RunFilter filter;
  filter.dataset = "nuclen";
  EXPECT_EQ(of(filter),
            "--dataset nuclen: no such run, the parameter file has nucleon, fuel, did you mean "
            "'nucleon'?");
  filter = {};
  filter.network_types = {"siern"};
  EXPECT_NE(of(filter).find("unknown network type 'siern'"), std::string::npos);
  filter = {};
  filter.hashmap_size = 19;
  EXPECT_NE(of(filter).find("the parameter file has 10, 11, 12"), std::string::npos);
  filter = {};
  filter.run_index = 6;
  EXPECT_NE(of(filter).find("must be from 0 to 5"), std::string::npos);
  filter.run_index = 0;
  filter.dataset = "fuel";
  EXPECT_NE(of(filter).find("does not pass the other filters"), std::string::npos);
  RunOverrides overrides;
  overrides.batch_size = 0;
  EXPECT_EQ(of({}, overrides), "--batch-size is 0, must be at least 1");
  overrides = {};
  overrides.precision = "fp33";
  EXPECT_NE(of({}, overrides).find("did you mean 'fp32'?"), std::string::npos);
}

TEST(Selection, NamesANetworkTypeThatTheFileLacks) {
  RunFilter filter;
  filter.network_types = {"fkan"};
  const auto message = message_of<Error>([&] { select_runs(runs_with("{}"), filter, {}); });
  EXPECT_EQ(message, "--network-types fastkan: no such run, the parameter file has mlp");
}

TEST(RunJson, IsAnEntryThatGivesTheSameRun) {
  const auto runs = parse_runs(file_with(R"j({"log2_hashmap_size": {"values": [0, 9]},
    "base_resolution": "(int)cbrt(1<<log2_hashmap_size)", "lrate": [0.1, 0.3], "lrate_step": 0.1,
    "batch_size": 77, "seed": 18446744073709551615, "loss": "mse", "zfp_mlp": 1e-3,
    "kan_params": {"num_grids": [4, 5], "use_base_update": false}})j"),
                               "p.json");
  ASSERT_EQ(runs.size(), 18u);
  for (const auto& run : runs) {
    const Json file{{"nucleon", Json::parse(to_json(run))}};
    const auto again = parse_runs(file.dump(), "again");
    ASSERT_EQ(again.size(), 1u);
    EXPECT_EQ(to_json(again[0]), to_json(run));
    EXPECT_EQ(run_id(again[0], "v"), run_id(run, "v"));
    EXPECT_EQ(again[0].network_type, run.network_type);
    EXPECT_EQ(again[0].encoder, run.encoder);
    EXPECT_EQ(again[0].kan.use_base_update, run.kan.use_base_update);
  }
}

/// Each changes one thing that decides a result.
const std::vector<void (*)(Run&)> one_change{[](Run& r) { r.dataset = "fuel"; },
                                             [](Run& r) { r.network_type = "mlp"; },
                                             [](Run& r) { r.lrate *= 1 + 1e-15; },
                                             [](Run& r) { ++r.lrate_decay; },
                                             [](Run& r) { ++r.epochs; },
                                             [](Run& r) { ++r.n_neurons; },
                                             [](Run& r) { ++r.n_hidden_layers; },
                                             [](Run& r) { ++r.n_levels; },
                                             [](Run& r) { ++r.n_features_per_level; },
                                             [](Run& r) { r.per_level_scale += 1e-12; },
                                             [](Run& r) { ++r.log2_hashmap_size; },
                                             [](Run& r) { ++r.base_resolution; },
                                             [](Run& r) { r.zfp_enc = 1e-9; },
                                             [](Run& r) { r.zfp_mlp = 1e-9; },
                                             [](Run& r) { r.kan.grid_radius += 0.5; },
                                             [](Run& r) { ++r.kan.num_grids; },
                                             [](Run& r) { r.kan.use_base_update = false; },
                                             [](Run& r) { r.output_activation = "ReLU"; },
                                             [](Run& r) { r.loss = "mse"; },
                                             [](Run& r) { r.encoder = "identity"; },
                                             [](Run& r) { r.precision = "fp32"; },
                                             [](Run& r) { r.batch_size = 1; },
                                             [](Run& r) { r.seed = 1; },
                                             [](Run& r) { r.repeats = 2; },
                                             [](Run& r) { r.faithful = true; }};

TEST(RunId, DependsOnAllThatDecidesAndOnNothingElse) {
  const auto run = runs_with("{}", {"fastkan"})[0];
  const std::string id = run_id(run, "volume");
  EXPECT_EQ(id.size(), 8u);
  EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
  auto other = run;
  other.index = 99;
  EXPECT_EQ(run_id(other, "volume"), id);
  EXPECT_NE(run_id(run, "other volume"), id);
  std::vector<std::string> ids{id};
  for (const auto change : one_change) {
    other = run;
    change(other);
    ids.push_back(run_id(other, "volume"));
  }
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(std::unique(ids.begin(), ids.end()), ids.end());
}

TEST(RunId, IsTheSameOnEveryMachine) {
  EXPECT_EQ(run_id(runs_with("{}", {"fastkan"})[0], "volume"), "956b3548");
}

TEST(NetworkType, Aliases) {
  EXPECT_EQ(canonical_network_type("mlp"), "mlp");
  EXPECT_EQ(canonical_network_type("fkan"), "fastkan");
  EXPECT_EQ(canonical_network_type("fkan"), "fastkan");
  EXPECT_EQ(canonical_network_type("fastkan"), "fastkan");
}

TEST(ShippedFiles, Parse) {
  const auto params = test::source_directory() / "params";
  EXPECT_LE(load_runs((params / "params.json").string()).size(), 4u);
  EXPECT_EQ(load_runs((params / "debug.json").string()).size(), 2u);
  const auto runs = load_runs((params / "openscivis.json").string());
  // 2 + 8 + 2, 8 + 3 + 4, 2 + 5 + 4, 5 + 5 + 3, 4 + 3 + 4 + 4 tables, two networks each.
  EXPECT_EQ(runs.size(), 2u * (12 + 15 + 11 + 13 + 15));
  EXPECT_EQ(runs[0].base_resolution, 8);
  EXPECT_EQ(runs.back().dataset, "richtmyer_meshkov");
  EXPECT_EQ(runs.back().base_resolution, 161);
  EXPECT_EQ(runs.back().zfp_mlp, 0.01);
}

}  // namespace
}  // namespace kanbench

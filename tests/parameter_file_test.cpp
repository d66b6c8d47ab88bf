// Parameter files: keys, sweeps, their order, and every way to get them wrong.

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

std::string refusal(const std::string& changes) {
  return message_of<Error>([&] { runs_with(changes); });
}

TEST(ParameterFile, ReadsAPlainRun) {
  const auto runs = parse_runs(file_with("{}"), "p.json");
  ASSERT_EQ(runs.size(), 2u);
  const auto& run = runs[1];
  EXPECT_EQ(run.dataset, "nucleon");
  EXPECT_EQ(run.network_type, "fastkan");
  EXPECT_EQ(runs[0].network_type, "mlp");
  EXPECT_EQ(run.index, 1);
  EXPECT_EQ(run.lrate, 0.01);
  EXPECT_EQ(run.lrate_decay, 18);
  EXPECT_EQ(run.epochs, 24);
  EXPECT_EQ(run.n_neurons, 32);
  EXPECT_EQ(run.n_hidden_layers, 3);
  EXPECT_EQ(run.n_levels, 8);
  EXPECT_EQ(run.n_features_per_level, 8);
  EXPECT_EQ(run.per_level_scale, 2);
  EXPECT_EQ(run.log2_hashmap_size, 12);
  EXPECT_EQ(run.base_resolution, 16);
  EXPECT_EQ(run.zfp_enc, 0);
  EXPECT_EQ(run.kan.grid_radius, 1);
  EXPECT_EQ(run.kan.num_grids, 8);
  EXPECT_TRUE(run.kan.use_base_update);
  EXPECT_EQ(run.output_activation, "None");
  EXPECT_EQ(run.loss, "l1");
  EXPECT_EQ(run.encoder, "hash_grid");
  EXPECT_EQ(run.precision, "auto");
  EXPECT_EQ(run.batch_size, 0);
}

TEST(ParameterFile, ReadsOverridesOfARun) {
  const auto runs = runs_with(R"({"loss": "mse", "batch_size": 1024, "seed": 18446744073709551615,
    "network_types": ["fkan"], "encoder": "identity", "precision": "fp32", "zfp_enc": 0.02,
    "zfp_mlp": 0.01, "output_activation": "Sigmoid",
    "kan_params": {"grid_radius": 2, "num_grids": 5, "use_base_update": false}})");
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].loss, "mse");
  EXPECT_EQ(runs[0].batch_size, 1024);
  EXPECT_EQ(runs[0].seed, 18446744073709551615u);
  EXPECT_EQ(runs[0].network_type, "fastkan");
  EXPECT_EQ(runs[0].encoder, "identity");
  EXPECT_EQ(runs[0].precision, "fp32");
  EXPECT_EQ(runs[0].zfp_enc, 0.02);
  EXPECT_EQ(runs[0].zfp_mlp, 0.01);
  EXPECT_EQ(runs[0].output_activation, "Sigmoid");
  EXPECT_EQ(runs[0].kan.grid_radius, 2);
  EXPECT_EQ(runs[0].kan.num_grids, 5);
  EXPECT_FALSE(runs[0].kan.use_base_update);
}

TEST(ParameterFile, ToleratesComments) {
  const auto text = "// a sweep\n" + file_with("{}") + "/* end */";
  EXPECT_EQ(parse_runs(text, "p.json").size(), 2u);
}

TEST(Sweep, RangeIncludesBothEndsAndNeverPasses) {
  EXPECT_EQ(each(runs_with(R"({"n_levels": [4, 6]})"), &kanbench::Run::n_levels),
            (std::vector<int>{4, 5, 6}));
  EXPECT_EQ(
      each(runs_with(R"({"n_levels": [4, 9], "n_levels_step": 2})"), &kanbench::Run::n_levels),
      (std::vector<int>{4, 6, 8}));
  EXPECT_EQ(each(runs_with(R"({"n_levels": [7, 7]})"), &kanbench::Run::n_levels),
            (std::vector<int>{7}));
}

TEST(Sweep, RealRangesReachTheirEnd) {
  EXPECT_EQ(each(runs_with(R"({"lrate": [0.1, 0.3], "lrate_step": 0.1})"), &kanbench::Run::lrate),
            (std::vector<double>{0.1, 0.2, 0.3}));
  EXPECT_EQ(each(runs_with(R"({"per_level_scale": [1, 2], "per_level_scale_step": 0.4})"),
                 &kanbench::Run::per_level_scale),
            (std::vector<double>{1, 1.4, 1.8}));
  EXPECT_EQ(each(runs_with(R"({"lrate": [0.001, 0.01]})"), &kanbench::Run::lrate),
            (std::vector<double>{0.001}));
  for (int n = 1; n < 400; ++n) {
    Json changes{{"zfp_enc", {0, n * 0.01}}, {"zfp_enc_step", 0.01}};
    const auto values = each(runs_with(changes.dump()), &kanbench::Run::zfp_enc);
    ASSERT_EQ(values.size(), static_cast<std::size_t>(n) + 1);
    EXPECT_LE(values.back(), n * 0.01);
  }
}

TEST(Sweep, ListsOfValues) {
  EXPECT_EQ(each(runs_with(R"({"n_neurons": {"values": [64, 16]}})"), &kanbench::Run::n_neurons),
            (std::vector<int>{64, 16}));
  EXPECT_EQ(each(runs_with(R"({"loss": {"values": ["mse", "l1"]}})"), &kanbench::Run::loss),
            (std::vector<std::string>{"mse", "l1"}));
}

TEST(Sweep, OrderOfTheProduct) {
  // In the file, what varies slowest stands last and other keys stand among them.
  const auto runs =
      parse_runs(R"({"d": {"zfp_enc": {"values": [0, 1]}, "n_features_per_level": [1, 2],
    "kan_params": {"num_grids": [4, 5], "grid_radius": {"values": [1, 2]}},
    "n_levels": [1, 2], "lrate": {"values": [0.1, 0.2]}, "n_hidden_layers": [1, 2],
    "n_neurons": [1, 2], "log2_hashmap_size": [8, 9], "network_types": ["fastkan", "mlp"],
    "lrate_decay": 0, "epochs": 1, "per_level_scale": 2, "base_resolution": 4}})",
                 "p.json");
  std::vector<std::string> wanted, found;
  for (int log2 : {8, 9})
    for (int neurons : {1, 2})
      for (int layers : {1, 2})
        for (int levels : {1, 2})
          for (int features : {1, 2})
            for (int zfp : {0, 1})
              for (double lrate : {0.1, 0.2}) {
                const std::string outer = testing::PrintToString(
                    std::vector<double>{double(log2), double(neurons), double(layers),
                                        double(levels), double(features), double(zfp), lrate});
                for (int radius : {1, 2})
                  for (int grids : {4, 5})
                    wanted.push_back(outer + "fastkan" + std::to_string(radius * 10 + grids));
                wanted.push_back(outer + "mlp18");
              }
  std::int64_t index = 0;
  for (const auto& run : runs) {
    EXPECT_EQ(run.index, index++);
    found.push_back(
        testing::PrintToString(std::vector<double>{
            double(run.log2_hashmap_size), double(run.n_neurons), double(run.n_hidden_layers),
            double(run.n_levels), double(run.n_features_per_level), run.zfp_enc, run.lrate}) +
        run.network_type + std::to_string(int(run.kan.grid_radius) * 10 + run.kan.num_grids));
  }
  EXPECT_EQ(found, wanted);
}

TEST(Sweep, ReportsTheStepsOfKanRanges) {
  const auto runs = runs_with(R"({"kan_params": {"grid_radius": [1, 2], "grid_radius_step": 0.5,
    "num_grids": [4, 8], "num_grids_step": 4}})",
                              {"fastkan"});
  ASSERT_EQ(runs.size(), 6u);
  EXPECT_EQ(runs[3].kan.grid_radius, 1.5);
  EXPECT_EQ(runs[3].kan.num_grids, 8);
  EXPECT_EQ(runs[3].kan.grid_radius_step, 0.5);
  EXPECT_EQ(runs[3].kan.num_grids_step, 4);
}

TEST(Sweep, KanKeysDoNotMultiplyMlp) {
  EXPECT_EQ(runs_with(R"({"kan_params": {"num_grids": [4, 8]}})", {"mlp", "fastkan"}).size(), 6u);
}

TEST(ParameterFile, BaseResolutionIsTheExactCubeRoot) {
  const int roots[] = {1,  1,  1,  2,  2,  3,  4,   5,   6,   8,   10,  12,  16, 20,
                       25, 32, 40, 50, 64, 80, 101, 128, 161, 203, 256, 322, 406};
  const auto runs = runs_with(
      R"j({"log2_hashmap_size": [0, 26], "base_resolution": "(int)cbrt(1<<log2_hashmap_size)"})j");
  ASSERT_EQ(runs.size(), 27u);
  for (const auto& run : runs) {
    EXPECT_EQ(run.base_resolution, roots[run.log2_hashmap_size]) << run.log2_hashmap_size;
    EXPECT_EQ(run.encoder, run.log2_hashmap_size ? "hash_grid" : "identity");
  }
}

TEST(ParameterFile, NamesWhatIsUnknown) {
  EXPECT_EQ(refusal(R"({"n_neuron": 3})"),
            "p.json: nucleon.n_neuron is not a known key, did you mean 'n_neurons'?");
  EXPECT_EQ(refusal(R"({"num_grids": 3})"),
            "p.json: nucleon.num_grids is not a known key, it belongs in decoder_params");
  EXPECT_EQ(refusal(R"({"kan_params": {"numgrids": 3}})"),
            "p.json: nucleon.kan_params.numgrids is not a known key, did you mean 'num_grids'?");
  EXPECT_NE(refusal(R"({"repeats": 3})").find("nucleon.repeats is not a known key"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"zzzzzzzz": 3})").find("known: lrate, lrate_decay, epochs"),
            std::string::npos);
  EXPECT_EQ(refusal(R"({"a\nb": 3})").find('\n'), std::string::npos);
  EXPECT_EQ(refusal(R"({"network_types": ["sirn"]})"),
            "p.json: nucleon.network_types[0]: unknown network type 'sirn', did you mean 'siren'? "
            "(known: mlp, fastkan, siren, fasterkan, efficientkan, kan, fourierkan, kaln, kacn, "
            "kagn, kajn, kabn, relukan, wavkan, bottleneck_kagn, custom and every basis by its "
            "name)");
}

TEST(ParameterFile, NamesTheItemOfAList) {
  Json second = plain_run();
  second["epochs"] = 0;
  const Json file{{"fuel", {plain_run(), second}}};
  EXPECT_EQ(message_of<Error>([&] { parse_runs(file.dump(), "p.json"); }),
            "p.json: fuel[1].epochs is 0, must be a whole number from 1 to 2147483647");
}

TEST(ParameterFile, NamesMissingKeys) {
  Json run = plain_run();
  run.erase("epochs");
  run.erase("n_levels");
  const Json file{{"fuel", run}};
  EXPECT_EQ(message_of<Error>([&] { parse_runs(file.dump(), "p.json"); }),
            "p.json: fuel lacks epochs, n_levels, which every run must have");
}

TEST(ParameterFile, RefusesWhatIsOutOfBounds) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"n_neurons": 0})", "nucleon.n_neurons is 0, must be a whole number from 1 to 4096"},
      {R"({"n_neurons": 4097})", "nucleon.n_neurons is 4097, must be"},
      {R"({"n_neurons": -1})", "nucleon.n_neurons is -1, must be"},
      {R"({"n_hidden_layers": 33})", "from 1 to 32"},
      {R"({"n_hidden_layers": 0})", "from 1 to 32"},
      {R"({"n_levels": 33})", "from 1 to 32"},
      {R"({"n_features_per_level": 17})", "from 1 to 16"},
      {R"({"log2_hashmap_size": 40})",
       "nucleon.log2_hashmap_size is 40, must be a whole number from 0 to 26"},
      {R"({"log2_hashmap_size": [20, 27]})", "log2_hashmap_size is 27"},
      {R"({"per_level_scale": 0.99})", "a number from 1 to 16"},
      {R"({"per_level_scale": 16.1})", "a number from 1 to 16"},
      {R"({"base_resolution": 65537})", "from 1 to 65536"},
      {R"({"base_resolution": "cbrt"})",
       "nucleon.base_resolution is \"cbrt\", must be a whole number from 1 to 65536 or "
       "\"(int)cbrt(1<<log2_hashmap_size)\""},
      {R"({"lrate": 0})", "nucleon.lrate is 0, must be a number above 0"},
      {R"({"lrate": -0.1})", "a number above 0"},
      {R"({"lrate_decay": -1})", "from 0 to 2147483647"},
      {R"({"epochs": 0})", "from 1 to 2147483647"},
      {R"({"epochs": 3000000000})", "from 1 to 2147483647"},
      {R"({"batch_size": 0})", "nucleon.batch_size is 0, must be a whole number from 1 to"},
      {R"({"seed": -1})", "nucleon.seed is -1"},
      {R"({"seed": 18446744073709551616})", "nucleon.seed is 18446744073709551616, must"},
      {R"({"zfp_enc": -1})", "a number of at least 0"},
      {R"({"kan_params": {"num_grids": 1}})", "nucleon.kan_params.num_grids is 1, must be"},
      {R"({"kan_params": {"num_grids": 65}})", "from 2 to 64"},
      {R"({"kan_params": {"grid_radius": 0}})", "a number from 1e-06 to 1000000"},
      {R"({"kan_params": {"grid_radius": 1e-300}})", "a number from 1e-06 to 1000000"},
  };
  for (const auto& [changes, part] : cases)
    EXPECT_NE(refusal(changes).find(part), std::string::npos) << changes << refusal(changes);
}

TEST(ParameterFile, RefusesWrongTypes) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"n_neurons": "32"})",
       "p.json: nucleon.n_neurons is \"32\", must be a whole number from 1 to 4096"},
      {R"({"n_neurons": 1.5})", "nucleon.n_neurons is 1.5, must be a whole number"},
      {R"({"n_neurons": null})", "nucleon.n_neurons is null"},
      {R"({"n_neurons": true})", "nucleon.n_neurons is true"},
      {R"({"lrate": "fast"})", "nucleon.lrate is \"fast\", must be a number above 0"},
      {R"({"loss": 3})", "nucleon.loss is 3, must be l1, mse, huber, relative_l1 or relative_l2"},
      {R"({"loss": "L1"})",
       "must be l1, mse, huber, relative_l1 or relative_l2, did you mean 'l1'?"},
      {R"({"loss": ["l1", "mse"]})", "must be l1, mse, huber, relative_l1 or relative_l2"},
      {R"({"output_activation": "relu"})", "must be None, Sigmoid or ReLU"},
      {R"({"encoder": "grid"})", "nucleon.encoder is \"grid\", must be identity, hash_grid"},
      {R"({"precision": "fp64"})", "must be auto, fp32, tf32, fp16 or bf16"},
      {R"({"network_types": "mlp"})", "must be a list of network types"},
      {R"({"network_types": []})", "must be a list of network types"},
      {R"({"network_types": [1]})", "nucleon.network_types[0] is 1"},
      {R"({"network_types": ["fkan", "fastkan"]})", "nucleon.network_types[1] names fastkan"},
      {R"({"kan_params": [1]})", "nucleon.kan_params is [1], must be an object"},
      {R"({"kan_params": {"use_base_update": 1}})", "use_base_update is 1, must be true or false"},
  };
  for (const auto& [changes, part] : cases)
    EXPECT_NE(refusal(changes).find(part), std::string::npos) << changes << refusal(changes);
}

TEST(Sweep, RefusesWhatIsNoSweep) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"n_neurons": [8, 4]})", "nucleon.n_neurons is [8, 4], must be a range [low, high] with"},
      {R"({"lrate": [0.2, 0.1]})", "nucleon.lrate is [0.2, 0.1], must be a range [low, high] with"},
      {R"({"n_neurons": [4]})", "must be a range [low, high]; a list of values is written"},
      {R"({"n_neurons": [1, 2, 3]})", "{\"values\": [...]}"},
      {R"({"n_neurons": [1, "2"]})", "must be a range of two numbers"},
      {R"({"n_neurons": {"values": []}})", "{\"values\": [one or more]}"},
      {R"({"n_neurons": {"value": [1]}})", "{\"values\": [one or more]}"},
      {R"({"n_neurons": {"values": [1, 0]}})", "nucleon.n_neurons.values[1] is 0"},
      {R"({"n_neurons": [4, 8], "n_neurons_step": 0})",
       "nucleon.n_neurons_step is 0, must be a whole number above 0"},
      {R"({"n_neurons": [4, 8], "n_neurons_step": -1})", "n_neurons_step is -1"},
      {R"({"n_neurons": [4, 8], "n_neurons_step": 0.5})", "n_neurons_step is 0.5"},
      {R"({"lrate": [0.1, 0.2], "lrate_step": 0})", "lrate_step is 0, must be a number above 0"},
      {R"({"lrate": [0.1, 0.2], "lrate_step": "x"})", "lrate_step is \"x\""},
      {R"({"n_neurons_step": 2})", "n_neurons_step is 2, but n_neurons is 32, not a range"},
      {R"({"n_neurons": {"values": [1]}, "n_neurons_step": 2})", "not a range"},
      {R"({"seed_step": 2})", "nucleon.seed_step has no range to step through"},
      {R"({"loss_step": 2})", "loss_step is not a known key"},
      {R"({"seed": [0, 18446744073709551615]})", "sweeps over 18446744073709551616 values"},
      {R"({"zfp_enc": [0, 1e300], "zfp_enc_step": 1e-300})", "sweeps over inf values"},
      {R"({"seed": [1, 5000], "epochs": [1, 5000]})", "more than 10000000 runs"},
      {R"({"seed": [1, 10000001]})", "at most 10000000 are possible"},
  };
  for (const auto& [changes, part] : cases)
    EXPECT_NE(refusal(changes).find(part), std::string::npos) << changes << refusal(changes);
}

TEST(ParameterFile, RefusesBadFiles) {
  const auto of = [](const std::string& text) {
    return message_of<Error>([&] { parse_runs(text, "p.json"); });
  };
  EXPECT_EQ(of("{\n  \"a\": {,}\n}").find("p.json: line 2, column 9: not valid JSON: "), 0u);
  EXPECT_EQ(of("").find("p.json: line 1, column 1: "), 0u);
  EXPECT_EQ(of("{\"a\": 1").find("p.json: line 1, column 8: "), 0u);
  EXPECT_EQ(of("{\n\n\"a\": 1e999}").find("p.json: line 3, column "), 0u);
  EXPECT_NE(of("[]").find("holds [], must be an object"), std::string::npos);
  EXPECT_NE(of("{}").find("holds no dataset"), std::string::npos);
  EXPECT_EQ(of("{\"nucleon\": 3}"),
            "p.json: nucleon is 3, must be a run object {...} or a list of them, under a "
            "dataset's name");
  EXPECT_NE(of("{\"nucleon\": []}").find("nucleon is [], must be"), std::string::npos);
  EXPECT_NE(of("{\"nucleon\": [3]}").find("nucleon[0] is 3, must be a run object"),
            std::string::npos);
  EXPECT_EQ(of("{\"a\": [{\"lrate\": 1, \"x\": [{\"y\": 1, \"y\": 2}]}]}"),
            "p.json: a[0].x[0].y is given twice, once is right");
  EXPECT_NE(of("{\"a\":" + std::string(1000, '[')).find("nested deeper than 64"),
            std::string::npos);
  EXPECT_EQ(of("{\"a\": \"\xff\"}").find('\n'), std::string::npos);
}

TEST(ParameterFile, NamesAFileThatIsNotThere) {
  const auto message = message_of<Error>([] { load_runs("/nowhere/p.json"); });
  EXPECT_NE(message.find("/nowhere/p.json"), std::string::npos);
}

}  // namespace
}  // namespace kanbench

// Encoders in parameter files, in runs and in rows.

#include "encoder_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "kanbench/model_file.h"
#include "kanbench/recipe.h"
#include "kanbench/result.h"
#include "run_support.h"
#include "support.h"

namespace kanbench {
namespace {

using namespace test;

// A run's keys without those that only a grid has.
Json gridless_run() {
  Json run = plain_run();
  for (const char* key : {"n_levels", "n_features_per_level", "per_level_scale",
                          "log2_hashmap_size", "base_resolution"})
    run.erase(key);
  return run;
}

std::vector<Run> gridless(const std::string& changes) {
  Json run = gridless_run();
  run.update(Json::parse(changes));
  return parse_runs(Json{{"nucleon", run}}.dump(), "p.json", {"mlp"});
}

std::string refusal(const std::string& changes) {
  return message_of<Error>([&] { gridless(changes); });
}

std::vector<std::string> texts(const std::vector<Run>& runs) { return each(runs, &Run::encoder); }

using Texts = std::vector<std::string>;

TEST(EncoderKey, TakesANameAnObjectOrAList) {
  EXPECT_EQ(texts(gridless(R"({"encoder": "frequency"})")),
            Texts{"frequency(n_frequencies=6,include_input=0)"});
  EXPECT_EQ(texts(gridless(R"({"encoder": {"name": "dense_grid", "features": 2}})")),
            Texts{"dense_grid(resolution=32,features=2)"});
  EXPECT_EQ(texts(gridless(R"({"encoder": ["identity", {"name": "random_fourier", "std": 1e-5,
                                                        "seed": 7}]})")),
            Texts{"identity+random_fourier(n_frequencies=64,std=1e-05,seed=7)"});
  EXPECT_EQ(texts(gridless(R"({"encoder": "fv_srn"})")),
            texts(gridless(R"({"encoder": ["dense_grid", "frequency"]})")));
  EXPECT_EQ(texts(gridless(R"({"encoder": {"name": "frequency", "include_input": true}})")),
            Texts{"frequency(n_frequencies=6,include_input=1)"});
}

TEST(EncoderKey, TakesARunsOwnKeysByName) {
  EXPECT_EQ(texts(runs_with(R"({"encoder": "tiled_grid"})")),
            Texts{"tiled_grid(n_levels=8,n_features_per_level=8,log2_hashmap_size=12,"
                  "base_resolution=16,per_level_scale=2)"});
  EXPECT_EQ(texts(runs_with(R"({"encoder": {"name": "multi_dense_grid", "n_levels": 2}})")),
            Texts{"multi_dense_grid(n_levels=2,n_features_per_level=8,base_resolution=16,"
                  "per_level_scale=2)"});
  EXPECT_EQ(texts(runs_with(R"({"encoder": ["hash_grid", "identity"]})")),
            Texts{"hash_grid(n_levels=8,n_features_per_level=8,log2_hashmap_size=12,"
                  "base_resolution=16,per_level_scale=2)+identity"});
  const auto runs = runs_with(
      R"j({"encoder": "tiled_grid", "log2_hashmap_size": 15,
           "base_resolution": "(int)cbrt(1<<log2_hashmap_size)"})j");
  EXPECT_NE(runs[0].encoder.find("base_resolution=32"), std::string::npos);
}

TEST(EncoderKey, LeavesAHashGridsNumbersWhereTheyAre) {
  const auto runs =
      gridless(R"({"encoder": {"name": "hash_grid", "n_levels": 3, "base_resolution": 5}})");
  EXPECT_EQ(runs[0].encoder, "hash_grid");
  EXPECT_EQ(runs[0].n_levels, 3);
  EXPECT_EQ(runs[0].base_resolution, 5);
  EXPECT_EQ(runs[0].n_features_per_level, encoder::HashGrid{}.n_features_per_level);
  EXPECT_EQ(runs[0].log2_hashmap_size, encoder::HashGrid{}.log2_hashmap_size);
  EXPECT_EQ(runs_with(R"({"encoder_params": {"n_levels": 5}})")[0].n_levels, 5);
  EXPECT_EQ(runs_with(R"({"log2_hashmap_size": 0})")[0].encoder, "identity");
  EXPECT_EQ(
      runs_with(R"({"log2_hashmap_size": 0, "encoder": ["hash_grid", "identity"]})")[0].encoder,
      "identity+identity");
}

TEST(EncoderKey, SweepsOverEncoders) {
  EXPECT_EQ(
      texts(gridless(R"({"encoder": {"values": ["identity", {"name": "tri_plane",
      "resolution": 8, "features": 1}, ["identity", "identity"]]}, "seed": [1, 2]})")),
      (Texts{"identity", "identity", "tri_plane(resolution=8,features=1)",
             "tri_plane(resolution=8,features=1)", "identity+identity", "identity+identity"}));
}

TEST(EncoderParams, OverrideAndSweep) {
  const auto runs = gridless(R"({"encoder": ["fv_srn", {"name": "tri_plane",
      "resolution": 64, "features": 2}], "encoder_params": {"resolution": [16, 48],
      "resolution_step": 16, "n_frequencies": {"values": [2, 3]}}})");
  ASSERT_EQ(runs.size(), 6u);
  EXPECT_EQ(runs[0].encoder,
            "dense_grid(resolution=16,features=16)+frequency(n_frequencies=2,include_input=0)+"
            "tri_plane(resolution=16,features=2)");
  EXPECT_EQ(runs[5].encoder,
            "dense_grid(resolution=48,features=16)+frequency(n_frequencies=3,include_input=0)+"
            "tri_plane(resolution=48,features=2)");
  for (std::size_t i = 0; i < runs.size(); ++i)
    EXPECT_EQ(runs[i].index, static_cast<std::int64_t>(i));
}

TEST(EncoderKey, IsRefusedWithARemedy) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"encoder": "frequenzy"})",
       "p.json: nucleon.encoder is \"frequenzy\", must be identity, hash_grid"},
      {R"({"encoder": "frequenzy"})", "did you mean 'frequency'?"},
      {R"({"encoder": 3})", "nucleon.encoder is 3, must be identity"},
      {R"({"encoder": []})", "nucleon.encoder is [], must be a list of 1 to 64 encoders"},
      {R"({"encoder": ["identity", 4]})", "nucleon.encoder[1] is 4"},
      {R"({"encoder": [["identity"]]})", "nucleon.encoder[0] is "},
      {R"({"encoder": {"resolution": 4}})", "an object with the \"name\" of an encoder"},
      {R"({"encoder": {"name": "fv_srn"}})", "nucleon.encoder.name is \"fv_srn\", must be"},
      {R"({"encoder": {"name": "concat"}})", "nucleon.encoder.name is \"concat\""},
      {R"({"encoder": {"name": "dense_grid", "resolutio": 4}})",
       "nucleon.encoder.resolutio is not a number of dense_grid, did you mean 'resolution'?"},
      {R"({"encoder": {"name": "identity", "resolution": 4}})", "of identity, which has none"},
      {R"({"encoder": {"name": "dense_grid", "resolution": [4, 8]}})",
       "nucleon.encoder.resolution is [4, 8], must be a whole number from 2 to 65536; sweeps"},
      {R"({"encoder": {"name": "dense_grid", "resolution": 1}})", "encoder.resolution is 1"},
      {R"({"encoder": {"name": "dense_grid", "features": 33}})", "from 1 to 32"},
      {R"({"encoder": {"name": "frequency", "n_frequencies": 17}})", "from 1 to 16"},
      {R"({"encoder": {"name": "frequency", "include_input": 1}})", "true or false"},
      {R"({"encoder": {"values": []}})", "{\"values\": [one or more encoders]}"},
      {R"({"encoder": {"values": ["identity", "x"]}})", "nucleon.encoder.values[1] is \"x\""},
      {R"({"encoder": "tiled_grid"})",
       "lacks n_levels, n_features_per_level, per_level_scale, log2_hashmap_size, base_resolution"},
      {R"({"encoder": "multi_dense_grid", "n_levels": 2})",
       "lacks n_features_per_level, per_level_scale, base_resolution, which"},
      {R"({})", "lacks n_levels"},
      {R"({"encoder": "identity", "encoder_params": {"resolution": 4}})",
       "nucleon.encoder_params.resolution is not a number of identity, which has none"},
      {R"({"encoder": "fv_srn", "encoder_params": {"std": 4}})",
       "encoder_params.std is not a number of dense_grid+frequency; it has resolution, features"},
      {R"({"encoder": "fv_srn", "encoder_params": {"resolutions": 4}})",
       "nucleon.encoder_params.resolutions is not a known key, did you mean 'resolution'?"},
      {R"({"encoder": "fv_srn", "encoder_params": {"n_frequencies": 40}})",
       "p.json: nucleon: n_frequencies of frequency is 40, must be from 1 to 16"},
      {R"({"encoder": "fv_srn", "encoder_params": 4})", "encoder_params is 4, must be an object"},
      {R"({"encoder": {"name": "tiled_grid"}, "log2_hashmap_size": 0})",
       "log2_hashmap_size of tiled_grid is 0, must be from 1 to 26"},
      {R"({"encoder": [{"name": "random_fourier", "n_frequencies": 2048}, "identity"]})",
       "random_fourier+identity makes 4099 numbers of a point, at most 4096"},
      {R"({"encoders": "identity"})",
       "nucleon.encoders is not a known key, did you mean 'encoder'?"},
  };
  for (const auto& [changes, part] : cases) {
    const std::string said = refusal(changes);
    EXPECT_NE(said.find(part), std::string::npos) << changes << ": " << said;
    EXPECT_EQ(said.rfind("p.json: nucleon", 0), 0u) << said;
  }
}

// Of each kind, and some side by side.
const char* const kChoices[] = {
    R"("hash_grid")",
    R"("identity")",
    R"("fv_srn")",
    R"({"name": "tiled_grid", "n_levels": 3})",
    R"("random_fourier")",
    R"("tri_plane")",
    R"("multi_dense_grid")",
    R"(["hash_grid", {"name": "random_fourier", "std": 0.1, "seed": 4}, "identity"])"};

TEST(Run, WithAnyEncoderIsAnEntryOfItsOwn) {
  std::set<std::string> ids;
  for (const char* choice : kChoices) {
    const kanbench::Run run = runs_with(std::string(R"({"encoder": )") + choice + "}")[0];
    const std::string entry = to_json(run);
    const kanbench::Run back = parse_runs(R"({"nucleon": )" + entry + "}", "again")[0];
    EXPECT_EQ(to_json(back), entry);
    EXPECT_EQ(back.encoder, run.encoder);
    EXPECT_EQ(to_json(make_spec(back)), to_json(make_spec(run)));
    ids.insert(run_id(run, "x"));
  }
  EXPECT_EQ(ids.size(), std::size(kChoices));
  const kanbench::Run gridless_entry = gridless(R"({"encoder": "frequency"})")[0];
  const std::string entry = to_json(gridless_entry);
  EXPECT_EQ(entry.find("n_levels"), std::string::npos);
  EXPECT_EQ(to_json(parse_runs(R"({"nucleon": )" + entry + "}", "again")[0]), entry);
}

TEST(Run, KeepsItsIdFromBeforeThereWereOthers) {
  const kanbench::Run run = runs_with("{}")[0];
  EXPECT_EQ(to_json(run),
            R"({"lrate":0.01,"lrate_decay":18,"epochs":24,"n_neurons":32,"n_hidden_layers":3,)"
            R"("n_levels":8,"n_features_per_level":8,"per_level_scale":2.0,)"
            R"("log2_hashmap_size":12,"base_resolution":16,"zfp_enc":0.0,"zfp_mlp":0.0,)"
            R"("output_activation":"None","loss":"l1","seed":0,"network_types":["mlp"],)"
            R"("encoder":"hash_grid","precision":"auto"})");
}

std::string cell(const Result& result, const std::string& column) {
  const auto& names = csv_columns();
  const auto at = std::find(names.begin(), names.end(), column) - names.begin();
  std::string row = csv_row(result);
  for (long i = 0; i < at; ++i) row.erase(0, row.find(',') + 1);
  return row.substr(0, row.find(','));
}

TEST(Row, NamesTheEncoderAndItsNumbers) {
  Result result;
  result.run = gridless(R"({"encoder": "fv_srn"})")[0];
  EXPECT_EQ(cell(result, "encoder"), "dense_grid+frequency");
  EXPECT_EQ(cell(result, "encoder_params"),
            "resolution=32 features=16; n_frequencies=6 include_input=0");
  result.run = runs_with("{}")[0];
  EXPECT_EQ(cell(result, "encoder"), "hash_grid");
  EXPECT_EQ(cell(result, "encoder_params"), "");
}

TEST(EncoderChoice, TextReadsBack) {
  const EncoderChoice choice = {{"identity", {}, true},
                                {"random_fourier", {{"std", 1e20}, {"seed", 3}}, false},
                                {"hash_grid", {}, false}};
  const EncoderChoice back = parse_choice(to_text(choice));
  ASSERT_EQ(back.size(), 3u);
  EXPECT_EQ(to_text(back), to_text(choice));
  EXPECT_EQ(*find_number(back[1].given, "std"), 1e20);
  EXPECT_TRUE(back[0].bare);
  EXPECT_FALSE(back[2].bare);
}

}  // namespace
}  // namespace kanbench

// A sweep over every encoder, as a user runs it: rows, files, what is said of them, and the ways of
// training that cut a model by its levels.

#include <cmath>
#include <set>

#include "program.h"

namespace kanbench::test {
namespace {

class ProgramEncoders : public testing::Test {
 protected:
  void SetUp() override {
    std::string voxels;
    for (int z = 0; z < 16; ++z)
      for (int y = 0; y < 18; ++y)
        for (int x = 0; x < 20; ++x)
          voxels += static_cast<char>(128 + 90 * std::sin(0.3 * x) * std::cos(0.2 * y) + z);
    write_text(volume(), voxels);
  }
  fs::path volume() const { return here_ / "waves_20x18x16_uint8.raw"; }
  Outcome go(const std::vector<std::string>& words) { return run(here_.path(), words); }
  Outcome bench(const Json& entry, const std::vector<std::string>& more = {}) {
    write_text(here_ / "p.json", params_of("waves", entry));
    std::vector<std::string> words = {"-p", "p.json",  "--data-dir", here_.path().string(),
                                      "-o", "results", "--device",   "cpu"};
    words.insert(words.end(), more.begin(), more.end());
    return go(words);
  }
  TemporaryDirectory here_;
};

Json all_encoders() {
  return Json::parse(R"([
    "hash_grid", "identity", "frequency", "tiled_grid", "multi_dense_grid", "fv_srn",
    {"name": "random_fourier", "n_frequencies": 8, "std": 1},
    {"name": "dense_grid", "resolution": 8, "features": 4},
    {"name": "tri_plane", "resolution": 12, "features": 2},
    ["identity", {"name": "dense_grid", "resolution": 6, "features": 3}, "hash_grid"]])");
}

TEST_F(ProgramEncoders, AreTrainedStoredAndReadBack) {
  Json entry = small_run();
  entry["epochs"] = 2;
  entry["encoder"] = {{"values", all_encoders()}};
  const Outcome done = bench(entry, {"--save-mode", "all"});
  ASSERT_EQ(done.status, 0) << done.error;
  std::ifstream lines_of(here_ / "results/results.jsonl");
  std::set<std::string> names;
  std::size_t rows = 0;
  for (std::string line; std::getline(lines_of, line); ++rows) {
    const Json json = Json::parse(line);
    const Json& row = json.at("row");
    names.insert(row.at("encoder"));
    EXPECT_EQ(row.at("status"), "finished");
    const Json& epochs = json.at("trials").at(0).at("epochs");
    EXPECT_LT(epochs.at(1).at("loss"), epochs.at(0).at("loss")) << row.at("encoder");
    // The file alone says what it takes to decode it.
    const fs::path model = json.at("model_file").get<std::string>();
    const Outcome read =
        go({"evaluate", model.string(), volume().string(), "--device", "cpu", "--json"});
    ASSERT_EQ(read.status, 0) << row.at("encoder") << read.error;
    EXPECT_NEAR(Json::parse(read.out).at("psnr").get<double>(), row.at("avg_psnr").get<double>(),
                1e-6)
        << row.at("encoder");
  }
  EXPECT_EQ(rows, all_encoders().size());
  EXPECT_EQ(names.size(), rows);
  EXPECT_TRUE(names.contains("dense_grid+frequency"));
  EXPECT_TRUE(names.contains("identity+dense_grid+hash_grid"));
}

TEST_F(ProgramEncoders, AreCutLikeAHashGrid) {
  Json entry = small_run();
  entry["encoder"] = Json::parse(R"([{"name": "dense_grid", "resolution": 12, "features": 2},
    "frequency", {"name": "dense_grid", "resolution": 20, "features": 2}])");
  entry["batch_size"] = 4096;
  for (const std::vector<std::string>& how :
       {std::vector<std::string>{"--decomposition", "ensemble", "--bricks", "2"},
        std::vector<std::string>{"--decomposition", "hybrid", "--bricks", "2", "--share-resolution",
                                 "12"}}) {
    const Outcome done = bench(entry, how);
    EXPECT_EQ(done.status, 0) << how[1] << done.error;
  }
  for (const auto& row : csv(here_ / "results/results.csv")) {
    EXPECT_EQ(row.at("status"), "finished");
    EXPECT_EQ(row.at("encoder"), "dense_grid+frequency+dense_grid");
  }
}

// Two networks of different cost, each as long as it is told, however few its epochs are.
TEST_F(ProgramEncoders, AreTrainedForTheSameTime) {
  Json entry = small_run();
  entry["network_types"] = {"mlp", "fastkan"};
  const Outcome done = bench(entry, {"--match-seconds", "0.4", "--save-mode", "none"});
  ASSERT_EQ(done.status, 0) << done.error;
  const auto rows = csv(here_ / "results/results.csv");
  ASSERT_EQ(rows.size(), 2u);
  for (const auto& row : rows) {
    EXPECT_EQ(row.at("status"), "finished");
    EXPECT_EQ(row.at("train_limit_seconds"), "0.4");
    EXPECT_GE(std::stod(row.at("train_seconds")), 0.4);
    // The step that was under way ends; this leaves room for a machine that does other things.
    EXPECT_LT(std::stod(row.at("train_seconds")), 5);
  }
  const auto histories = lines(contents(here_ / "results/results.jsonl"));
  ASSERT_EQ(histories.size(), 2u);
  for (const std::string& line : histories)
    EXPECT_GT(Json::parse(line).at("trials").at(0).at("epochs").size(), 1u);
  const Outcome refused = bench(entry, {"--match-seconds", "0"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.error.find("--match-seconds"), std::string::npos) << refused.error;
}

TEST_F(ProgramEncoders, AreListedAndProfiled) {
  const Outcome listed = go({"info", "--encoders", "--json"});
  ASSERT_EQ(listed.status, 0) << listed.error;
  const Json encoders = Json::parse(listed.out);
  EXPECT_GE(encoders.size(), 9u);
  for (const Json& one : encoders)
    if (one.at("name") == "concat") {
      EXPECT_EQ(one.at("fields").at("parts"), Json({"dense_grid", "frequency"}));
    }
  EXPECT_NE(go({"info", "--encoders"}).out.find("n_frequencies 64"), std::string::npos);
  Json entry = small_run();
  entry["encoder"] = "fv_srn";
  write_text(here_ / "p.json", params_of("waves", entry));
  const Outcome said =
      go({"perf", "-p", "p.json", "--data-dir", here_.path().string(), "--device", "cpu",
          "--batch-size", "2048", "--seconds", "0.1", "--json", "perf.json"});
  ASSERT_EQ(said.status, 0) << said.error;
  for (const char* stage : {"\"encode\"", "\"scatter\""})
    EXPECT_NE(contents(here_ / "perf.json").find(stage), std::string::npos) << stage;
}

TEST_F(ProgramEncoders, RefusesWhatIsTooLargeInOneLine) {
  Json entry = small_run();
  entry["encoder"] = Json::parse(R"({"name": "dense_grid", "resolution": 65536})");
  const Outcome refused = bench(entry);
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.error.find("level 0 of the dense_grid"), std::string::npos) << refused.error;
  EXPECT_EQ(lines(refused.error).size(), 1u) << refused.error;
}

}  // namespace
}  // namespace kanbench::test

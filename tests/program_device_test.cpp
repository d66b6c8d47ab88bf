// The options that say where and how to compute, as a user gives them.

#include "program.h"

namespace kanbench::test {
namespace {

class ProgramDevice : public testing::Test {
 protected:
  void SetUp() override {
    write_text(here_ / "p.json", params_of("gyroid", small_run()));
    ASSERT_EQ(go({"synth", "gyroid", "-o", "v", "--size", "64x64x64"}).status, 0);
  }
  Outcome go(const std::vector<std::string>& words,
             const std::map<std::string, std::string>& environment = {}) {
    return run(here_.path(), words, environment);
  }
  Outcome train(const std::vector<std::string>& more) {
    std::vector<std::string> words = {"--params", "p.json", "--data-dir", "v", "--no-resume"};
    words.insert(words.end(), more.begin(), more.end());
    return go(words);
  }
  std::string model() {
    for (const auto& entry : fs::directory_iterator(here_ / "results/models_saved"))
      return entry.path().string();
    return "";
  }
  TemporaryDirectory here_;
};

TEST_F(ProgramDevice, TrainsInBricksWhatTheDeviceDoesNotHold) {
  ASSERT_EQ(go({"synth", "gyroid", "-o", "v", "--size", "64x64x64"}).status, 0);
  write_text(here_ / "p.json", params_of("gyroid", small_run()));
  const std::vector<std::string> words = {
      "--params", "p.json", "--data-dir", "v", "--device", "cpu", "-v", "--device-memory-limit",
      "250K"};
  const Outcome done = go(words);
  ASSERT_EQ(done.status, 0) << done.error;
  EXPECT_NE(done.error.find("in bricks"), std::string::npos) << done.error;
  const std::string rows = contents(here_ / "results/results.csv");
  EXPECT_NE(rows.find("volume in bricks"), std::string::npos) << rows;
  const Outcome refused = train({"--device", "cpu", "--device-memory-limit", "150K"});
  EXPECT_EQ(refused.status, 2) << refused.error;
  EXPECT_NE(refused.error.find("use a larger --device-memory-limit"), std::string::npos)
      << refused.error;
}

TEST_F(ProgramDevice, TakesTheSettingsOfADevice) {
  const std::vector<std::string> settings = {
      "--device",    "cpu",           "--deterministic",
      "--precision", "fp32",          "--device-memory-limit",
      "1G",          "--tuning-file", ""};
  const Outcome done = train(settings);
  ASSERT_EQ(done.status, 0) << done.error;
  const auto row = csv(here_ / "results/results.csv").at(0);
  EXPECT_EQ(row.at("precision"), "fp32");
  EXPECT_EQ(row.at("device").find(", "), std::string::npos) << row.at("device");
  for (const char* command : {"evaluate", "reconstruct"}) {
    std::vector<std::string> words = {command, model()};
    if (std::string(command) == "evaluate")
      words.push_back("v/gyroid_64x64x64_uint8.raw");
    else
      words.insert(words.end(), {"-o", "out.raw"});
    words.insert(words.end(), settings.begin(), settings.end());
    EXPECT_EQ(go(words).status, 0) << command;
  }
  EXPECT_EQ(go({"evaluate", model(), "v/gyroid_64x64x64_uint8.raw", "--device", "cpu",
                "--precision", "fp16"})
                .status,
            2);
}

TEST_F(ProgramDevice, TimesWhatTrainingDoes) {
  const Outcome timed = go({"perf", "--params", "p.json", "--data-dir", "v", "--device", "cpu",
                            "--seconds", "0.02", "--json", "perf.json", "--batch-size", "2048"});
  ASSERT_EQ(timed.status, 0) << timed.error;
  const Json report = Json::parse(contents(here_ / "perf.json"));
  std::map<std::string, double> ceilings;
  for (const Json& one : report.at("machine").at("ceilings"))
    ceilings[one.at("name").get<std::string>()] = one.at("per_second").get<double>();
  EXPECT_GT(ceilings.at("flops"), 1e8);
  EXPECT_GT(ceilings.at("bandwidth"), 1e8);
  const Json& result = report.at("results").at(0);
  EXPECT_EQ(result.at("precision"), "fp32");
  EXPECT_EQ(result.at("choices"), "");
  EXPECT_GT(result.at("training_samples_per_second").get<double>(), 0);
  EXPECT_NE(timed.out.find("bandwidth"), std::string::npos) << timed.out;
}

}  // namespace
}  // namespace kanbench::test

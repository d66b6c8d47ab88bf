// The logs that bench keeps of each run.

#include <algorithm>
#include <regex>

#include "program.h"
#include "program_running.h"

namespace kanbench::test {
namespace {

class ProgramLogs : public testing::Test {
 protected:
  Outcome bench(const std::vector<std::string>& more = {}, const Json& changes = Json::object()) {
    Json entry = small_run();
    entry["epochs"] = 3;
    entry.update(changes);
    write_text(here_ / "p.json", params_of("nucleon", entry));
    std::vector<std::string> words = {"-p",  "p.json",      "--data-dir", demo_data().string(),
                                      "-o",  "results",     "-q",         "--device",
                                      "cpu", "--save-mode", "none"};
    words.insert(words.end(), more.begin(), more.end());
    return run(here_.path(), words);
  }
  std::vector<fs::path> logs(const std::string& suffix) {
    std::vector<fs::path> found;
    if (!fs::exists(here_ / "results/logs")) return found;
    for (const auto& entry : fs::directory_iterator(here_ / "results/logs"))
      if (entry.path().string().ends_with(suffix)) found.push_back(entry.path());
    return found;
  }
  std::string only_log() {
    const auto found = logs(".log");
    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? "" : contents(found[0]);
  }
  Json history() { return Json::parse(lines(contents(here_ / "results/results.jsonl")).at(0)); }

  TemporaryDirectory here_;
};

TEST_F(ProgramLogs, HoldEveryEpochOfARunWithItsTime) {
  const Outcome done = bench();
  ASSERT_EQ(done.status, 0) << done.error;
  EXPECT_EQ(done.error, "") << "quiet says nothing";
  const std::string log = only_log();
  const std::regex line(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info  .*)");
  for (const std::string& text : lines(log)) EXPECT_TRUE(std::regex_match(text, line)) << text;
  const Json row = history();
  EXPECT_NE(log.find("id " + row["run_id"].get<std::string>()), std::string::npos) << log;
  for (int epoch = 1; epoch <= 3; ++epoch)
    EXPECT_NE(log.find("epoch " + std::to_string(epoch) + "  loss"), std::string::npos) << log;
  char psnr[32];
  std::snprintf(psnr, sizeof psnr, "%.3f dB", row["trials"][0]["metrics"]["psnr"].get<double>());
  EXPECT_NE(log.find(psnr), std::string::npos) << log;
  EXPECT_TRUE(log.ends_with("info  finished\n")) << log;
}

TEST_F(ProgramLogs, AreAFileARunAndGoOnAtItsEnd) {
  ASSERT_EQ(bench({}, {{"network_types", {"mlp", "fastkan"}}}).status, 0);
  EXPECT_EQ(logs(".log").size(), 2u);
  ASSERT_EQ(bench({"--no-resume"}, {{"network_types", {"mlp", "fastkan"}}}).status, 0);
  ASSERT_EQ(logs(".log").size(), 2u);
  const std::string log = contents(logs(".log")[0]);
  EXPECT_NE(log.find("finished"), log.rfind("finished"));
}

TEST_F(ProgramLogs, HoldWhatTheLevelSays) {
  ASSERT_EQ(bench({"--log-level", "debug"}).status, 0);
  EXPECT_NE(only_log().find("debug   batch size 256: "), std::string::npos) << only_log();
  fs::remove_all(here_ / "results");
  ASSERT_EQ(bench({"--log-level", "warn"}).status, 0);
  EXPECT_EQ(only_log(), "");
  fs::remove_all(here_ / "results");
  ASSERT_EQ(bench({"--log-level", "off"}).status, 0);
  EXPECT_FALSE(fs::exists(here_ / "results/logs"));
  const Outcome wrong = bench({"--log-level", "infos"});
  EXPECT_EQ(wrong.status, 2);
  EXPECT_NE(wrong.error.find("did you mean 'info'?"), std::string::npos) << wrong.error;
}

TEST_F(ProgramLogs, SayWhyARunFailed) {
  const Outcome failed = bench({}, {{"lrate", 1e30}});
  EXPECT_EQ(failed.status, 1) << failed.error;
  const std::string log = only_log();
  EXPECT_NE(log.find(" warning [1/1] nucleon mlp 2^8: the loss was not finite"), std::string::npos)
      << log;
  EXPECT_NE(log.find("info  failed: seed 0: the loss was not finite three times"),
            std::string::npos)
      << log;
}

TEST_F(ProgramLogs, MetricsAreTheHistorysOwn) {
  ASSERT_EQ(bench({"--metrics-log", "jsonl", "--repeats", "2"}).status, 0);
  const auto files = logs(".metrics.jsonl");
  ASSERT_EQ(files.size(), 1u);
  const Json row = history();
  std::map<int, int> epochs;
  int reconstructions = 0;
  for (const std::string& line : lines(contents(files[0]))) {
    const Json json = Json::parse(line);
    const int seed = json["seed"], step = json["step"];
    const Json& trial = row["trials"][seed];
    if (json.contains("epoch/loss")) {
      const Json& epoch = trial["epochs"][step - 1];
      EXPECT_EQ(json["epoch/loss"], epoch["loss"]);
      EXPECT_EQ(json["epoch/psnr"], epoch["psnr"]);
      EXPECT_EQ(json["epoch/lrate"], epoch["lrate"]);
      ++epochs[seed];
    } else if (json.contains("reconstruction/psnr")) {
      EXPECT_EQ(step, 3);
      EXPECT_EQ(json["reconstruction/psnr"], trial["metrics"]["psnr"]);
      EXPECT_EQ(json["reconstruction/mse"], trial["metrics"]["mse"]);
      ++reconstructions;
    } else {
      EXPECT_TRUE(json.contains("step/loss")) << line;
    }
  }
  EXPECT_EQ(epochs, (std::map<int, int>{{0, 3}, {1, 3}}));
  EXPECT_EQ(reconstructions, 2);
  EXPECT_EQ(row["trials"][0]["epochs"][0]["lrate"], 0.01);
  EXPECT_LT(row["trials"][0]["epochs"][2]["lrate"], 0.001) << "the rate falls to its end";
}

TEST_F(ProgramLogs, MetricsForTensorBoardAreADirectoryATraining) {
  ASSERT_EQ(bench({"--metrics-log", "tensorboard", "--repeats", "2"}).status, 0);
  EXPECT_EQ(logs("_seed0").size(), 1u);
  EXPECT_EQ(logs("_seed1").size(), 1u);
  const auto python = [&](const std::string& code) {
    return Running(here_.path(), {"-c", code}, {}, "python3").wait();
  };
  if (python("import tensorboard").status != 0)
    GTEST_SKIP() << "no TensorBoard here to read them (pip install tensorboard)";
  const Outcome read = python(
      "import glob\n"
      "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
      "for d in sorted(glob.glob('results/logs/*_seed*')):\n"
      "  a = EventAccumulator(d); a.Reload()\n"
      "  print([e.step for e in a.Scalars('epoch/psnr')], "
      "len(a.Scalars('reconstruction/psnr')))\n");
  EXPECT_EQ(read.out, "[1, 2, 3] 1\n[1, 2, 3] 1\n") << read.error;
}

TEST_F(ProgramLogs, ThatCannotBeWrittenDoNotEndTheRun) {
  ASSERT_EQ(bench({"--metrics-log", "jsonl"}).status, 0);
  for (const char* suffix : {".log", ".metrics.jsonl"}) {
    const fs::path file = logs(suffix).at(0);
    fs::remove(file);
    fs::create_symlink("/dev/full", file);
  }
  const Outcome full = bench({"--metrics-log", "jsonl", "--no-resume"});
  EXPECT_EQ(full.status, 0) << full.error;
  EXPECT_EQ(lines(full.error).size(), 2u) << full.error;
  for (const char* word : {".log: the log is not written on: ", "No space left on device",
                           ".metrics.jsonl: writing failed: "})
    EXPECT_NE(full.error.find(word), std::string::npos) << word << " in " << full.error;
  EXPECT_EQ(csv(here_ / "results/results.csv").size(), 1u);

  fs::remove_all(here_ / "results/logs");
  write_text(here_ / "results/logs", "not a directory");
  const Outcome refused = bench({"--no-resume"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_EQ(lines(refused.error).size(), 1u) << refused.error;
  EXPECT_NE(refused.error.find("results/logs: cannot be made: "), std::string::npos)
      << refused.error;
}

}  // namespace
}  // namespace kanbench::test

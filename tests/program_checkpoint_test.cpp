// Runs that are asked to end, killed, or given damaged checkpoints and full disks, and what the
// same command makes of them afterwards.

#include <sys/mount.h>

#include "program_running.h"

namespace kanbench::test {
namespace {

class ProgramCheckpoint : public testing::Test {
 protected:
  void SetUp() override {
    Json run = small_run();
    run["epochs"] = 30;
    write_text(here_ / "p.json", params_of("nucleon", run));
  }
  Words bench(const std::string& output, const Words& more = {},
              const fs::path& data = demo_data()) const {
    Words words = {"--params",   (here_ / "p.json").string(),
                   "--data-dir", data.string(),
                   "-o",         (here_ / output).string(),
                   "--threads",  threads_,
                   "--device",   "cpu"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Outcome go(const Words& words) const { return run(here_.path(), words); }

  /// Starts a run and lets it come to its second checkpoint.
  std::unique_ptr<Running> begin(const std::string& output) const {
    const Words words = bench(output, {"--checkpoint-every", "1epoch"});
    auto running = std::make_unique<Running>(here_.path(), words);
    EXPECT_TRUE(wait_until([&] { return checkpoints(output).size() == 2; })) << running->said();
    return running;
  }
  /// A run that was killed with two checkpoints, the older first.
  std::vector<fs::path> leave_two(const std::string& output) const {
    EXPECT_EQ(begin(output)->wait(SIGKILL).status, 128 + SIGKILL);
    std::vector<fs::path> found = checkpoints(output);
    // It may have been about to remove one, or to write one.
    if (found.size() == 3) fs::remove(found.front()), found.erase(found.begin());
    EXPECT_EQ(found.size(), 2u);
    return found;
  }
  std::vector<fs::path> checkpoints(const std::string& output) const {
    return files_below(here_ / output / "checkpoints", ".ckpt");
  }
  void expect_same(const std::string& a, const std::string& b) const {
    const Json one = only_run(here_ / a).at("row"), other = only_run(here_ / b).at("row");
    for (const char* figure : {"status", "run_id", "avg_psnr", "avg_ssim", "avg_mse"})
      EXPECT_EQ(one.at(figure), other.at(figure)) << figure;
    for (const char* kind : {".safetensors", ".raw"}) {
      const auto of_a = files_below(here_ / a, kind), of_b = files_below(here_ / b, kind);
      ASSERT_EQ(of_a.size(), 1u);
      ASSERT_EQ(of_b.size(), 1u);
      EXPECT_TRUE(contents(of_a[0]) == contents(of_b[0])) << kind;
    }
  }
  void run_whole() const {
    const Outcome whole = go(bench("whole"));
    ASSERT_EQ(whole.status, 0) << whole.error;
    EXPECT_FALSE(fs::exists(here_ / "whole/checkpoints"));
  }

  TemporaryDirectory here_;
  // Few, since a test may share its cores with others.
  std::string threads_ = "1";
};

TEST_F(ProgramCheckpoint, EndsWhenAskedToAndGoesOnWithTheSameBits) {
  run_whole();
  for (const int signal : {SIGTERM, SIGUSR1}) {
    const std::string output = std::to_string(signal);
    Running running(here_.path(), bench(output, {"-v"}));
    ASSERT_TRUE(running.says("steps an epoch")) << running.said();
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    const Outcome asked = running.wait(signal);
    EXPECT_EQ(asked.status, 0) << asked.error;
    EXPECT_EQ(count_of("interrupted, a checkpoint is in", asked.error), 1u) << asked.error;
    const Json row = only_run(here_ / output).at("row");
    EXPECT_EQ(row.at("status"), "interrupted");
    EXPECT_EQ(row.at("avg_psnr"), nullptr);
    EXPECT_EQ(csv(here_ / output / "results.csv").at(0).at("status"), "interrupted");
    EXPECT_EQ(checkpoints(output).size(), 1u);

    threads_ = signal == SIGTERM ? "1" : "2";
    const Outcome again = go(bench(output));
    EXPECT_EQ(again.status, 0) << again.error;
    EXPECT_EQ(count_of("goes on in epoch", again.error), 1u) << again.error;
    expect_same(output, "whole");
    EXPECT_EQ(only_run(here_ / output).at("trials").at(0).at("epochs").size(), 30u);
    EXPECT_FALSE(fs::exists(here_ / output / "checkpoints"));
  }
}

TEST_F(ProgramCheckpoint, ComesBackFromAKill) {
  run_whole();
  leave_two("cut");
  // What a process that dies while it writes leaves.
  const fs::path half = checkpoints("cut")[0].string() + ".partial-1-0";
  write_text(half, "half");
  const Outcome again = go(bench("cut", {"--checkpoint-every", "1epoch"}));
  EXPECT_EQ(again.status, 0) << again.error;
  EXPECT_EQ(count_of("goes on in epoch", again.error), 1u) << again.error;
  expect_same("cut", "whole");
  EXPECT_FALSE(fs::exists(here_ / "cut/checkpoints"));
}

TEST_F(ProgramCheckpoint, PassesOverTheDamagedAndSaysSo) {
  run_whole();
  const std::vector<fs::path> kept = leave_two("cut");
  const std::string older = contents(kept[0]), newer = contents(kept[1]);
  const auto flipped = [](std::string bytes) {
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    return bytes;
  };
  struct Case {
    std::string older, newer;
    std::size_t passed_over, goes_on;
  };
  const Case cases[] = {{older, newer.substr(0, newer.size() / 2), 1, 1},
                        {older, "", 1, 1},
                        {older, flipped(newer), 1, 1},
                        {flipped(older), newer.substr(0, 5), 2, 0}};
  for (const Case& c : cases) {
    fs::create_directories(here_ / "cut/checkpoints");
    write_text(kept[0], c.older);
    write_text(kept[1], c.newer);
    fs::remove(here_ / "cut/results.csv");
    fs::remove(here_ / "cut/results.jsonl");
    const Outcome done = go(bench("cut"));
    EXPECT_EQ(done.status, 0) << done.error;
    EXPECT_EQ(count_of("passed over", done.error), c.passed_over) << done.error;
    EXPECT_EQ(count_of(kept[1].filename().string(), done.error), 1u) << done.error;
    EXPECT_EQ(count_of("goes on", done.error), c.goes_on) << done.error;
    expect_same("cut", "whole");
    EXPECT_FALSE(fs::exists(here_ / "cut/checkpoints"));
  }
}

TEST_F(ProgramCheckpoint, StartsOverWhenTold) {
  leave_two("cut");
  const Outcome again = go(bench("cut", {"--no-resume"}));
  EXPECT_EQ(again.status, 0) << again.error;
  EXPECT_EQ(again.error.find("goes on"), std::string::npos) << again.error;
  EXPECT_FALSE(fs::exists(here_ / "cut/checkpoints"));
  EXPECT_EQ(only_run(here_ / "cut").at("row").at("status"), "finished");
}

TEST_F(ProgramCheckpoint, KeepsTheRunsOfASweepThatAreDone) {
  Json sweep = small_run();
  sweep.update({{"epochs", 20}, {"lrate", {{"values", {0.01, 0.005, 0.002}}}}});
  write_text(here_ / "p.json", params_of("nucleon", sweep));
  Running running(here_.path(), bench("cut", {"-v"}));
  ASSERT_TRUE(wait_until([&] { return count_of("steps an epoch", running.said()) == 2; }));
  EXPECT_EQ(running.wait(SIGUSR1).status, 0);
  const std::vector<Json> before = histories(here_ / "cut");
  ASSERT_EQ(before.size(), 2u);
  EXPECT_EQ(before[0].at("status"), "finished");
  EXPECT_EQ(before[1].at("status"), "interrupted");
  const Outcome again = go(bench("cut"));
  EXPECT_EQ(again.status, 0) << again.error;
  EXPECT_EQ(count_of("skipped", again.error), 1u) << again.error;
  EXPECT_EQ(count_of("goes on in epoch", again.error), 1u) << again.error;
  const std::vector<Json> after = histories(here_ / "cut");
  ASSERT_EQ(after.size(), 3u);
  for (const Json& run : after) EXPECT_EQ(run.at("status"), "finished");
  EXPECT_EQ(after[0], before[0]);
}

TEST_F(ProgramCheckpoint, KeepsTheRepeatsThatAreDone) {
  const Words more = {"--repeats", "2", "--epochs", "15", "--checkpoint-every", "5epochs"};
  ASSERT_EQ(go(bench("whole", more)).status, 0);
  {
    Running running(here_.path(), bench("cut", more));
    ASSERT_TRUE(wait_until([&] {
      const auto found = checkpoints("cut");
      return !found.empty() && found.back().string().find(".seed1.") != std::string::npos;
    })) << running.said();
    EXPECT_EQ(running.wait(SIGKILL).status, 128 + SIGKILL);
  }
  const Outcome again = go(bench("cut", more));
  EXPECT_EQ(again.status, 0) << again.error;
  EXPECT_EQ(count_of("goes on after the training", again.error), 1u) << again.error;
  EXPECT_EQ(count_of("goes on in epoch", again.error), 1u) << again.error;
  const Json a = only_run(here_ / "whole").at("trials"), b = only_run(here_ / "cut").at("trials");
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].at("metrics"), b[i].at("metrics"));
  EXPECT_FALSE(fs::exists(here_ / "cut/checkpoints"));
}

TEST_F(ProgramCheckpoint, WritesThemByTheClock) {
  Running running(here_.path(), bench("o", {"--checkpoint-every", "0.002min", "--epochs", "1000"}));
  EXPECT_TRUE(wait_until([&] { return checkpoints("o").size() >= 2; }, 20));
  running.wait(SIGKILL);
}

TEST_F(ProgramCheckpoint, EndsWhenAskedToWhileItMeasures) {
  ASSERT_EQ(go({"synth", "turbulence", "-o", "data", "--size", "176x176x176"}).status, 0);
  write_text(here_ / "p.json", params_of("turbulence", small_run()));
  const Words words = bench("cut", {"--batch-size", "16384"}, here_ / "data");
  Running running(here_.path(), words);
  ASSERT_TRUE(running.says("epoch 1/1"));
  const Outcome asked = running.wait(SIGTERM);
  EXPECT_EQ(asked.status, 0) << asked.error;
  EXPECT_EQ(only_run(here_ / "cut").at("status"), "interrupted");
  EXPECT_TRUE(files_below(here_ / "cut", ".raw").empty());
  const Outcome again = go(words);
  EXPECT_EQ(again.status, 0) << again.error;
  EXPECT_EQ(count_of("goes on after the training", again.error), 1u) << again.error;
  EXPECT_EQ(again.error.find("epoch 1/1"), std::string::npos) << again.error;
  const Json row = only_run(here_ / "cut").at("row");
  EXPECT_EQ(row.at("status"), "finished");
  EXPECT_GT(row.at("avg_psnr").get<double>(), 15);
  EXPECT_FALSE(fs::exists(here_ / "cut/checkpoints"));
}

TEST_F(ProgramCheckpoint, TrainsOnWhereTheDiskIsFull) {
  const fs::path disk = here_ / "disk";
  fs::create_directory(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=12k") != 0)
    GTEST_SKIP() << "a small tmpfs cannot be mounted here (root only)";
  const Words more = {"--save-mode", "none", "--checkpoint-every", "1epoch", "--log-level", "off"};
  Words words = bench("disk", more);
  words.insert(words.end(), {"--epochs", "3"});
  const Outcome full = go(words);
  const bool finished = only_run(disk).at("status") == "finished";
  const std::string before = contents(disk / "results.csv");

  Running running(here_.path(), bench("disk", more));
  const bool noticed = running.says("no checkpoint");
  const Outcome asked = running.wait(SIGTERM);
  const std::string after = contents(disk / "results.csv");
  umount2(disk.c_str(), MNT_DETACH);
  EXPECT_EQ(full.status, 0) << full.error;
  EXPECT_TRUE(finished);
  EXPECT_NE(full.error.find("No space left"), std::string::npos) << full.error;
  EXPECT_TRUE(noticed) << asked.error;
  // A training that is to end and cannot be kept.
  EXPECT_EQ(asked.status, 2) << asked.error;
  EXPECT_EQ(lines(asked.error).back().rfind("kanbench: ", 0), 0u) << asked.error;
  EXPECT_EQ(after, before);
}

TEST_F(ProgramCheckpoint, RefusesInOneLine) {
  for (const char* word : {"0min", "10", "10hours", "-1epochs", "1.5epochs", "nanmin", "infmin",
                           "1e400min", "0epochs", "99999999999epochs", "min", ""})
    expect_one_line(go(bench("o", {"--checkpoint-every", word})), 2,
                    {"--checkpoint-every", "10min", "5epochs", "'" + std::string(word) + "'"});
  EXPECT_FALSE(fs::exists(here_ / "o"));
  fs::create_directory(here_ / "o");
  write_text(here_ / "o/checkpoints", "a file in the way");
  expect_one_line(go(bench("o")), 2, {"o/checkpoints"});
  EXPECT_EQ(contents(here_ / "o/checkpoints"), "a file in the way");
}

}  // namespace
}  // namespace kanbench::test

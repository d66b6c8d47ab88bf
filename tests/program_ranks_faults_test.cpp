// The program under mpirun where something goes wrong on one rank or on all: a rank that is killed,
// a job that is asked to end, ranks that were given different things, disks without room.

#include <sys/mount.h>

#include "program_mpirun.h"

namespace kanbench::test {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

class ProgramRanksFaults : public ProgramUnderMpirun {
 protected:
  void SetUp() override {
    ProgramUnderMpirun::SetUp();
    if (IsSkipped()) return;
    Json run = small_run();
    run["epochs"] = 40;
    write_text(here_ / "p.json", params_of("nucleon", run));
  }
  // What tells this test's ranks from others'.
  Environment mark() const {
    return mpirun_environment({{"KANBENCH_TEST", here_.path().string()}});
  }

  pid_t process_of(int rank) const {
    const std::string own = "KANBENCH_TEST=" + here_.path().string() + '\0';
    const std::string number = "OMPI_COMM_WORLD_RANK=" + std::to_string(rank) + '\0';
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string variables = contents(entry.path() / "environ");
      if (variables.find(own) != variables.npos && variables.find(number) != variables.npos)
        return std::stoi(entry.path().filename().string());
    }
    return 0;
  }
  std::vector<fs::path> checkpoints(const std::string& output) const {
    return files_below(here_ / output / "checkpoints", ".ckpt");
  }
  // Starts ranks and lets them come to their second checkpoint.
  std::unique_ptr<Running> begin(int ranks, const Words& words, const std::string& output) const {
    auto running =
        std::make_unique<Running>(here_.path(), on_ranks(ranks, words), mark(), "mpirun");
    EXPECT_TRUE(wait_until([&] { return checkpoints(output).size() >= 2; })) << running->said();
    return running;
  }
  // Words for mpirun: rank 0 with one command, another rank with another.
  static Words unlike(const Words& first, const Words& second) {
    Words all = on_ranks(1, first);
    all.emplace_back(":");
    for (const std::string& word : on_ranks(1, second)) all.push_back(word);
    return all;
  }
};

TEST_F(ProgramRanksFaults, OneKilledEndsAllAndTheJobGoesOn) {
  for (const Words& way : {Words{}, Words{"--sharded"}}) {
    const std::string output = way.empty() ? "whole" : "sharded";
    Words words = bench(output, {"--checkpoint-every", "1epoch"});
    words.insert(words.end(), way.begin(), way.end());
    auto running = begin(3, words, output);
    const pid_t victim = process_of(1);
    ASSERT_GT(victim, 0);
    const auto began = Clock::now();
    kill(victim, SIGKILL);
    const Outcome ended = running->wait();
    EXPECT_LT(seconds_since(began), 30);
    EXPECT_NE(ended.status, 0);
    EXPECT_LE(complaints(ended).size(), 1u) << ended.error;
    EXPECT_TRUE(wait_until([&] { return process_of(0) == 0 && process_of(2) == 0; }, 10));
    EXPECT_GE(checkpoints(output).size(), 1u);
    EXPECT_TRUE(histories(here_ / output).empty());

    const Outcome again = go(3, words);
    ASSERT_EQ(again.status, 0) << again.error;
    EXPECT_EQ(count_of("goes on in epoch", again.error), 1u) << again.error;
    EXPECT_EQ(only_run(here_ / output).at("status"), "finished");
    EXPECT_FALSE(fs::exists(here_ / output / "checkpoints"));
  }
}

TEST_F(ProgramRanksFaults, AJobThatIsAskedToEndGoesOn) {
  const Json whole = train(2, "whole");
  const std::pair<int, Words> ways[] = {{2, {}}, {2, {"--sharded"}}, {3, {}}, {1, {}}};
  int number = 0;
  for (const auto& [ranks, way] : ways) {
    const std::string output = "cut" + std::to_string(number++);
    Words words = bench(output, {"--checkpoint-every", "1epoch"});
    words.insert(words.end(), way.begin(), way.end());
    auto running = begin(2, words, output);
    const Outcome asked = running->wait(SIGUSR1);
    EXPECT_EQ(asked.status, 0) << asked.error;
    EXPECT_EQ(count_of("interrupted, a checkpoint is in", asked.error), 1u) << asked.error;
    EXPECT_EQ(only_run(here_ / output).at("status"), "interrupted");
    const Json row = train(ranks, output, way);
    if (ranks == 2 && way.empty()) {
      EXPECT_EQ(row.at("avg_mse"), whole.at("avg_mse"));
      EXPECT_TRUE(contents(file_of(output, ".safetensors")) ==
                  contents(file_of("whole", ".safetensors")));
    } else {
      EXPECT_NEAR(row.at("avg_psnr").get<double>(), whole.at("avg_psnr").get<double>(), 0.7);
    }
  }
}

TEST_F(ProgramRanksFaults, BricksOfAnEnsembleSurvive) {
  const Words more = {"--decomposition", "ensemble", "--bricks", "16"};
  train(1, "whole", more);
  for (const int signal : {SIGKILL, SIGUSR1}) {
    const std::string output = std::to_string(signal);
    Running running(here_.path(), on_ranks(2, bench(output, more)), mark(), "mpirun");
    const auto trained = [&] { return files_below(here_ / output, ".safetensors").size(); };
    ASSERT_TRUE(wait_until([&] { return trained() >= 3; })) << running.said();
    if (signal == SIGKILL) kill(process_of(1), SIGKILL);
    running.wait(signal == SIGKILL ? 0 : signal);
    const Outcome again = go(3, bench(output, more));
    ASSERT_EQ(again.status, 0) << again.error;
    EXPECT_EQ(count_of("of 16 bricks are trained", again.error), 1u) << again.error;
    const double mse = only_run(here_ / "whole").at("row").at("avg_mse");
    EXPECT_NEAR(only_run(here_ / output).at("row").at("avg_mse"), mse, 1e-12 * mse);
  }
}

TEST_F(ProgramRanksFaults, RanksThatWereGivenDifferentThingsSaySo) {
  Json other = small_run();
  other["lrate"] = 0.02;
  write_text(here_ / "other.json", params_of("nucleon", other));
  std::string voxels = contents(demo_volume());
  std::reverse(voxels.begin(), voxels.end());
  fs::create_directory(here_ / "data");
  write_text(here_ / "data" / demo_volume().filename(), voxels);
  const Words good = bench("o");
  const auto refused = [&](const Words& second, const Words& says) {
    expect_one_complaint(mpirun(here_.path(), unlike(good, second)), 2, says);
    EXPECT_TRUE(files_below(here_ / "o", ".safetensors").empty());
  };
  refused(bench("o", {}, demo_data(), "other.json"), {"parameter file", "rank 1"});
  refused(bench("o", {}, here_ / "data"), {demo_volume().stem().string(), "rank 1"});
  refused(bench("o", {}, demo_data(), "gone.json"), {"rank 1", "gone.json", "No such file"});
  refused(bench("o", {"--epochs", "few"}), {"--epochs", "few"});
  refused(bench("o", {"--wire", "fp16"}), {"command line", "rank 1"});
}

TEST_F(ProgramRanksFaults, WhatIsWrongForAllIsSaidOnce) {
  expect_one_complaint(go(2, bench("o", {}, demo_data(), "gone.json")), 2, {"gone.json"});
  expect_one_complaint(go(3, bench("o", {"--decomposition", "hybrid", "--bricks", "2"})), 2,
                       {"--bricks 2", "3 processes"});
  expect_one_complaint(go(2, bench("o"), {{"KANBENCH_MPI_PLUGIN", "/nowhere/m.so"}}), 2,
                       {"/nowhere/m.so", "--communicator single"});
  expect_one_complaint(go(2, {"evaluate", "gone.safetensors", "gone.raw", "--device", "cpu"}), 2,
                       {"gone.safetensors"});
}

TEST_F(ProgramRanksFaults, ADiskWithoutRoomIsSaidOnce) {
  const fs::path disk = here_ / "disk";
  fs::create_directory(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=40k") != 0)
    GTEST_SKIP() << "a small tmpfs cannot be mounted here (root only)";
  const Outcome full = go(2, bench("disk", {"--epochs", "2"}));
  const Outcome none = go(2, bench("disk", {"--epochs", "2", "--save-mode", "none"}));
  const Outcome bricks =
      go(2, bench("disk", {"--epochs", "2", "--decomposition", "ensemble", "--bricks", "12"}));
  umount2(disk.c_str(), MNT_DETACH);
  EXPECT_EQ(none.status, 0) << none.error;
  for (const Outcome& outcome : {full, bricks}) {
    EXPECT_EQ(outcome.status, 2) << outcome.error;
    ASSERT_EQ(complaints(outcome).size(), 1u) << outcome.error;
    EXPECT_NE(complaints(outcome)[0].find("No space left"), std::string::npos) << outcome.error;
  }
}

// What a launcher sets, without a launcher.
class ProgramAlone : public ProgramRanksFaults {};

TEST_F(ProgramAlone, SaysWhatIsMissing) {
  const std::pair<Environment, Words> cases[] = {
      {{{"WORLD_SIZE", "2"}}, {"WORLD_SIZE", "RANK"}},
      {{{"RANK", "0"}}, {"RANK", "WORLD_SIZE"}},
      {{{"RANK", "2"}, {"WORLD_SIZE", "2"}}, {"RANK=2"}},
      {{{"RANK", "0"}, {"WORLD_SIZE", "two"}}, {"WORLD_SIZE=two"}},
      {{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_PORT", "70000"}}, {"MASTER_PORT=70000"}},
      {{{"RANK", "0"}, {"WORLD_SIZE", "2"}}, {"2 processes", "torchrun"}},
      {{{"OMPI_COMM_WORLD_RANK", "0"}}, {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}}};
  for (const auto& [environment, says] : cases)
    expect_one_line(run(here_.path(), bench("o"), environment), 2, says);
  EXPECT_FALSE(fs::exists(here_ / "o"));
}

TEST_F(ProgramAlone, NeedsNoMpi) {
  const Environment nowhere = {{"KANBENCH_MPI_PLUGIN", "/nowhere/m.so"}};
  EXPECT_EQ(run(here_.path(), bench("o", {"--epochs", "1"}), nowhere).status, 0);
  expect_one_line(run(here_.path(), bench("o", {"--communicator", "mpi"}), nowhere), 2,
                  {"--communicator mpi", "/nowhere/m.so", "--communicator single"});
  const std::string linked =
      "ldd '" KANBENCH_PROGRAM "' > '" + (here_ / "libraries").string() + "'";
  ASSERT_EQ(std::system(linked.c_str()), 0);
  EXPECT_EQ(contents(here_ / "libraries").find("libmpi"), std::string::npos);
}

}  // namespace
}  // namespace kanbench::test

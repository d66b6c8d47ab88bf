// The program on several ranks that each have an emulated device, started as launchers do: by
// torchrun's variables alone, and by mpirun; and what it says where ranks cannot work together.

#include <signal.h>

#include <chrono>
#include <cmath>
#include <regex>
#include <thread>
#include <tuple>

#include "kanbench/communicator.h"
#include "port.h"
#include "program.h"

namespace kanbench::test {
namespace {

using Words = std::vector<std::string>;
using Clock = std::chrono::steady_clock;

std::string free_port() { return std::to_string(Port().number()); }

class ProgramCudaRanks : public testing::Test {
 protected:
  void SetUp() override {
    unsetenv("NCCL_COMM_ID");
    Json run = small_run();
    run.update({{"epochs", 6}, {"n_neurons", 16}, {"log2_hashmap_size", 10}});
    write_text(here_ / "p.json", params_of("turbulence", run));
    const Outcome made =
        test::run(here_.path(), {"synth", "turbulence", "-o", "data", "--size", "16x16x16"}, {});
    ASSERT_EQ(made.status, 0) << made.error;
  }

  Words bench(const std::string& output, const Words& more, const char* timeout = "20") const {
    Words words{"--params",     (here_ / "p.json").string(),
                "--data-dir",   (here_ / "data").string(),
                "-o",           (here_ / output).string(),
                "--device",     "cuda",
                "--batch-size", "256",
                "--save-mode",  "none",
                "--timeout",    timeout};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  std::map<std::string, std::string> environment(const std::string& emulator = "devices=2") const {
    return {{"KANBENCH_EMULATOR", emulator}, {"XDG_CACHE_HOME", (here_ / "cache").string()}};
  }

  /// Starts rank `rank` of `ranks` as torchrun does, in a directory of its own.
  pid_t start_rank(int rank, int ranks, const std::string& port, const Words& words,
                   const std::string& emulator = "devices=2") {
    const fs::path place = here_ / ("rank" + std::to_string(rank));
    fs::create_directories(place);
    auto variables = environment(emulator);
    variables.insert({{"RANK", std::to_string(rank)},
                      {"WORLD_SIZE", std::to_string(ranks)},
                      {"LOCAL_RANK", std::to_string(rank)},
                      {"LOCAL_WORLD_SIZE", std::to_string(ranks)},
                      {"MASTER_ADDR", "127.0.0.1"},
                      {"MASTER_PORT", port}});
    return start(place, words, variables);
  }

  Outcome wait_rank(int rank, pid_t process) {
    int status = 0;
    waitpid(process, &status, 0);
    const fs::path place = here_ / ("rank" + std::to_string(rank));
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            contents(place / "out"), contents(place / "error")};
  }

  std::vector<Outcome> run_ranks(int ranks, const std::string& port, const Words& words,
                                 const std::string& emulator = "devices=2") {
    std::vector<pid_t> processes;
    for (int r = 0; r < ranks; ++r)
      processes.push_back(start_rank(r, ranks, port, words, emulator));
    std::vector<Outcome> outcomes;
    for (int r = 0; r < ranks; ++r)
      outcomes.push_back(wait_rank(r, processes[static_cast<std::size_t>(r)]));
    return outcomes;
  }

  /// Why run_mpi() cannot be; empty where it can.
  static std::string why_no_mpirun() {
    if (std::system("command -v mpirun >/dev/null 2>&1") != 0) return "there is no mpirun here";
    return why_no_mpi();
  }

  /// The program under `mpirun -n ranks`.
  Outcome run_mpi(int ranks, const Words& words, const std::string& emulator = "devices=2") {
    std::string line = "cd '" + here_.path().string() + "' && mpirun --allow-run-as-root " +
                       "--oversubscribe -n " + std::to_string(ranks);
    for (const auto& [name, value] : environment(emulator)) {
      setenv(name.c_str(), value.c_str(), 1);
      line += " -x " + name;
    }
    line += std::string(" ") + KANBENCH_PROGRAM;
    for (const std::string& word : words) line += " '" + word + "'";
    const int status = std::system((line + " >out 2>error").c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, contents(here_ / "out"),
            contents(here_ / "error")};
  }

  // What is quoted in a row says how it came about.
  double psnr(const std::string& output) {
    const fs::path file = here_ / output / "results.csv";
    const std::string text = fs::exists(file) ? contents(file) : "";
    write_text(file, std::regex_replace(text, std::regex("\"[^\"\n]*\""), "quoted"));
    const auto rows = csv(file);
    EXPECT_EQ(rows.size(), 1u) << output;
    return rows.size() == 1 ? std::stod(rows[0].at("avg_psnr")) : NAN;
  }

  double alone() {
    const Outcome outcome = test::run(here_.path(), bench("alone", {}), environment());
    EXPECT_EQ(outcome.status, 0) << outcome.error;
    return psnr("alone");
  }

  TemporaryDirectory here_;
};

TEST_F(ProgramCudaRanks, ReachWithoutMpiWhatOneRankReaches) {
  const double wanted = alone();
  const std::pair<const char*, Words> ways[] = {
      {"whole", {}},
      {"halves", {"--wire", "fp16"}},
      {"shares", {"--sharded"}},
      {"both", {"--sharded", "--wire", "fp16", "--deterministic"}}};
  for (const auto& [name, more] : ways) {
    Words words = bench(name, more);
    words.insert(words.end(), {"--communicator", "nccl"});
    for (const Outcome& outcome : run_ranks(2, free_port(), words))
      ASSERT_EQ(outcome.status, 0) << name << ": " << outcome.error;
    EXPECT_NEAR(psnr(name), wanted, 0.15) << name;
  }
}

TEST_F(ProgramCudaRanks, ReachUnderMpiWhatOneRankReaches) {
  if (const std::string why = why_no_mpirun(); !why.empty()) GTEST_SKIP() << why;
  const double wanted = alone();
  // MPI's ranks may share a device, through whose host memory what they send goes.
  const std::tuple<const char*, Words, const char*> ways[] = {
      {"nccl", {"--communicator", "nccl"}, "devices=2"},
      {"auto", {}, "devices=2"},
      {"mpi", {"--communicator", "mpi"}, "devices=1"},
      {"shares", {"--communicator", "mpi", "--sharded", "--wire", "fp16"}, "devices=1"},
      {"lazy", {"--communicator", "mpi", "--sharded"}, "devices=1,lazy=1"}};
  for (const auto& [name, more, emulator] : ways) {
    const Outcome outcome = run_mpi(2, bench(name, more), emulator);
    ASSERT_EQ(outcome.status, 0) << name << ": " << outcome.error;
    EXPECT_NEAR(psnr(name), wanted, 0.15) << name;
  }
}

TEST_F(ProgramCudaRanks, AreRefusedOnOneDevice) {
  const Words words = bench("one", {"--communicator", "nccl"});
  for (const Outcome& outcome : run_ranks(2, free_port(), words, "devices=1")) {
    EXPECT_EQ(outcome.status, 2) << outcome.error;
    EXPECT_EQ(lines(outcome.error).size(), 1u) << outcome.error;
    EXPECT_NE(outcome.error.find("GPU"), std::string::npos) << outcome.error;
  }
}

TEST_F(ProgramCudaRanks, AreRefusedOnOneDeviceUnderMpi) {
  if (const std::string why = why_no_mpirun(); !why.empty()) GTEST_SKIP() << why;
  const Outcome outcome = run_mpi(2, bench("one", {"--communicator", "nccl"}), "devices=1");
  EXPECT_EQ(outcome.status, 2) << outcome.error;
  EXPECT_NE(outcome.error.find("ranks 0 and 1 are on one GPU"), std::string::npos) << outcome.error;
}

TEST_F(ProgramCudaRanks, SayThatThePortIsTaken) {
  const Port taken;
  const std::string port = std::to_string(taken.number());
  const Words words = bench("taken", {"--communicator", "nccl"}, "2");
  const std::vector<Outcome> outcomes = run_ranks(2, port, words);
  EXPECT_EQ(outcomes[0].status, 2) << outcomes[0].error;
  EXPECT_EQ(lines(outcomes[0].error).size(), 1u) << outcomes[0].error;
  EXPECT_NE(outcomes[0].error.find("MASTER_PORT " + port), std::string::npos) << outcomes[0].error;
  EXPECT_EQ(outcomes[1].status, 1) << outcomes[1].error;
}

TEST_F(ProgramCudaRanks, EndWhereOneIsKilled) {
  const Words words = bench("killed", {"--communicator", "nccl", "--epochs", "100000"}, "2");
  const std::string port = free_port();
  const pid_t first = start_rank(0, 2, port, words), second = start_rank(1, 2, port, words);
  std::this_thread::sleep_for(std::chrono::seconds(3));
  kill(second, SIGKILL);
  const auto began = Clock::now();
  wait_rank(1, second);
  const Outcome outcome = wait_rank(0, first);
  EXPECT_LT(std::chrono::duration<double>(Clock::now() - began).count(), 20);
  EXPECT_EQ(outcome.status, 1) << outcome.error;
  EXPECT_NE(outcome.error.find("NCCL: "), std::string::npos) << outcome.error;
  EXPECT_LE(lines(outcome.error).size(), 1u) << outcome.error;
}

}  // namespace
}  // namespace kanbench::test

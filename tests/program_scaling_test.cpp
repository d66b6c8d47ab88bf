// kanbench perf --scaling: tables, JSON, what it refuses, and what it does as several processes.

#include <gtest/gtest.h>

#include <cmath>

#include "program.h"

namespace kanbench::test {
namespace {

class ProgramScaling : public ::testing::Test {
 protected:
  void SetUp() override {
    write_text(here_ / "p.json", params_of("nucleon", small_run()));
    fs::create_directory(here_ / "data");
    for (const char* name : {"nucleon_41x41x41_uint8.raw", "nucleon_41x41x41_uint8.nhdr"})
      if (fs::exists(demo_data() / name)) fs::copy(demo_data() / name, here_ / "data" / name);
  }
  static std::vector<std::string> words(const std::vector<std::string>& more) {
    std::vector<std::string> all = {
        "perf",      "--params", "p.json",    "--data-dir", "data",         "--device", "cpu",
        "--threads", "1",        "--seconds", "0.02",       "--batch-size", "512"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Outcome go(const std::vector<std::string>& more,
             const std::map<std::string, std::string>& environment = {}) {
    return run(here_.path(), words(more), environment);
  }
  // Under mpirun; its output is what the ranks wrote together.
  Outcome go_together(int ranks, const std::vector<std::string>& more) {
    std::string command = "cd '" + here_.path().string() + "' && mpirun -n " +
                          std::to_string(ranks) + " --oversubscribe --allow-run-as-root '" +
                          KANBENCH_PROGRAM + "'";
    for (const std::string& word : words(more)) command += " '" + word + "'";
    const int status = std::system((command + " >out 2>error").c_str());
    return {WEXITSTATUS(status), contents(here_ / "out"), contents(here_ / "error")};
  }
  static std::map<std::string, std::string> rank_of_two(const char* rank) {
    return {{"OMPI_COMM_WORLD_RANK", rank},
            {"OMPI_COMM_WORLD_SIZE", "2"},
            {"OMPI_COMM_WORLD_LOCAL_RANK", rank},
            {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
  }
  Json report() const { return Json::parse(contents(here_ / "r.json")); }

  TemporaryDirectory here_;
};

TEST_F(ProgramScaling, PrintsATableForEachWayAndNetwork) {
  // As the first of two processes, which speaks for both.
  const Outcome outcome =
      go({"--scaling", "--ranks", "1..8,3", "--network", "nvlink,mine=5:2", "--json", "r.json"},
         rank_of_two("0"));
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  const Json run = report()["scaling"][0];
  EXPECT_EQ(run["one_rank"]["batch_size"], 512);
  // An ensemble does not depend on the network.
  ASSERT_EQ(run["tables"].size(), 7u);
  for (const Json& table : run["tables"]) {
    ASSERT_EQ(table["rows"].size(), 5u);
    const char* ranks[] = {"1", "2", "3", "4", "8"};
    for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(table["rows"][i]["ranks"].dump(), ranks[i]);
    for (const char* scaling : {"weak", "strong"}) {
      const Json one = table["rows"][0][scaling];
      EXPECT_EQ(one["efficiency"], 1);
      EXPECT_EQ(one["seconds"], run["one_rank"]["step_seconds"]);
    }
  }
  EXPECT_NE(outcome.out.find("shared, mine: as given"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("ensemble, whatever connects the ranks"), std::string::npos);
  EXPECT_NE(outcome.out.find("bound by"), std::string::npos);
}

TEST_F(ProgramScaling, TakesAStepThatIsAssumed) {
  const Outcome outcome =
      go({"--scaling", "--ranks", "1,64", "--network", "ethernet-10g", "--decomposition",
          "unoverlapped,shared-fp16", "--step-ms", "0.001", "--json", "r.json"});
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_NE(outcome.out.find("these times are assumed"), std::string::npos);
  const Json run = report()["scaling"][0];
  EXPECT_NEAR(run["one_rank"]["step_seconds"].get<double>(), 1e-6, 1e-9);
  EXPECT_EQ(run["tables"].size(), 2u);
  EXPECT_EQ(run["tables"][0]["rows"][1]["weak"]["bound_by"], "latency");
}

TEST_F(ProgramScaling, RefusesInOneLine) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--scaling", "--ranks", "0"}, "--ranks"},
      {{"--scaling", "--ranks", "4..2"}, "'4..2'"},
      {{"--scaling", "--ranks", "1,x"}, "'1,x'"},
      {{"--scaling", "--ranks", "1.."}, "'1..'"},
      {{"--scaling", "--network", "nvlnk"}, "did you mean 'nvlink'?"},
      {{"--scaling", "--network", "a=1"}, "is no NAME=MICROSECONDS:GIGABYTES"},
      {{"--scaling", "--decomposition", "shard"}, "--decomposition"},
      {{"--measured"}, "--measured requires --scaling"},
      {{"--ranks", "4"}, "--ranks requires --scaling"},
      {{"--scaling", "--timeout", "9"}, "--timeout requires --measured"},
      {{"--scaling", "--measured"}, "mpirun -n 2"},
      {{"--scaling", "--measured", "--step-ms", "2"}, "give one"}};
  for (const auto& [given, expected] : cases) {
    const Outcome outcome = go(given);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_EQ(lines(outcome.error).size(), 1u) << outcome.error;
    EXPECT_NE(outcome.error.find(expected), std::string::npos) << outcome.error;
  }
}

TEST_F(ProgramScaling, OnlyTheFirstOfSeveralProcessesSpeaks) {
  const Outcome second = go({"--scaling", "--ranks", "1"}, rank_of_two("1"));
  EXPECT_EQ(second.status, 0) << second.error;
  EXPECT_EQ(second.out + second.error, "");
}

TEST_F(ProgramScaling, MeasuresTheRanksThatThereAre) {
  const Outcome outcome = go_together(2, {"--scaling", "--measured", "--decomposition",
                                          "shared,sharded,ensemble", "--json", "r.json"});
  if (outcome.error.find("no MPI") != std::string::npos) GTEST_SKIP() << outcome.error;
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  const Json run = report()["scaling"][0];
  EXPECT_EQ(run["ranks"], 2);
  ASSERT_EQ(run["measured"].size(), 5u);
  for (const Json& row : run["measured"]) {
    if (row["decomposition"] == "ensemble") {
      EXPECT_GT(row["weak_ratio"].get<double>(), 0);
      continue;
    }
    const Json& m = row["measured"];
    for (const char* stage :
         {"sample_seconds", "gradient_seconds", "sum_seconds", "update_seconds", "step_seconds"})
      EXPECT_GT(m[stage].get<double>(), 0) << stage;
    EXPECT_GT(m["model"]["seconds"].get<double>(), 0);
  }
  // One rank printed.
  const std::string title = "\nshared, weak\n";
  const std::size_t at = outcome.out.find(title);
  ASSERT_NE(at, std::string::npos) << outcome.out;
  EXPECT_EQ(outcome.out.find(title, at + 1), std::string::npos);
}

}  // namespace
}  // namespace kanbench::test

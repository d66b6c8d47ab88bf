// submit, status and collect where no scheduler is needed: dry runs held to committed scripts, and
// bad input.

#include <algorithm>
#include <regex>

#include "program_running.h"

namespace kanbench::test {
namespace {

class ProgramSubmit : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(here_ / "data");
    fs::copy_file(demo_volume(), here_ / "data/two words_41x41x41_uint8.raw");
    Json run = small_run();
    run["lrate"] = {{"values", {0.01, 0.02, 0.03, 0.04, 0.05, 0.06}}};
    write_text(here_ / "params.json", params_of("two words", run));
  }
  Outcome go(const Words& words, const Environment& more = {}) const {
    // No scheduler is to be found.
    Environment environment = {{"PATH", (here_ / "none").string()}};
    for (const auto& [name, value] : more) environment[name] = value;
    return run(here_.path(), words, environment);
  }
  Outcome submit(const Words& more) const {
    Words words = {"submit", "-p", "params.json", "-o", "sweep", "--data-dir", "data"};
    words.insert(words.end(), more.begin(), more.end());
    return go(words);
  }
  // What a dry run says, without what differs from place to place.
  std::string dry(const std::string& site, Words more = {}) const {
    more.insert(
        more.begin(),
        {"--site", (source_directory() / "params/sites" / (site + ".json")).string(), "--dry-run"});
    const Outcome told = submit(more);
    EXPECT_EQ(told.status, 0) << told.error;
    std::string text = told.out;
    const std::string place = fs::canonical(here_.path()).string();
    for (std::size_t at; (at = text.find(place)) != text.npos;)
      text.replace(at, place.size(), "/here");
    return std::regex_replace(text, std::regex("kb-[0-9a-f]{8}-"), "kb-00000000-");
  }
  static void expect_golden(const std::string& text, const std::string& name) {
    EXPECT_EQ(text, contents(source_directory() / "tests/golden" / name));
  }

  TemporaryDirectory here_;
};

TEST_F(ProgramSubmit, PrintsTheScriptsOfSlurm) {
  expect_golden(dry("delta", {"--account", "project", "--checkpoint-every", "5min", "--seed", "3",
                              "--network-types", "mlp"}),
                "submit_slurm.txt");
  EXPECT_FALSE(fs::exists(here_ / "sweep"));
}

TEST_F(ProgramSubmit, PrintsTheScriptsOfPbs) {
  expect_golden(dry("polaris", {"--account", "project", "--deterministic"}), "submit_pbs.txt");
  EXPECT_FALSE(fs::exists(here_ / "sweep"));
}

TEST_F(ProgramSubmit, PrintsTheScriptsOfSeveralProcesses) {
  expect_golden(dry("polaris", {"--gpus", "8", "--walltime", "0:45:00", "--run-index", "2"}),
                "submit_many.txt");
}

TEST_F(ProgramSubmit, EstimatesByAnEpochThatWasTimed) {
  Json site = {{"scheduler", "slurm"},
               {"device", {{"flops_per_second", 1e12}, {"bytes_per_second", 1e11}}},
               {"queues", {{{"name", "debug"}, {"walltime", "24:00:00"}}}}};
  write_text(here_ / "site.json", site.dump());
  const Words dry_run = {"--site", "./site.json", "--dry-run"};
  EXPECT_EQ(count_of("  model ", submit(dry_run).out), 6u) << submit(dry_run).out;
  Outcome timed = go({"-p", "params.json", "-o", "sweep", "--data-dir", "data", "--test-epoch"});
  ASSERT_EQ(timed.status, 0) << timed.error;
  EXPECT_EQ(count_of("  measured ", submit(dry_run).out), 6u) << submit(dry_run).out;
  // All of them take as long: one line as if an epoch took an hour changes all.
  Json time = Json::parse(lines(contents(here_ / "sweep/estimates.jsonl"))[0]);
  time["epoch_seconds"] = 3600;
  write_text(here_ / "sweep/estimates.jsonl", time.dump() + "\n");
  EXPECT_EQ(count_of("#SBATCH --time=1:45:00\n", submit(dry_run).out), 1u) << submit(dry_run).out;
  // One of another device does not count.
  time["device"] = "cuda:0 X";
  write_text(here_ / "sweep/estimates.jsonl", time.dump() + "\n");
  EXPECT_EQ(count_of("  measured ", submit(dry_run).out), 0u);
}

TEST_F(ProgramSubmit, LeavesOutWhatHasARow) {
  const Outcome trained =
      go({"-p", "params.json", "-o", "sweep", "--data-dir", "data", "--run-index", "4"});
  ASSERT_EQ(trained.status, 0) << trained.error;
  const std::string told = dry("slurm");
  EXPECT_NE(told.find("5 runs to submit in 1 job, 1 finished\n"), std::string::npos) << told;
  EXPECT_NE(told.find("\n0\n1\n2\n3\n5\n"), std::string::npos) << told;
  // With another seed it is another run.
  EXPECT_NE(dry("slurm", {"--seed", "9"}).find("6 runs to submit in 1 job\n"), std::string::npos);
}

TEST_F(ProgramSubmit, SaysWhenTheTimeDoesNotDo) {
  Json run = small_run();
  run["epochs"] = 100000000;
  write_text(here_ / "params.json", params_of("two words", run));
  const Outcome told = submit({"--site", (source_directory() / "params/sites/slurm.json").string(),
                               "--dry-run", "--gpus", "1"});
  EXPECT_EQ(told.status, 0);
  EXPECT_NE(told.error.find("run 0: would take "), std::string::npos) << told.error;
  EXPECT_NE(told.error.find("longer than its walltime of 24:00:00"), std::string::npos);
  EXPECT_NE(told.out.find("#SBATCH --time=24:00:00"), std::string::npos) << told.out;
}

TEST_F(ProgramSubmit, RefusesWhatIsWrongInOneLine) {
  const std::string slurm = (source_directory() / "params/sites/slurm.json").string();
  write_text(here_ / "bad.json", R"({"scheduler": "slurm", "queus": []})");
  const std::vector<std::pair<Words, Words>> cases = {
      {{}, {"--site is required"}},
      {{"--site", "slrm"}, {"--site 'slrm'", "did you mean 'slurm'"}},
      {{"--site", "./none.json"}, {"./none.json"}},
      {{"--site", "./bad.json"}, {"bad.json", "'queues'", "queus"}},
      {{"--site", slurm, "--queue", "gpus"}, {"--queue 'gpus'", "did you mean 'gpu'"}},
      {{"--site", slurm, "--gpus", "3000"}, {"--gpus 3000"}},
      {{"--site", slurm, "--gpus", "0"}, {"--gpus", "whole number from 1"}},
      {{"--site", slurm, "--walltime", "90"}, {"--walltime: '90'", "1:30:00"}},
      {{"--site", slurm, "--account", "a b"}, {"--account 'a b'"}},
      {{"--site", slurm, "--max-jobs", "-1"}, {"--max-jobs"}},
      {{"--site", slurm, "--wait", "0"}, {"--wait"}},
      {{"--site", slurm, "--no-resume"}, {"unknown option '--no-resume'"}},
      {{"--site", slurm, "--output", "x.csv"}, {"unknown option '--output'"}},
      {{"--site", slurm, "--decomposition", "ensemble"}, {"run 0", "--bricks N"}},
      {{"--site", slurm}, {"sbatch", "no such program"}}};
  for (const auto& [words, says] : cases) expect_one_line(submit(words), 2, says);
  expect_one_line(go({"status", "-o", "absent"}), 2, {"--output-dir absent", "no such directory"});
  fs::create_directories(here_ / "empty");
  expect_one_line(go({"status", "-o", "empty"}), 2, {"nothing was submitted", "--params"});
  expect_one_line(go({"collect", "-o", "absent"}), 2, {"no such directory"});
  expect_one_line(go({"collect", "-o", "empty", "empty"}), 2, {"empty: there is no .csv"});
  expect_one_line(go({"collect", "-o", "empty", "params.json"}), 2, {"is no .csv file"});
  expect_one_line(go({"collect", "-o", "empty", "x.csv"}), 2, {"x.csv: there is no such file"});
  expect_one_line(go({"collect", "-o", "empty", "--output", "x.json"}), 2, {"ends in .csv"});
}

TEST_F(ProgramSubmit, StatusOfRunsThatWereNeverSubmitted) {
  ASSERT_EQ(
      go({"-p", "params.json", "-o", "sweep", "--data-dir", "data", "--run-index", "4"}).status, 0);
  const Outcome table = go({"status", "-o", "sweep", "-p", "params.json", "--data-dir", "data"});
  EXPECT_EQ(table.status, 0) << table.error;
  EXPECT_NE(table.out.find("6 runs: 1 finished, 5 missing\n"), std::string::npos) << table.out;
  const Json list = Json::parse(
      go({"status", "-o", "sweep", "-p", "params.json", "--data-dir", "data", "--json"}).out);
  ASSERT_EQ(list.size(), 6u);
  EXPECT_EQ(list[4].at("state"), "finished");
  EXPECT_EQ(list[5].at("state"), "missing");
  EXPECT_EQ(list[5].at("dataset"), "two words");
  EXPECT_EQ(list[5].at("attempt"), 0);
  EXPECT_FALSE(fs::exists(here_ / "sweep/jobs"));
}

TEST_F(ProgramSubmit, AnotherVolumeIsAnotherRun) {
  const fs::path raw = here_ / "data/two words_41x41x41_uint8.raw";
  const Words choice = {"-p", "params.json", "-o", "sweep", "--volume", raw.string()};
  Words train = choice, look = choice;
  train.insert(train.end(), {"--run-index", "1"});
  look.insert(look.begin(), "status");
  ASSERT_EQ(go(train).status, 0);
  fs::create_directories(here_ / "sweep/jobs");
  EXPECT_NE(go(look).out.find("6 runs: 1 finished, 5 missing\n"), std::string::npos);
  std::string voxels = contents(raw);
  std::reverse(voxels.begin(), voxels.end());
  write_text(raw, voxels);
  EXPECT_NE(go(look).out.find("6 runs: 6 missing\n"), std::string::npos);
}

TEST_F(ProgramSubmit, KnowsRunsOnVolumesOfSeveralComponents) {
  std::string voxels = contents(demo_volume()).substr(0, 2 * 16 * 16 * 16);
  for (std::size_t i = 0; i < voxels.size(); ++i) voxels[i] = static_cast<char>(i * i / 7);
  write_text(here_ / "data/flow_2x16x16x16_uint8.raw", voxels);
  write_text(here_ / "params.json", params_of("flow", small_run()));
  const Words choice = {"-p", "params.json", "-o", "sweep", "--data-dir", "data"};
  Words look = choice;
  look.insert(look.begin(), "status");
  const Outcome trained = go(choice);
  ASSERT_EQ(trained.status, 0) << trained.error;
  EXPECT_NE(go(look).out.find("1 run: 1 finished\n"), std::string::npos) << go(look).out;
}

TEST_F(ProgramSubmit, KnowsRunsOnVoxelsBesideAHeader) {
  fs::copy_file(demo_volume(), here_ / "data/nucleon_41x41x41_uint8.raw");
  fs::copy_file(fs::path(demo_volume()).replace_extension(".nhdr"),
                here_ / "data/nucleon_41x41x41_uint8.nhdr");
  write_text(here_ / "params.json", params_of("nucleon", small_run()));
  const Words choice = {"-p", "params.json", "-o", "sweep", "--data-dir", "data"};
  ASSERT_EQ(go(choice).status, 0);
  Words look = choice;
  look.insert(look.begin(), "status");
  EXPECT_NE(go(look).out.find("1 run: 1 finished\n"), std::string::npos) << go(look).error;
  // Other voxels are another volume.
  std::fstream(here_ / "data/nucleon_41x41x41_uint8.raw", std::ios::in | std::ios::out) << "abc";
  EXPECT_NE(go(look).out.find("1 run: 1 missing\n"), std::string::npos) << go(look).out;
}

TEST_F(ProgramSubmit, CollectsFilesThatAreNamed) {
  for (const char* index : {"0", "1"})
    ASSERT_EQ(go({"-p", "params.json", "-o", "sweep", "--data-dir", "data", "--run-index", index,
                  "--output", "more/" + std::string(index) + ".csv"})
                  .status,
              0);
  const Outcome done = go({"collect", "more", "more/1.csv", "--output", "all.csv"});
  EXPECT_EQ(done.status, 0) << done.error;
  EXPECT_NE(done.out.find("all.csv: 2 rows, 2 new and 0 replaced"), std::string::npos) << done.out;
  EXPECT_EQ(csv(here_ / "all.csv").size(), 2u);
  EXPECT_EQ(lines(contents(here_ / "all.jsonl")).size(), 2u);
}

}  // namespace
}  // namespace kanbench::test

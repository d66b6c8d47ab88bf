#pragma once
// The program as mpirun starts it, and what mpirun itself says told apart from what it says.

#include "program_running.h"

namespace kanbench::test {

/// Why nothing can be run by mpirun here; empty where it can.
inline std::string why_no_mpirun() {
  static const std::string why = [] {
    if (std::system("command -v mpirun >/dev/null 2>&1") != 0) return "there is no mpirun here";
    const TemporaryDirectory here;
    const Outcome asked =
        run(here.path(), {"--params", "none", "--communicator", "mpi", "--device", "cpu"});
    return asked.error.find("has no MPI") != asked.error.npos ? "this build has no MPI" : "";
  }();
  return why;
}

/// Words for mpirun: `words` for the program on each of `ranks`.
inline Words on_ranks(int ranks, const Words& words) {
  Words all = {"-n", std::to_string(ranks), KANBENCH_PROGRAM};
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

/// mpirun for more ranks than cores, by root too, and for ranks that give way to each other.
inline Environment mpirun_environment(Environment environment = {}) {
  environment.insert({{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                      {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                      {"OMPI_MCA_rmaps_base_oversubscribe", "1"},
                      {"OMPI_MCA_mpi_yield_when_idle", "1"}});
  return environment;
}

inline Outcome mpirun(const fs::path& directory, const Words& words,
                      const Environment& environment = {}) {
  return Running(directory, words, mpirun_environment(environment), "mpirun").wait();
}

/// What the program said on standard error, without what mpirun has to say of its end.
inline std::vector<std::string> complaints(const Outcome& outcome) {
  std::vector<std::string> found;
  for (const std::string& line : lines(outcome.error))
    if (line.starts_with("kanbench: ")) found.push_back(line);
  return found;
}

/// One line of the program's, with each of `says`, and this status.
inline void expect_one_complaint(const Outcome& outcome, int status, const Words& says) {
  EXPECT_EQ(outcome.status, status) << outcome.error;
  EXPECT_EQ(outcome.out, "");
  const std::vector<std::string> found = complaints(outcome);
  ASSERT_EQ(found.size(), 1u) << outcome.error;
  for (const std::string& word : says)
    EXPECT_NE(found[0].find(word), std::string::npos) << "no '" << word << "' in: " << found[0];
}

/// A run on the CPU, a thread a rank.
class ProgramUnderMpirun : public testing::Test {
 protected:
  void SetUp() override {
    if (!why_no_mpirun().empty()) GTEST_SKIP() << why_no_mpirun();
    write_text(here_ / "p.json", params_of("nucleon", small_run()));
  }
  Words bench(const std::string& output, const Words& more = {}, const fs::path& data = demo_data(),
              const std::string& params = "p.json") const {
    Words words = {"--params",   (here_ / params).string(),
                   "--data-dir", data.string(),
                   "-o",         (here_ / output).string(),
                   "--threads",  "1",
                   "--device",   "cpu"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Outcome go(int ranks, const Words& words, const Environment& environment = {}) const {
    return mpirun(here_.path(), on_ranks(ranks, words), environment);
  }
  /// The only row that `ranks` write.
  Json train(int ranks, const std::string& output, const Words& more = {},
             const fs::path& data = demo_data()) const {
    const Outcome done = go(ranks, bench(output, more, data));
    EXPECT_EQ(done.status, 0) << done.error;
    const Json row = only_run(here_ / output).at("row");
    EXPECT_EQ(row.value("status", ""), "finished");
    EXPECT_EQ(row.value("ranks", 0), ranks);
    EXPECT_FALSE(fs::exists(here_ / output / "checkpoints"));
    return row;
  }
  /// The one file of this kind that a run keeps.
  fs::path file_of(const std::string& output, const std::string& extension) const {
    const std::vector<fs::path> found = files_below(here_ / output, extension);
    EXPECT_EQ(found.size(), 1u) << output << " " << extension;
    return found.empty() ? fs::path() : found[0];
  }

  TemporaryDirectory here_;
};

}  // namespace kanbench::test

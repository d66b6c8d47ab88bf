// submit, status and collect against schedulers: Slurm itself where it is installed, and a stand-in
// for PBS. The same must hold of both.

#include "cluster_support.h"

namespace kanbench::test {
namespace {

// Three of twelve runs fail when they are first tried: one at once, one out of memory, and one that
// hears no signal and takes for ever. `here` is where it leaves its notes.
std::string faulty_program(const fs::path& here) {
  return R"(#!/bin/bash
run=none
words=("$@")
for i in "${!words[@]}"; do
  if [ "${words[i]}" = --run-index ]; then run=${words[i + 1]}; fi
done
note=")" +
         here.string() + R"(/tried-$run"
if [ ! -e "$note" ]; then
  : >"$note"
  case $run in
    3) echo "starting"; echo "no such luck" >&2; exit 3 ;;
    5) echo "kanbench: out of memory: 123 bytes are not to be had" >&2; exit 1 ;;
    7) trap '' USR1 TERM; echo "for ever"; while :; do sleep 1; done ;;
  esac
fi
exec )" KANBENCH_PROGRAM R"( "$@"
)";
}

std::unique_ptr<Cluster> make_cluster(const std::string& name) {
  if (name == "slurm") return std::make_unique<SlurmCluster>();
  return std::make_unique<PbsCluster>(name == "pbs_without_history");
}

class ProgramCluster : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    cluster_ = make_cluster(GetParam());
    if (!cluster_->absent().empty())
      GTEST_SKIP() << "NOT TESTED with " << GetParam() << ": " << cluster_->absent();
    // Names that a shell would take apart.
    here_ = directory_ / "two words $HOME 'quoted'";
    fs::create_directories(here_ / "data");
    fs::copy_file(demo_volume(), here_ / "data/a volume_41x41x41_uint8.raw");
    write_site(KANBENCH_PROGRAM);
    Json run = small_run();
    Json rates = Json::array();
    for (int i = 1; i <= 12; ++i) rates.push_back(i * 1e-3);
    run["lrate"] = {{"values", rates}};
    write_text(here_ / "params.json", params_of("a volume", run));
  }

  void write_site(const std::string& program) const {
    Json site = cluster_->site();
    site["program"] = program;
    write_text(here_ / "site.json", site.dump());
  }
  void use_faulty_program() const {
    const fs::path program = here_ / "faulty";
    write_text(program, faulty_program(directory_.path()));
    fs::permissions(program, fs::perms::owner_all);
    write_site(program.string());
  }

  Outcome go(const Words& words) const { return run(here_, words, cluster_->environment()); }
  Outcome submit(const Words& more = {}) const {
    Words words = {"submit",  "-p",     "params.json", "--site",     "./site.json", "-o",
                   "out put", "--wait", "0.2",         "--data-dir", "data"};
    words.insert(words.end(), more.begin(), more.end());
    return go(words);
  }
  Json status() const {
    const Outcome told = go({"status", "-o", "out put", "--json"});
    EXPECT_EQ(told.status, 0) << told.error;
    return told.status == 0 ? Json::parse(told.out) : Json::array();
  }
  static int count(const Json& runs, const std::string& state) {
    int found = 0;
    for (const Json& run : runs) found += run.at("state") == state;
    return found;
  }
  // Waits until so many runs are in that state.
  bool reach(int wanted, const std::string& state, double seconds = 60) const {
    Json last;
    const bool reached = wait_until(
        [&] {
          usleep(200000);
          last = status();
          return count(last, state) >= wanted;
        },
        seconds);
    EXPECT_TRUE(reached) << last.dump(1);
    return reached;
  }
  Json run_of(int index) const {
    for (const Json& run : status())
      if (run.at("run_index") == index) return run;
    return {};
  }
  Json book() const { return Json::parse(contents(here_ / "out put/jobs/jobs.json")); }

  TemporaryDirectory directory_;
  fs::path here_;
  std::unique_ptr<Cluster> cluster_;
};

TEST_P(ProgramCluster, SubmitsOnceRetriesWhatFailedAndCollects) {
  use_faulty_program();
  const Outcome first = submit();
  ASSERT_EQ(first.status, 0) << first.error;
  EXPECT_NE(first.out.find("12 runs submitted in 1 job\n"), std::string::npos) << first.out;
  const Outcome second = submit();
  EXPECT_EQ(second.status, 0) << second.error;
  EXPECT_NE(second.out.find("0 runs submitted in 0 jobs"), std::string::npos) << second.out;

  ASSERT_TRUE(reach(9, "finished"));
  ASSERT_TRUE(reach(2, "failed"));
  const std::string id = book().at("jobs")[0].at("id");
  cluster_->time_out(id, 7);
  ASSERT_TRUE(reach(3, "failed"));
  EXPECT_EQ(run_of(3).at("why"), "exit status 3");
  EXPECT_EQ(run_of(3).at("last_line"), "no such luck");
  EXPECT_EQ(run_of(5).at("why"), "out of memory");
  EXPECT_EQ(run_of(7).at("why"), "timeout");
  EXPECT_EQ(run_of(7).at("last_line"), "for ever");

  // Failed runs are not submitted unless that is asked for.
  EXPECT_NE(submit().out.find("0 runs submitted"), std::string::npos);
  EXPECT_NE(submit().out.find("3 failed (--retry-failed)"), std::string::npos);
  const Outcome third = submit({"--retry-failed"});
  ASSERT_EQ(third.status, 0) << third.error;
  EXPECT_NE(third.out.find("3 runs submitted in 3 jobs"), std::string::npos) << third.out;
  ASSERT_TRUE(reach(12, "finished"));
  EXPECT_EQ(run_of(7).at("attempt"), 2);
  // Each asks for what it lacked.
  const Json jobs = book().at("jobs");
  ASSERT_EQ(jobs.size(), 4u);
  for (std::size_t i = 1; i < 4; ++i) {
    const int index = jobs[i].at("elements")[0][0].at("run_index");
    EXPECT_EQ(jobs[i].at("minutes"), index == 7 ? 60 : 30);
    EXPECT_DOUBLE_EQ(jobs[i].at("safety_margin"), index == 5 ? 0.8 * 0.6 : 0.8);
    EXPECT_EQ(jobs[i].at("memory_gb"), index == 5 ? 6 : 3);
  }
  EXPECT_NE(submit({"--retry-failed"}).out.find("0 runs submitted"), std::string::npos);

  const Outcome merged = go({"collect", "-o", "out put"});
  ASSERT_EQ(merged.status, 0) << merged.error;
  EXPECT_NE(merged.out.find("12 rows, 12 new"), std::string::npos) << merged.out;
  const auto rows = csv(here_ / "out put/results.csv");
  ASSERT_EQ(rows.size(), 12u);
  for (std::size_t i = 0; i < 12; ++i) {
    EXPECT_EQ(rows[i].at("run_index"), std::to_string(i));
    EXPECT_EQ(rows[i].at("status"), "finished");
    EXPECT_EQ(rows[i].at("dataset_name"), "a volume");
  }
  EXPECT_EQ(files_below(here_ / "out put/parts", ".csv").size(), 12u);
  EXPECT_EQ(go({"collect", "-o", "out put", "--remove-parts"}).status, 0);
  EXPECT_EQ(files_below(here_ / "out put/parts", ".csv").size(), 0u);
  EXPECT_EQ(csv(here_ / "out put/results.csv").size(), 12u);
  EXPECT_EQ(count(status(), "finished"), 12);
}

TEST_P(ProgramCluster, KeepsSoManyInTheQueue) {
  const Outcome all = submit({"--max-jobs", "5"});
  ASSERT_EQ(all.status, 0) << all.error;
  EXPECT_NE(all.out.find("12 runs submitted"), std::string::npos) << all.out;
  EXPECT_NE(all.error.find("waiting for room in the queue, 5 at a time"), std::string::npos)
      << all.error;
  for (const Json& job : book().at("jobs")) EXPECT_LE(job.at("elements").size(), 5u);
  // Whoever looks at the moment that a run ends does not take it for failed.
  EXPECT_EQ(all.out.find("failed"), std::string::npos) << all.out;
  EXPECT_TRUE(wait_until(
      [&] {
        const Json now = status();
        EXPECT_EQ(count(now, "failed"), 0) << now.dump(1);
        return count(now, "finished") == 12;
      },
      60));
}

TEST_P(ProgramCluster, GoesOnFromTheCheckpointOfAnInterruptedRun) {
  // A run that would take for ever, asked to stop.
  Json run = small_run();
  run["epochs"] = 2000000;
  write_text(here_ / "params.json", params_of("a volume", run));
  const Words words = {"--walltime", "0:30:00", "--checkpoint-every", "20epochs"};
  ASSERT_EQ(submit(words).status, 0);
  const fs::path checkpoints = here_ / "out put/checkpoints";
  ASSERT_TRUE(wait_until([&] { return fs::exists(checkpoints) && !fs::is_empty(checkpoints); }));
  const Json job = book().at("jobs")[0];
  // PBS ends it when its time is over.
  if (cluster_->name() == "slurm") {
    const Outcome asked = run_other(
        directory_.path(), {"scancel", "--batch", "--signal=USR1", job.at("id").get<std::string>()},
        cluster_->environment());
    EXPECT_EQ(asked.status, 0) << asked.error;
  }
  ASSERT_TRUE(reach(1, "interrupted", 40)) << status().dump(1);
  EXPECT_FALSE(fs::is_empty(checkpoints));
  const Outcome again = submit(words);
  EXPECT_NE(again.out.find("1 run submitted"), std::string::npos) << again.out << again.error;
  const fs::path log =
      here_ / "out put/jobs" / book().at("jobs")[1].at("name").get<std::string>() / "run-0.log";
  EXPECT_TRUE(wait_until([&] { return contents(log).find("checkpoint") != std::string::npos; }))
      << contents(log);
  cluster_->cancel(book().at("jobs")[1].at("id"));
}

TEST_P(ProgramCluster, FindsAJobThatWasSubmittedWhenItsSubmitterDied) {
  ASSERT_EQ(submit().status, 0);
  Json written = book();
  const std::string id = written.at("jobs")[0].at("id");
  written.at("jobs")[0].at("id") = "";
  write_text(here_ / "out put/jobs/jobs.json", written.dump());
  const Outcome again = submit();
  EXPECT_NE(again.out.find("0 runs submitted"), std::string::npos) << again.out << again.error;
  EXPECT_EQ(book().at("jobs")[0].at("id"), id);
  EXPECT_TRUE(reach(12, "finished"));
}

TEST_P(ProgramCluster, SaysWhatTheSchedulerSaysAndForgetsTheJob) {
  Json site = cluster_->site();
  site["program"] = KANBENCH_PROGRAM;
  site["queues"][0]["name"] = "closed";
  write_text(here_ / "site.json", site.dump());
  const Outcome refused = submit();
  EXPECT_EQ(refused.status, 2);
  EXPECT_EQ(lines(refused.error).size(), 1u) << refused.error;
  EXPECT_NE(refused.error.find(GetParam() == std::string("slurm") ? "partition" : "not enabled"),
            std::string::npos)
      << refused.error;
  EXPECT_EQ(book().at("jobs").size(), 0u);
  write_site(KANBENCH_PROGRAM);
  EXPECT_NE(submit().out.find("12 runs submitted"), std::string::npos);
  EXPECT_TRUE(reach(12, "finished"));
}

TEST_P(ProgramCluster, DoesNotTakeSilenceForAnEnd) {
  // One run goes on until it is cancelled, so that there is something to ask.
  use_faulty_program();
  ASSERT_EQ(submit().status, 0);
  ASSERT_TRUE(reach(1, "running"));
  const std::string before = book().at("jobs").dump();
  for (const Words& words : {Words{"submit", "-p", "params.json", "--site", "./site.json", "-o",
                                   "out put", "--data-dir", "data", "--retry-failed"},
                             Words{"status", "-o", "out put"}}) {
    const Outcome told = run(here_, words, cluster_->broken_environment());
    EXPECT_EQ(told.status, 1) << told.error;
    EXPECT_EQ(lines(told.error).size(), 1u) << told.error;
  }
  EXPECT_EQ(book().at("jobs").dump(), before);
  cluster_->cancel(book().at("jobs")[0].at("id"));
  ASSERT_TRUE(reach(0, "running"));
}

// Where the scheduler forgets what has ended.
class ProgramForgetful : public ProgramCluster {};

TEST_P(ProgramForgetful, KnowsWhyAllTheSame) {
  use_faulty_program();
  ASSERT_EQ(submit().status, 0);
  ASSERT_TRUE(reach(9, "finished"));
  ASSERT_TRUE(reach(3, "failed"));
  EXPECT_EQ(run_of(3).at("why"), "exit status 3");
  EXPECT_EQ(run_of(5).at("why"), "out of memory");
  EXPECT_EQ(run_of(7).at("why"), "timeout");
  EXPECT_NE(submit({"--retry-failed"}).out.find("3 runs submitted"), std::string::npos);
  EXPECT_TRUE(reach(12, "finished"));
}

INSTANTIATE_TEST_SUITE_P(Schedulers, ProgramForgetful, testing::Values("pbs_without_history"),
                         [](const auto& one) { return std::string(one.param); });

INSTANTIATE_TEST_SUITE_P(Schedulers, ProgramCluster, testing::Values("slurm", "pbs"),
                         [](const auto& one) { return std::string(one.param); });

}  // namespace
}  // namespace kanbench::test

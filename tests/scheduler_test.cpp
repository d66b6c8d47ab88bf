// Job scripts, run by the shell that a scheduler would run them by, and programs that are started.

#include "kanbench/scheduler.h"

#include <sys/stat.h>

#include "kanbench/error.h"
#include "kanbench/process.h"
#include "program_running.h"

namespace kanbench::test {
namespace {

Site make_site(const std::string& scheduler) {
  Site site;
  site.name = "here";
  site.scheduler = scheduler;
  site.account = "project";
  site.filesystems = "home:eagle";
  site.chunk = "system=here";
  site.launcher = {"mpiexec", "-n", "{processes}", "--ppn", "{per_node}", "--depth={cpus}"};
  site.directives = {"--more=1"};
  site.before = {"module load x"};
  SiteQueue shared, whole;
  shared.name = "shared";
  shared.gpus_per_node = 4;
  shared.cpus_per_process = 8;
  shared.memory_gb = 100;
  shared.max_nodes = 4;
  shared.minutes = 600;
  whole = shared;
  whole.name = "whole";
  whole.whole_nodes = true;
  site.queues = {shared, whole};
  return site;
}

Job make_job(const std::string& queue, int gpus, int nodes) {
  Job job;
  job.name = "kb-1";
  job.queue = queue;
  job.gpus = gpus;
  job.nodes = nodes;
  job.minutes = 90;
  job.memory_gb = 12.5;
  job.elements = {{{0, "a", 1, ""}}, {{4, "b", 1, ""}}, {{7, "c", 1, ""}}};
  return job;
}

std::string directives(const std::string& scheduler, const Job& job) {
  return open_scheduler(scheduler)->directives(job, make_site(scheduler));
}

TEST(Scheduler, SlurmIsAskedForWhatAJobNeeds) {
  EXPECT_EQ(directives("slurm", make_job("shared", 2, 1)), R"(#SBATCH --job-name=kb-1
#SBATCH --partition=shared
#SBATCH --account=project
#SBATCH --time=1:30:00
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --gpus-per-node=2
#SBATCH --cpus-per-task=8
#SBATCH --mem=12500M
#SBATCH --signal=B:USR1@300
#SBATCH --array=0-2
#SBATCH --output=job-%a.log
#SBATCH --more=1
)");
  Job alone = make_job("whole", 1, 1);
  alone.elements.resize(1);
  alone.minutes = 3;
  EXPECT_EQ(directives("slurm", alone), R"(#SBATCH --job-name=kb-1
#SBATCH --partition=whole
#SBATCH --account=project
#SBATCH --time=0:03:00
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=4
#SBATCH --mem=0
#SBATCH --signal=B:USR1@60
#SBATCH --output=job-0.log
#SBATCH --more=1
)");
}

TEST(Scheduler, PbsIsAskedForWhatAJobNeeds) {
  EXPECT_EQ(directives("pbs", make_job("shared", 2, 1)), R"(#PBS -N kb-1
#PBS -q shared
#PBS -A project
#PBS -l walltime=1:30:00
#PBS -l select=1:ncpus=16:ngpus=2:mpiprocs=2:mem=12500mb:system=here
#PBS -l place=scatter
#PBS -l filesystems=home:eagle
#PBS -J 0-2
#PBS -j oe
#PBS -o job-^array_index^.log
#PBS --more=1
)");
  Job alone = make_job("whole", 8, 2);
  alone.elements.resize(1);
  EXPECT_EQ(directives("pbs", alone), R"(#PBS -N kb-1
#PBS -q whole
#PBS -A project
#PBS -l walltime=1:30:00
#PBS -l select=2:mpiprocs=4:system=here
#PBS -l place=scatter:excl
#PBS -l filesystems=home:eagle
#PBS -j oe
#PBS -o job-0.log
#PBS --more=1
)");
}

// A job of one element in a directory whose name a shell would take apart, and a program that
// writes its words down.
class JobScript : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    words_.here = directory_ / "here $(touch bad) 'x'";
    words_.directory = directory_ / "job \"y\"";
    words_.parts = directory_ / "parts";
    for (const auto& path : {words_.here, words_.directory, words_.parts})
      fs::create_directories(path);
    site_ = make_site(GetParam());
    site_.before = {"export BEFORE=done"};
    words_.program = {"./program", "a b", "$HOME", "it's", "*", ""};
    job_ = make_job("shared", 1, 1);
  }
  void write_program(const std::string& text) const {
    write_text(words_.here / "program", "#!/bin/bash\n" + text);
    chmod((words_.here / "program").c_str(), 0700);
  }
  pid_t begin(int index) const {
    const auto scheduler = open_scheduler(GetParam());
    write_text(words_.directory / "script.sh", job_script(*scheduler, job_, site_, words_));
    write_text(words_.directory / "runs.txt", runs_file(job_));
    return start(words_.directory, {"script.sh"},
                 {{scheduler->index_variable(), std::to_string(index)}}, "bash");
  }
  static int finish(pid_t process) {
    int status = 0;
    waitpid(process, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  TemporaryDirectory directory_;
  Site site_;
  Job job_;
  JobWords words_;
};

TEST_P(JobScript, GivesEveryWordAsItIs) {
  write_program(R"(printf '<%s>\n' "$@" "$BEFORE" "$CUDA_VISIBLE_DEVICES"; exit 5)");
  EXPECT_EQ(finish(begin(1)), 5);
  EXPECT_EQ(contents(words_.directory / "run-4.log"),
            "<a b>\n<$HOME>\n<it's>\n<*>\n<>\n<--run-index>\n<4>\n<--output>\n<" +
                (words_.parts / "kb-1-4.csv").string() + ">\n<done>\n<>\n");
  EXPECT_EQ(contents(words_.directory / "run-4.exit"), "5\n");
  EXPECT_FALSE(contents(words_.directory / "run-4.started").empty());
  EXPECT_FALSE(fs::exists(words_.here / "bad"));
  EXPECT_EQ(part_of(words_.parts, "kb-1", 4), words_.parts / "kb-1-4.csv");
}

TEST_P(JobScript, AnElementThatIsNotThereIsSaid) {
  write_program("exit 0");
  EXPECT_EQ(finish(begin(3)), 1);
  EXPECT_NE(contents(words_.directory / "error").find("no line 4"), std::string::npos);
}

TEST_P(JobScript, RunsSideBySideHaveTheirOwnDevices) {
  job_.queue = "whole";
  job_.elements = {{{0, "a", 1, ""}, {1, "b", 1, ""}, {2, "c", 1, ""}}};
  write_program(R"(echo "$CUDA_VISIBLE_DEVICES"; while [ $# -gt 0 ]; do
if [ "$1" = --run-index ]; then exit "$2"; fi; shift; done)");
  EXPECT_EQ(finish(begin(0)), 2);
  for (const char* run : {"0", "1", "2"}) {
    const std::string stem = std::string("run-") + run;
    EXPECT_EQ(contents(words_.directory / (stem + ".log")), run + std::string("\n"));
    EXPECT_EQ(contents(words_.directory / (stem + ".exit")), run + std::string("\n"));
  }
  job_.gpus = 2;
  site_.launcher = {"env", "N={processes}/{nodes}/{per_node}/{cpus}"};
  write_program("echo \"$CUDA_VISIBLE_DEVICES $N\"");
  EXPECT_EQ(finish(begin(0)), 0);
  EXPECT_EQ(contents(words_.directory / "run-1.log"), "2,3 2/1/2/8\n");
}

TEST_P(JobScript, HandsSignalsOnAndWaits) {
  job_.elements = {{{0, "a", 1, ""}, {1, "b", 1, ""}}};
  write_program(
      R"(trap 'echo told; sleep 0.3; exit 7' USR1; echo ready; while :; do sleep 0.05; done)");
  const pid_t script = begin(0);
  const auto ready = [&](const char* run) {
    return contents(words_.directory / run).find("ready") != std::string::npos;
  };
  ASSERT_TRUE(wait_until([&] { return ready("run-0.log") && ready("run-1.log"); }));
  kill(script, SIGUSR1);
  EXPECT_EQ(finish(script), 7);
  for (const char* run : {"run-0", "run-1"}) {
    EXPECT_EQ(contents(words_.directory / (run + std::string(".exit"))), "7\n");
    EXPECT_EQ(contents(words_.directory / (run + std::string(".log"))), "ready\ntold\n");
  }
  EXPECT_TRUE(fs::exists(words_.directory / "stopped-0"));
}

TEST(JobScriptOfPbs, AsksToStopBeforeTheEnd) {
  const Site site = make_site("pbs");
  const std::string script =
      job_script(*open_pbs(), make_job("shared", 1, 1), site, {{"x"}, "/h", "/j", "/p"});
  EXPECT_NE(script.find("sleep 5100 & wait $!; kill -USR1 $$)"), std::string::npos) << script;
}

INSTANTIATE_TEST_SUITE_P(Schedulers, JobScript, testing::Values("slurm", "pbs"),
                         [](const auto& one) { return std::string(one.param); });

TEST(Process, GivesWhatAProgramWroteAndHowItEnded) {
  const TemporaryDirectory here;
  ProcessEnd end = run_process({"sh", "-c", "pwd; echo no >&2; read x; exit 3"}, here.path());
  EXPECT_EQ(end.status, 3);
  EXPECT_EQ(end.out, fs::canonical(here.path()).string() + "\n");
  EXPECT_EQ(end.error, "no\n");
  EXPECT_EQ(run_process({"sh", "-c", "kill -9 $$"}).status, 137);
  end = run_process({"sh", "-c", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"});
  EXPECT_EQ(end.out.size(), 300000u);
  EXPECT_EQ(end.error.size(), 300000u);
  EXPECT_EQ(run_process({"printf", "%s|", "a b", "$HOME", "'"}).out, "a b|$HOME|'|");
  EXPECT_NE(message_of<Error>([] { run_process({"no-such-program"}); }).find("no-such-program"),
            std::string::npos);
  EXPECT_THROW(run_process({"true"}, here / "absent"), Error);
}

TEST(Process, AWordOfTheShellIsOneWord) {
  for (const std::string& word : {std::string("a b"), std::string("it's"), std::string(""),
                                  std::string("$x `y` \"z\" \\ *\n;"), std::string("plain-1.2/x")})
    EXPECT_EQ(run_process({"sh", "-c", "printf %s " + shell_word(word)}).out, word);
  EXPECT_EQ(shell_word("plain-1.2/x"), "plain-1.2/x");
}

}  // namespace
}  // namespace kanbench::test

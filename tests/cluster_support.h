#pragma once
// Schedulers for tests: Slurm's own daemons on one node, and the stand-in for PBS.

#include <pwd.h>

#include "port.h"
#include "program_running.h"

namespace kanbench::test {

/// Runs a program of PATH to its end.
inline Outcome run_other(const fs::path& directory, Words words, const Environment& environment) {
  const std::string program = words.front();
  words.erase(words.begin());
  int status = 0;
  waitpid(start(directory, words, environment, program), &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          contents(directory / "out"), contents(directory / "error")};
}

inline bool in_path(const std::string& program) {
  std::istringstream places(std::getenv("PATH") ? std::getenv("PATH") : "");
  for (std::string place; std::getline(places, place, ':');)
    if (access((place + "/" + program).c_str(), X_OK) == 0) return true;
  return false;
}

/// A scheduler that is there while the object lives.
class Cluster {
 public:
  virtual ~Cluster() = default;
  /// Why it could not be started, or empty.
  virtual std::string absent() const = 0;
  virtual Environment environment() const = 0;
  /// With it the scheduler does not answer.
  virtual Environment broken_environment() const = 0;
  /// What a site's file says of it, its program left out.
  virtual Json site() const = 0;
  /// Ends the element of a job as if its time was over, if that would not come by itself.
  virtual void time_out(const std::string& id, int element) = 0;
  virtual void cancel(const std::string& id) = 0;
  virtual std::string name() const = 0;
};

/// slurmctld and slurmd, if they are installed.
class SlurmCluster : public Cluster {
 public:
  SlurmCluster() {
    for (const char* program : {"slurmctld", "slurmd", "sbatch", "squeue"})
      if (!in_path(program)) {
        absent_ = std::string(program) + " is missing (Debian: slurm-wlm)";
        return;
      }
    for (const char* place : {"state", "spool", "c", "d", "s"})
      fs::create_directories(run_ / place);
    configure();
    const std::string conf = (run_ / "slurm.conf").string();
    controller_ = std::make_unique<Running>(run_ / "c", Words{"-D", "-c", "-f", conf},
                                            Environment{}, "slurmctld");
    node_ = std::make_unique<Running>(run_ / "d", Words{"-D", "-f", conf, "-N", host()},
                                      Environment{}, "slurmd");
    const bool idle = wait_until(
        [&] {
          usleep(200000);
          return run_other(run_ / "s", {"sinfo", "-h", "-o", "%T"}, environment()).out ==
                     "idle\n" ||
                 controller_->ended() || node_->ended();
        },
        30);
    if (!idle || controller_->ended() || node_->ended())
      absent_ = "Slurm's daemons do not start: " + controller_->said() + node_->said();
  }
  // What still runs would look for its controller for minutes.
  ~SlurmCluster() override {
    if (absent_.empty()) {
      run_other(run_ / "s", {"scancel", "--user=" + user()}, environment());
      wait_until(
          [&] {
            usleep(200000);
            return run_other(run_ / "s", {"squeue", "-h"}, environment()).out.empty();
          },
          20);
    }
    for (const auto& daemon : {node_.get(), controller_.get()})
      if (daemon) daemon->wait(SIGTERM);
  }

  std::string name() const override { return "slurm"; }
  std::string absent() const override { return absent_; }
  Environment environment() const override {
    return {{"SLURM_CONF", (run_ / "slurm.conf").string()}};
  }
  Environment broken_environment() const override {
    // It would take minutes to say so itself.
    const fs::path program = run_ / "broken" / "squeue";
    fs::create_directories(program.parent_path());
    write_text(
        program,
        "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller (connect "
        "failure)' >&2\nexit 1\n");
    fs::permissions(program, fs::perms::owner_all);
    Environment all = environment();
    all["PATH"] = program.parent_path().string() + ":" + std::getenv("PATH");
    return all;
  }
  Json site() const override {
    return {{"scheduler", "slurm"},
            {"queues", {{{"name", "debug"}, {"memory_gb", 9}, {"walltime", "2:00:00"}}}}};
  }
  // The controller looks at ends of jobs twice a minute.
  void time_out(const std::string& id, int element) override {
    const Outcome told = run_other(
        run_ / "s",
        {"scontrol", "update", "JobId=" + id + "_" + std::to_string(element), "EndTime=now+1"},
        environment());
    EXPECT_EQ(told.status, 0) << told.error;
  }
  void cancel(const std::string& id) override {
    EXPECT_EQ(run_other(run_ / "s", {"scancel", id}, environment()).status, 0);
  }

 private:
  static std::string host() {
    char name[256] = "";
    gethostname(name, sizeof name - 1);
    return std::string(name).substr(0, std::string(name).find('.'));
  }
  static std::string user() {
    const passwd* entry = getpwuid(getuid());
    return entry ? entry->pw_name : "root";
  }
  void configure() const {
    std::string text = contents(source_directory() / "tests/slurm_onenode.conf");
    const Port port, node_port;
    const std::pair<std::string, std::string> values[] = {
        {"@HOST@", host()},
        {"@RUN@", run_.string()},
        {"@USER@", user()},
        {"@PORT@", std::to_string(port.number())},
        {"@NODE_PORT@", std::to_string(node_port.number())}};
    for (const auto& [name, value] : values)
      for (std::size_t at; (at = text.find(name)) != text.npos;)
        text.replace(at, name.size(), value);
    write_text(run_ / "slurm.conf", text);
  }

  TemporaryDirectory directory_;
  fs::path run_ = directory_.path();
  std::string absent_;
  std::unique_ptr<Running> controller_, node_;
};

/// tests/pbs_stand_in.py by the names of PBS's programs.
class PbsCluster : public Cluster {
 public:
  /// `forgetful`: a server that keeps no history.
  explicit PbsCluster(bool forgetful = false) : forgetful_(forgetful) {
    if (!in_path("python3")) absent_ = "python3 is missing";
    fs::create_directories(directory_ / "programs");
    fs::create_directories(directory_ / "jobs");
    for (const char* program : {"qsub", "qstat", "qselect", "qdel"})
      fs::create_symlink(source_directory() / "tests/pbs_stand_in.py",
                         directory_ / "programs" / program);
  }
  // What still runs ends soon after.
  ~PbsCluster() override {
    for (const auto& entry : fs::directory_iterator(directory_ / "jobs"))
      if (entry.path().extension() == ".json") cancel(entry.path().stem().string());
    usleep(700000);
  }

  std::string name() const override { return "pbs"; }
  std::string absent() const override { return absent_; }
  Environment environment() const override {
    Environment all = {{"PATH", (directory_ / "programs").string() + ":" + std::getenv("PATH")},
                       {"PBS_STAND_IN", (directory_ / "jobs").string()},
                       {"PBS_STAND_IN_MINUTE", "0.25"}};
    if (forgetful_) all["PBS_STAND_IN_NO_HISTORY"] = "1";
    return all;
  }
  Environment broken_environment() const override {
    Environment all = environment();
    all["PBS_STAND_IN_DOWN"] = "1";
    return all;
  }
  Json site() const override {
    return {{"scheduler", "pbs"},
            {"queues", {{{"name", "workq"}, {"memory_gb", 9}, {"walltime", "2:00:00"}}}}};
  }
  void time_out(const std::string&, int) override {}
  void cancel(const std::string& id) override {
    EXPECT_EQ(run_other(directory_.path(), {"qdel", id}, environment()).status, 0);
  }

 private:
  TemporaryDirectory directory_;
  std::string absent_;
  bool forgetful_;
};

}  // namespace kanbench::test

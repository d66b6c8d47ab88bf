#pragma once
// What was submitted to a scheduler for an output directory, so that nothing is submitted twice.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kanbench/volume.h"

namespace kanbench {

/// A run as an element of a job's array does it.
struct JobRun {
  std::int64_t index = 0;
  std::string run_id;
  /// How often it has been submitted, this time counted.
  int attempt = 1;
  /// Why it ended without a row, once that is known: schedulers forget.
  std::string end;
};

/// A job, an array where it has several elements.
struct Job {
  std::string name;
  /// The scheduler's; empty while it is being submitted.
  std::string id;
  std::string scheduler, queue;
  /// Of each run, and of each element.
  int gpus = 0, nodes = 1, minutes = 0;
  double memory_gb = 0, safety_margin = 0;
  /// Seconds since 1970.
  std::int64_t submitted_at = 0;
  /// The runs of each element, which it does side by side.
  std::vector<std::vector<JobRun>> elements;
};

/// A run that was asked for.
struct BookedRun {
  std::string run_id;
  std::int64_t index = 0;
  std::string dataset, network_type;
};

/// What a volume's files gave when they were read; they are read again when size or time change.
struct BookedVolume {
  /// With what becomes of voxels without a value.
  std::string path;
  std::uintmax_t file_bytes = 0;
  std::int64_t modified = 0;
  std::string signature;
  Shape shape;
  int components = 1;
  std::int64_t data_bytes = 0;
};

/// OUTPUT_DIR/jobs/jobs.json.
class JobBook {
 public:
  /// `held`: for this process alone while the object lives, to be changed; `seen`: as it is,
  /// nothing is written.
  enum class Use { held, seen };
  /// Throws Error where the file is not one of ours.
  JobBook(const std::filesystem::path& output_directory, Use use);
  JobBook(JobBook&&) noexcept;
  ~JobBook();

  std::vector<Job> jobs;
  std::vector<BookedRun> runs;
  std::vector<BookedVolume> volumes;

  bool is_held() const { return lock_ != nullptr; }
  /// Writes the file, whole or not at all.
  void save() const;
  /// Where a job's files lie: script.sh, runs.txt, logs and exit statuses.
  std::filesystem::path directory_of(const std::string& job_name) const;
  /// The last job that has the run, and the run there; null where none has.
  const Job* last_job(const std::string& run_id, const JobRun** run = nullptr) const;
  /// The name of the next job: that of the directory and a number.
  std::string next_name() const;

 private:
  std::filesystem::path file() const { return directory_ / "jobs.json"; }

  std::filesystem::path directory_;
  struct Lock;
  std::unique_ptr<Lock> lock_;
};

}  // namespace kanbench

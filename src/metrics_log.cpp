#include "kanbench/metrics_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "io/event_file.h"
#include "io/partial_file.h"
#include "kanbench/error.h"
#include "this_machine.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

double now() {
  using Clock = std::chrono::system_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

// A file that grows by one write a record. The disk is not waited for, a training would be.
class GrowingFile {
 public:
  explicit GrowingFile(fs::path path)
      : path_(std::move(path)), descriptor_(open_retrying(path_, O_WRONLY | O_CREAT | O_APPEND)) {
    if (descriptor_ < 0) fail_on_file(path_, "cannot be written", errno);
  }
  ~GrowingFile() { ::close(descriptor_); }
  GrowingFile(const GrowingFile&) = delete;
  GrowingFile& operator=(const GrowingFile&) = delete;

  void append(const std::string& record) {
    ssize_t written;
    do written = ::write(descriptor_, record.data(), record.size());
    while (written < 0 && errno == EINTR);
    if (written != static_cast<ssize_t>(record.size()))
      fail_on_file(path_, "writing failed", written < 0 ? errno : ENOSPC);
  }

 private:
  fs::path path_;
  int descriptor_;
};

class LineLog : public MetricsLog {
 public:
  explicit LineLog(const fs::path& path) : file_(path) {}

  void add(std::uint64_t seed, std::int64_t step, std::span<const Scalar> scalars) override {
    nlohmann::ordered_json line = {{"time", now()}, {"seed", seed}, {"step", step}};
    for (const Scalar& scalar : scalars) {
      line[scalar.tag] = nullptr;
      if (std::isfinite(scalar.value)) line[scalar.tag] = scalar.value;
    }
    file_.append(line.dump() + "\n");
  }

 private:
  GrowingFile file_;
};

// A directory a training, which TensorBoard shows as a run, and in it a file a process.
class EventLog : public MetricsLog {
 public:
  EventLog(fs::path directory, std::string stem)
      : directory_(std::move(directory)), stem_(std::move(stem)) {}

  void add(std::uint64_t seed, std::int64_t step, std::span<const Scalar> scalars) override {
    file_of(seed).append(event_record(scalars_event(now(), step, scalars)));
  }

 private:
  GrowingFile& file_of(std::uint64_t seed) {
    std::unique_ptr<GrowingFile>& file = files_[seed];
    if (file) return *file;
    const fs::path directory = directory_ / (stem_ + "_seed" + std::to_string(seed));
    fs::create_directories(directory);
    const double time = now();
    file = std::make_unique<GrowingFile>(
        directory / ("events.out.tfevents." + std::to_string(static_cast<std::int64_t>(time)) +
                     "." + this_host() + "." + std::to_string(getpid())));
    file->append(event_record(version_event(time)));
    return *file;
  }

  fs::path directory_;
  std::string stem_;
  std::map<std::uint64_t, std::unique_ptr<GrowingFile>> files_;
};

}  // namespace

std::unique_ptr<MetricsLog> open_metrics_log(const std::string& form, const fs::path& directory,
                                             const std::string& stem) {
  if (form == "jsonl") return std::make_unique<LineLog>(directory / (stem + ".metrics.jsonl"));
  if (form == "tensorboard") return std::make_unique<EventLog>(directory, stem);
  throw Error("--metrics-log " + form + ": use jsonl or tensorboard");
}

}  // namespace kanbench

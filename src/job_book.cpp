#include "kanbench/job_book.h"

#include <nlohmann/json.hpp>

#include "hash.h"
#include "json_node.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "shared_file.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kVersion = 2;

Json to_json(const JobRun& run) {
  Json json{{"run_index", run.index}, {"run_id", run.run_id}, {"attempt", run.attempt}};
  if (!run.end.empty()) json["end"] = run.end;
  return json;
}

Json to_json(const Job& job) {
  Json elements = Json::array();
  for (const auto& element : job.elements) {
    Json runs = Json::array();
    for (const JobRun& run : element) runs.push_back(to_json(run));
    elements.push_back(runs);
  }
  return {{"name", job.name},
          {"id", job.id},
          {"scheduler", job.scheduler},
          {"queue", job.queue},
          {"gpus", job.gpus},
          {"nodes", job.nodes},
          {"minutes", job.minutes},
          {"memory_gb", job.memory_gb},
          {"safety_margin", job.safety_margin},
          {"submitted_at", job.submitted_at},
          {"elements", elements}};
}

JobRun read_run(const Json& json) {
  return {json.at("run_index").get<std::int64_t>(), json.at("run_id").get<std::string>(),
          json.at("attempt").get<int>(), json.value("end", std::string())};
}

Job read_job(const Json& json) {
  Job job;
  json.at("name").get_to(job.name);
  json.at("id").get_to(job.id);
  json.at("scheduler").get_to(job.scheduler);
  json.at("queue").get_to(job.queue);
  json.at("gpus").get_to(job.gpus);
  json.at("nodes").get_to(job.nodes);
  json.at("minutes").get_to(job.minutes);
  json.at("memory_gb").get_to(job.memory_gb);
  json.at("safety_margin").get_to(job.safety_margin);
  json.at("submitted_at").get_to(job.submitted_at);
  for (const Json& element : json.at("elements")) {
    job.elements.emplace_back();
    for (const Json& run : element) job.elements.back().push_back(read_run(run));
  }
  // It becomes part of a path.
  if (job.name.empty() || job.name.find('/') != std::string::npos)
    throw Error("'" + job.name + "' is no job's name");
  return job;
}

BookedRun read_booked(const Json& json) {
  return {json.at("run_id").get<std::string>(), json.at("run_index").get<std::int64_t>(),
          json.at("dataset").get<std::string>(), json.at("network_type").get<std::string>()};
}

BookedVolume read_volume(const Json& json) {
  const auto shape = json.at("shape").get<std::array<std::int64_t, 3>>();
  return {json.at("path").get<std::string>(),       json.at("file_bytes").get<std::uintmax_t>(),
          json.at("modified").get<std::int64_t>(),  json.at("signature").get<std::string>(),
          {shape[0], shape[1], shape[2]},           json.at("components").get<int>(),
          json.at("data_bytes").get<std::int64_t>()};
}

void read_book(const Json& json, JobBook& book) {
  if (json.at("version").get<int>() != kVersion)
    throw Error("is of version " + json.at("version").dump() + ", this program writes " +
                std::to_string(kVersion));
  for (const Json& one : json.at("runs")) book.runs.push_back(read_booked(one));
  for (const Json& one : json.at("volumes")) book.volumes.push_back(read_volume(one));
  for (const Json& one : json.at("jobs")) book.jobs.push_back(read_job(one));
}

}  // namespace

struct JobBook::Lock {
  explicit Lock(const fs::path& path) : held(path) {}
  FileLock held;
};

JobBook::JobBook(const fs::path& output_directory, Use use)
    : directory_(fs::absolute(output_directory).lexically_normal() / "jobs") {
  if (use == Use::held) {
    require_writable(directory_, "--output-dir");
    lock_ = std::make_unique<Lock>(directory_ / "jobs.lock");
  }
  if (!fs::exists(file())) return;
  const std::string source = file().string();
  const Json json = Json::parse(to_text(parse_json(read_file(file()), source)));
  try {
    read_book(json, *this);
  } catch (const Error& error) {
    throw Error(source + ": " + error.what());
  } catch (const nlohmann::json::exception& error) {
    throw Error(source + ": is not a list of jobs that kanbench wrote (" + error.what() +
                "): take it away if none of its jobs are left");
  }
}

JobBook::JobBook(JobBook&&) noexcept = default;
JobBook::~JobBook() = default;

void JobBook::save() const {
  check(lock_ != nullptr, "a book that is only seen is not written");
  Json json{{"version", kVersion}};
  json["runs"] = json["volumes"] = json["jobs"] = Json::array();
  for (const BookedRun& run : runs)
    json["runs"].push_back({{"run_id", run.run_id},
                            {"run_index", run.index},
                            {"dataset", run.dataset},
                            {"network_type", run.network_type}});
  for (const BookedVolume& volume : volumes)
    json["volumes"].push_back({{"path", volume.path},
                               {"file_bytes", volume.file_bytes},
                               {"modified", volume.modified},
                               {"signature", volume.signature},
                               {"shape", {volume.shape.x, volume.shape.y, volume.shape.z}},
                               {"components", volume.components},
                               {"data_bytes", volume.data_bytes}});
  for (const Job& job : jobs) json["jobs"].push_back(to_json(job));
  AtomicFile out(file());
  out.write(json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
  out.commit();
}

fs::path JobBook::directory_of(const std::string& job_name) const { return directory_ / job_name; }

const Job* JobBook::last_job(const std::string& run_id, const JobRun** found) const {
  for (auto job = jobs.rbegin(); job != jobs.rend(); ++job)
    for (const auto& element : job->elements)
      for (const JobRun& run : element) {
        if (run.run_id != run_id) continue;
        if (found) *found = &run;
        return &*job;
      }
  return nullptr;
}

std::string JobBook::next_name() const {
  const std::string head = "kb-" + short_hash(directory_.string()) + "-";
  // Directories of jobs that came to nothing are stepped over.
  std::size_t number = jobs.size() + 1;
  while (fs::exists(directory_ / (head + std::to_string(number)))) ++number;
  return head + std::to_string(number);
}

}  // namespace kanbench

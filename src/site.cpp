#include "kanbench/site.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "json_node.h"
#include "json_object.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/scaling.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxNodes = 1 << 20, kMaxDevices = 64, kMaxCores = 4096;
constexpr double kMaxGigabytes = 1 << 20;

// Lines of a job script: one line each.
void require_lines(const std::vector<std::string>& lines, const std::string& at) {
  for (std::size_t i = 0; i < lines.size(); ++i)
    if (lines[i].find_first_of("\n\r") != std::string::npos)
      throw Error(item_path(at, i) + ": " + quote(lines[i]) + " is more than one line");
}

// A name that stands in a directive unquoted.
void require_word(const std::string& word, const std::string& at) {
  const auto odd = [](unsigned char c) { return c <= ' ' || c == 0x7f || c == '"' || c == '\''; };
  if (std::any_of(word.begin(), word.end(), odd))
    throw Error(at + ": " + quote(word) + " has a space or a quote in it");
}

SiteQueue read_queue(const Json& json, const std::string& at) {
  JsonObject object(json, at);
  SiteQueue queue;
  object.read("name", queue.name);
  require_word(queue.name, at + ".name");
  if (queue.name.empty()) throw Error(at + ".name: is empty");
  object.read_optional("gpus_per_node", queue.gpus_per_node, 0, kMaxDevices);
  object.read_optional("cpus_per_process", queue.cpus_per_process, 0, kMaxCores);
  object.read_optional("memory_gb", queue.memory_gb, 0, kMaxGigabytes);
  object.read_optional("min_nodes", queue.min_nodes, 1, kMaxNodes);
  object.read_optional("max_nodes", queue.max_nodes, 1, kMaxNodes);
  object.read_optional("whole_nodes", queue.whole_nodes);
  std::string walltime;
  object.read("walltime", walltime);
  queue.minutes = parse_walltime(walltime, at + ".walltime");
  object.done();
  if (queue.min_nodes > queue.max_nodes)
    throw Error(at + ".min_nodes: " + std::to_string(queue.min_nodes) +
                " is more than max_nodes, " + std::to_string(queue.max_nodes));
  return queue;
}

SiteDevice read_device(const Json& json, const std::string& at) {
  JsonObject object(json, at);
  SiteDevice device;
  object.read_optional("name", device.name);
  object.read_optional("memory_gb", device.memory_gb, 1e-3, kMaxGigabytes);
  object.read("flops_per_second", device.flops_per_second, 1e6, 1e18);
  object.read("bytes_per_second", device.bytes_per_second, 1e6, 1e18);
  object.done();
  return device;
}

std::vector<SiteQueue> read_queues(const Json& json, const std::string& at) {
  if (!json.is_array() || json.empty())
    throw Error(at + ": expected a list of queues, found " +
                (json.is_array() ? "an empty one" : json.type_name()));
  std::vector<SiteQueue> queues;
  for (const Json& one : json) {
    const std::string here = item_path(at, queues.size());
    queues.push_back(read_queue(one, here));
    for (std::size_t i = 0; i + 1 < queues.size(); ++i)
      if (queues[i].name == queues.back().name)
        throw Error(here + ".name: there is a queue " + quote(queues[i].name) + " already");
  }
  return queues;
}

void read_words(JsonObject& object, Site& site, const std::string& at) {
  for (const auto& [key, value] :
       {std::pair{"account", &site.account}, std::pair{"filesystems", &site.filesystems},
        std::pair{"chunk", &site.chunk}}) {
    object.read_optional(key, *value);
    require_word(*value, at + key);
  }
  for (const auto& [key, value] :
       {std::pair{"directives", &site.directives}, std::pair{"before", &site.before},
        std::pair{"launcher", &site.launcher}}) {
    object.read_optional(key, *value);
    require_lines(*value, at + key);
  }
  object.read_optional("program", site.program);
  if (site.program.empty()) throw Error(at + "program: is empty: name kanbench as a job finds it");
}

// Places where files of sites lie, those that there are.
std::vector<fs::path> site_directories() {
  std::vector<fs::path> candidates = {fs::path("params") / "sites"};
  std::error_code error;
  fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (int up = 0; up < 3 && !program.empty(); ++up, program = program.parent_path()) {
    candidates.push_back(program / "params" / "sites");
    candidates.push_back(program / "share" / "kanbench" / "sites");
  }
  std::erase_if(candidates, [&](const fs::path& path) { return !fs::is_directory(path, error); });
  return candidates;
}

Site load_file(const fs::path& path) {
  Site site = parse_site(read_file(path), path.string());
  site.name = path.stem().string();
  return site;
}

}  // namespace

Site parse_site(const std::string& text, const std::string& source) {
  // The tree knows of keys that are there twice.
  const Json json = Json::parse(to_text(parse_json(text, source)));
  const std::string at = source + ": ";
  JsonObject object(json, source);
  Site site;
  site.name = fs::path(source).stem().string();
  object.read("scheduler", site.scheduler);
  const std::vector<std::string> known = {"slurm", "pbs"};
  if (std::find(known.begin(), known.end(), site.scheduler) == known.end())
    throw Error(at + "scheduler: unknown " + quote(site.scheduler) +
                nearest(site.scheduler, known) + " (known: " + join(known) + ")");
  read_words(object, site, at);
  if (object.has("device")) site.device = read_device(object.take("device"), at + "device");
  object.read_optional("network", site.network);
  parse_network(site.network, at + "network");
  object.read_optional("signal_seconds", site.signal_seconds, 1, 86400);
  object.read_optional("max_jobs", site.max_jobs, 0, 1000000);
  object.read_optional("array_limit", site.array_limit, 1, 1000000);
  site.queues = read_queues(object.take("queues"), at + "queues");
  object.note("device");
  object.done();
  const auto any_device = [](const SiteQueue& queue) { return queue.gpus_per_node > 0; };
  if (site.device.flops_per_second == 0 &&
      std::any_of(site.queues.begin(), site.queues.end(), any_device))
    throw Error(at +
                "device: is missing: say what a GPU of this site computes and holds, "
                "flops_per_second, bytes_per_second and memory_gb");
  const auto several = [](const SiteQueue& queue) { return queue.gpus_per_node > 1; };
  if (site.launcher.empty() && std::any_of(site.queues.begin(), site.queues.end(), several))
    throw Error(at +
                "launcher: is missing: say what starts {processes} processes, as "
                "[\"mpiexec\", \"-n\", \"{processes}\", \"--ppn\", \"{per_node}\"]");
  return site;
}

Site load_site(const std::string& word) {
  std::error_code error;
  if (word.find('/') != word.npos || word.ends_with(".json")) return load_file(word);
  const std::vector<fs::path> directories = site_directories();
  std::vector<std::string> names, places;
  for (const fs::path& directory : directories) {
    if (const fs::path file = directory / (word + ".json"); fs::is_regular_file(file, error))
      return load_file(file);
    places.push_back(directory.string());
    for (const fs::directory_entry& entry : fs::directory_iterator(directory, error))
      if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  const std::string near = nearest(word, names);
  throw Error("--site " + quote(word) + ": there is no such site" + near +
              (near.empty() ? ";" : "") + " known are " + (names.empty() ? "none" : join(names)) +
              (places.empty() ? "" : " in " + join(places)) + "; or give a file, ./SITE.json");
}

int parse_walltime(const std::string& word, const std::string& what) {
  std::int64_t parts[3] = {};
  int count = 0;
  const char *at = word.data(), *end = at + word.size();
  bool good = !word.empty();
  while (good && count < 3) {
    const auto [stop, failure] = std::from_chars(at, end, parts[count]);
    good = failure == std::errc() && parts[count] >= 0 && parts[count] < 100000 &&
           (count == 0 || parts[count] < 60);
    ++count;
    at = stop;
    if (at == end) break;
    good = good && *at++ == ':';
  }
  const std::int64_t seconds = parts[0] * 3600 + parts[1] * 60 + parts[2];
  if (!good || at != end || count != 3 || word.back() == ':' || seconds < 60)
    throw Error(what + ": " + quote(word) +
                " is no walltime: write hours:minutes:seconds, 1:30:00");
  return static_cast<int>((seconds + 59) / 60);
}

}  // namespace kanbench

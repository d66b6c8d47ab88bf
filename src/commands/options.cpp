#include "commands/options.h"

#include <sched.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "commands/console.h"
#include "kanbench/error.h"
#include "kanbench/parallel.h"

namespace kanbench {
namespace {

// True if all of `word` is one number of type T.
template <class T>
bool parse_number(std::string_view word, T& value) {
  const char* end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, value);
  return !word.empty() && error == std::errc{} && stop == end;
}

CLI::Validator validator(std::function<std::string(std::string&)> check) {
  CLI::Validator made;
  made.operation(std::move(check)).description("");
  return made;
}

}  // namespace

CLI::Validator whole_number(std::int64_t least, std::int64_t most) {
  return validator([least, most](std::string& word) -> std::string {
    std::int64_t value = 0;
    if (parse_number(word, value) && value >= least && value <= most) return "";
    return "'" + word + "' is not a whole number from " + std::to_string(least) + " to " +
           std::to_string(most);
  });
}

CLI::Validator number(double least, double most) {
  return validator([least, most](std::string& word) -> std::string {
    double value = 0;
    if (parse_number(word, value) && value >= least && value <= most) return "";
    return "'" + word + "' is not a number from " + scientific(least) + " to " + scientific(most);
  });
}

CLI::Validator share() {
  return validator([](std::string& word) -> std::string {
    double value = 0;
    if (parse_number(word, value) && value > 0 && value <= 1) return "";
    return "'" + word + "' is not a share above 0 and up to 1: give e.g. 0.8";
  });
}

CLI::Validator one_of(std::vector<std::string> words) {
  return validator([words = std::move(words)](std::string& word) -> std::string {
    if (std::find(words.begin(), words.end(), word) != words.end()) return "";
    const std::string near = nearest(word, words);
    return "unknown '" + word + "'" + near + (near.empty() ? ":" : "") + " use one of " +
           join(words);
  });
}

namespace {

std::string default_tuning_file() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache)
    return std::string(cache) + "/kanbench/tuning.txt";
  if (const char* home = std::getenv("HOME"); home && *home)
    return std::string(home) + "/.cache/kanbench/tuning.txt";
  return "";
}

}  // namespace

void DeviceOptions::attach(CLI::App& app, const std::string& group) {
  settings_.tuning_file = default_tuning_file();
  std::vector<CLI::Option*> all;
  all.push_back(add_option(app, "--device", device_, "auto|cpu|cuda[:N]",
                           "Where to compute (default auto: the first CUDA device, else the CPU)"));
  all.push_back(add_option(app, "--threads", threads_, "N", "CPU threads (default: one per core)")
                    ->check(whole_number(1, 4096)));
  all.push_back(app.add_flag("--deterministic", settings_.deterministic,
                             "The same bits from run to run on a CUDA device too (the CPU always\n"
                             "gives them)"));
  all.push_back(app.add_flag("--texture", settings_.texture,
                             "Sample 8- and 16-bit volumes through a CUDA device's texture unit:\n"
                             "faster, weights of 8 bits"));
  all.push_back(app.add_option_function<std::string>(
                       "--device-memory-limit",
                       [this](const std::string& word) {
                         settings_.memory_limit = parse_bytes(word, "--device-memory-limit");
                       },
                       "Most memory that may be taken on the device (default: all there is);\n"
                       "a volume that does not fit is trained on in bricks")
                    ->option_text("BYTES"));
  all.push_back(add_option(app, "--tuning-file", settings_.tuning_file, "FILE",
                           "Where choices measured on a CUDA device are kept (default\n"
                           "~/.cache/kanbench/tuning.txt; '' for none)"));
  for (CLI::Option* option : all)
    if (!group.empty()) option->group(group);
}

int DeviceOptions::count_cuda() const {
  if (device_ == "cpu") return 0;
  const auto devices = static_cast<int>(list_cuda_devices().size());
  return device_.starts_with("cuda:") ? std::min(1, devices) : devices;
}

std::unique_ptr<Backend> DeviceOptions::open(std::string* said, int local_rank,
                                             int local_size) const {
  set_threads(threads_);
  const std::vector<Device> devices = list_cuda_devices();
  const bool any = device_ == "auto" || device_ == "cuda";
  if (local_size == 1 || !any || devices.empty()) return open_backend(device_, said, settings_);
  const auto mine = static_cast<std::size_t>(local_rank) % devices.size();
  return open_backend(devices[mine].name, said, settings_);
}

namespace {

// A machine and the cores there that a process may run on.
struct Place {
  char machine[64] = {};
  cpu_set_t cores = {};
};

}  // namespace

void DeviceOptions::share_cores(Communicator& communicator) const {
  if (communicator.size() == 1 || threads_ > 0) return;
  Place mine;
  gethostname(mine.machine, sizeof mine.machine - 1);
  sched_getaffinity(0, sizeof mine.cores, &mine.cores);
  std::vector<Place> all(static_cast<std::size_t>(communicator.size()));
  communicator.all_gather(&mine, sizeof mine, all.data());
  int alike = 0;
  for (const Place& other : all)
    alike += std::string(other.machine) == mine.machine && CPU_EQUAL(&other.cores, &mine.cores);
  set_threads(std::max(1, CPU_COUNT(&mine.cores) / std::max(1, alike)));
}

std::string DeviceOptions::note(const Backend& backend) const {
  if (!backend.name().starts_with("cuda")) return "";
  return std::string(settings_.deterministic ? ", deterministic" : "") +
         (settings_.texture ? ", texture" : "");
}

void PrecisionOption::attach(CLI::App& app) {
  add_option(app, "--precision", word_, "auto|fp32|tf32|fp16|bf16",
             "Arithmetic of the device (default auto: its fastest that keeps the figures)");
}

Precision PrecisionOption::resolve(const ModelSpec& spec, const Backend& backend) const {
  return resolve_precision(word_, spec, backend);
}

CLI::Option* MissingOption::attach(CLI::App& app) {
  return add_option(app, "--missing", word_, "error|nearest|min|max|mean|NUMBER",
                    "What voxels without a value become: those that are NaN, infinite or what the\n"
                    "file has for none (default error)");
}

std::size_t parse_bytes(const std::string& word, const std::string& what) {
  const std::string units = "KMGT";
  std::string digits = word;
  int shift = 0;
  if (!digits.empty())
    if (const std::size_t unit = units.find(digits.back()); unit != units.npos) {
      shift = 10 * static_cast<int>(unit + 1);
      digits.pop_back();
    }
  std::uint64_t number = 0;
  if (!parse_number(digits, number) || number == 0 || number >> (63 - shift) != 0)
    throw Error(what + " '" + word +
                "' is not a number of bytes above zero: give e.g. 2000000000, 512M or 2G");
  return static_cast<std::size_t>(number << shift);
}

Box parse_box(const std::string& word, const Shape& shape, const std::string& what) {
  const std::string form = what + " '" + word + "': ";
  const std::int64_t size[3] = {shape.x, shape.y, shape.z};
  Box box = whole(shape);
  std::string_view left = word;
  for (int axis = 0; axis < 3; ++axis) {
    const std::size_t comma = left.find(',');
    if ((comma == left.npos) != (axis == 2))
      throw Error(form + "give three ranges, x0:x1,y0:y1,z0:z1, in voxels of " + text(shape));
    const std::string_view range = left.substr(0, comma);
    left.remove_prefix(std::min(left.size(), range.size() + 1));
    const std::size_t colon = range.find(':');
    const std::string_view low = range.substr(0, colon);
    const std::string_view high = colon == range.npos ? "?" : range.substr(colon + 1);
    if ((!low.empty() && !parse_number(low, box.low[axis])) ||
        (!high.empty() && !parse_number(high, box.high[axis])))
      throw Error(form + "'" + std::string(range) +
                  "' is not a range like 0:" + std::to_string(size[axis]));
    if (box.low[axis] < 0 || box.low[axis] >= box.high[axis] || box.high[axis] > size[axis])
      throw Error(form + "'" + std::string(range) + "' is empty or reaches outside 0:" +
                  std::to_string(size[axis]) + " of " + text(shape));
  }
  return box;
}

void require_apart(const std::filesystem::path& output, const std::filesystem::path& input,
                   const std::string& what) {
  std::error_code absent;
  if (std::filesystem::equivalent(output, input, absent))
    throw Error(what + " " + output.string() + ": would overwrite " + input.string() +
                ", which it is made from: name another file");
}

Dtype require_dtype(const std::string& word, const std::string& what) {
  Dtype dtype;
  if (parse_dtype(word, dtype)) return dtype;
  throw Error(what + ": unknown dtype '" + word + "': use one of " + dtype_names());
}

}  // namespace kanbench

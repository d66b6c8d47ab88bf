#include "commands/selection.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "commands/options.h"
#include "kanbench/error.h"
#include "kanbench/io.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexVariables[] = {"PBS_ARRAY_INDEX", "SLURM_ARRAY_TASK_ID"};

const char* index_variable() {
  for (const char* name : kIndexVariables) {
    const char* value = std::getenv(name);
    if (value && *value) return name;
  }
  return nullptr;
}

// ./data, then demo_data under the working directory, the program's and those above it.
std::vector<fs::path> default_directories() {
  std::vector<fs::path> candidates = {"data", "demo_data"};
  std::error_code error;
  fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (int up = 0; up < 3 && !program.empty(); ++up, program = program.parent_path())
    candidates.push_back(program / "demo_data");
  std::vector<fs::path> found;
  for (const fs::path& candidate : candidates) {
    const auto same = [&](const fs::path& other) {
      std::error_code ignored;
      return fs::equivalent(candidate, other, ignored);
    };
    if (fs::is_directory(candidate, error) && std::none_of(found.begin(), found.end(), same))
      found.push_back(candidate);
  }
  return found;
}

// Throws what is wrong with the name of a raw file in `directory` that was meant to be `dataset`.
void refuse_misnamed(const fs::path& directory, const std::string& dataset) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error))
    if (entry.path().extension() == ".raw" &&
        entry.path().filename().string().rfind(dataset + "_", 0) == 0)
      parse_raw_name(entry.path());
}

}  // namespace

void RunSelection::attach(CLI::App& app) {
  const std::string group = "Choosing runs";
  add_option(app, "-p,--params", params_, "FILE", "Parameter file (JSON); required")
      ->required()
      ->group(group);
  add_option(app, "-d,--dataset", filter_.dataset, "NAME", "Only runs of this volume")
      ->group(group);
  add_option(app, "--network-types", filter_.network_types, "NAME",
             "Only these decoders, separated by commas (kanbench info --decoders lists them)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->group(group);
  add_option(app, "--hashmap-size", filter_.hashmap_size, "N",
             "Only runs with this log2_hashmap_size")
      ->check(whole_number(0, 30))
      ->group(group);
  add_option(app, "--run-index", filter_.run_index, "N",
             "Only the run with this index in the file (see --list); defaults to\n"
             "PBS_ARRAY_INDEX or SLURM_ARRAY_TASK_ID where one is set")
      ->check(whole_number(0))
      ->group(group);
  add_option(app, "--data-dir", data_directory_, "DIR",
             "Where volumes name_XxYxZ_dtype.raw lie (default: ./data, then demo_data)")
      ->group(group);

  const std::string numbers = "Above the file";
  add_option(app, "--batch-size", overrides_.batch_size, "N",
             "Samples a step (default: at least 256 steps an epoch, at most what fits)")
      ->check(whole_number(1, std::int64_t{1} << 32))
      ->group(numbers);
  add_option(app, "--seed", overrides_.seed, "N", "The first seed (default 0)")
      ->check(whole_number(0))
      ->group(numbers);
  add_option(app, "--precision", overrides_.precision, "auto|fp32|tf32|fp16|bf16",
             "Arithmetic of the device (default auto: its fastest that keeps the figures;\n"
             "the CPU has fp32)")
      ->group(numbers);
  app.add_flag_callback(
         "--faithful", [this] { overrides_.faithful = true; },
         "Train by the reference implementation's recipe instead of ours")
      ->group(numbers);
}

void RunSelection::attach_length(CLI::App& app) {
  const std::string numbers = "Above the file";
  add_option(app, "--epochs", overrides_.epochs, "N", "Epochs, instead of the file's")
      ->check(whole_number(1, 1000000))
      ->group(numbers);
  add_option(app, "--repeats", overrides_.repeats, "N",
             "Train each run with this many seeds: seed, seed + 1, ... (default 1)")
      ->check(whole_number(1, 10000))
      ->group(numbers);
}

template <class T>
void RunSelection::attach_decomposed(CLI::App& app, const std::string& flag,
                                     T Decomposition::*member, const std::string& form,
                                     const std::string& description, const CLI::Validator& check) {
  app.add_option_function<T>(
         flag,
         [this, member](const T& value) {
           overrides_.decomposition = [before = overrides_.decomposition, member,
                                       value](Decomposition& how) {
             if (before) before(how);
             how.*member = value;
           };
         },
         description)
      ->option_text(form)
      ->check(check)
      ->group("Many processes");
}

void RunSelection::attach_decomposition(CLI::App& app) {
  attach_decomposed(app, "--decomposition", &Decomposition::mode, "shared|ensemble|hybrid",
                    "What processes do together: train one model (default), a model a\n"
                    "brick, or models that share coarse levels and decoder",
                    one_of({"shared", "ensemble", "hybrid"}));
  attach_decomposed(app, "--bricks", &Decomposition::brick_count, "N",
                    "Bricks of an ensemble or a hybrid (default: one a process)",
                    whole_number(0, 1 << 20));
  attach_decomposed(app, "--ghost", &Decomposition::ghost, "VOXELS",
                    "How far a brick's model is trained beyond its brick (default 1)",
                    whole_number(0, 64));
  attach_decomposed(app, "--blend", &Decomposition::blend, "on|off",
                    "Blend neighbours where both were trained (default on)", one_of({"on", "off"}));
  attach_decomposed(app, "--share-every", &Decomposition::share_every, "STEPS",
                    "Steps between two averagings of a hybrid (default 8)",
                    whole_number(1, 1 << 20));
  attach_decomposed(app, "--share-resolution", &Decomposition::share_resolution, "N",
                    "The finest level that a hybrid averages, cells an axis (default 16)",
                    whole_number(0, 1 << 20));
  attach_decomposed(app, "--wire", &Decomposition::wire, "fp32|fp16",
                    "What gradients are sent as (default fp32)", one_of({"fp32", "fp16"}));
  app.add_flag_callback(
         "--sharded",
         [this] {
           overrides_.decomposition = [before = overrides_.decomposition](Decomposition& how) {
             if (before) before(how);
             how.sharded = true;
           };
         },
         "Each process keeps Adam's moments of its share of the parameters only")
      ->group("Many processes");
}

std::optional<std::int64_t> RunSelection::index() const {
  const char* variable = index_variable();
  if (filter_.run_index || !variable) return filter_.run_index;
  const std::string_view word = std::getenv(variable);
  std::int64_t value = -1;
  const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc{} || stop != word.data() + word.size() || value < 0)
    throw Error(
        std::string(variable) + "='" + std::string(word) +
        "' is not a run index: use a whole number from 0 up, unset it, or give --run-index");
  return value;
}

std::string RunSelection::index_source() const {
  const char* variable = index_variable();
  return variable && !filter_.run_index ? variable : "";
}

std::vector<Run> RunSelection::select(std::optional<std::int64_t> index) const {
  RunFilter filter = filter_;
  filter.run_index = index;
  return select_runs(load_runs(params_), filter, overrides_);
}

std::vector<Run> RunSelection::runs() const { return select(index()); }

std::vector<Run> RunSelection::all_runs() const { return select(std::nullopt); }

fs::path RunSelection::locate(const std::string& dataset) const {
  if (!data_directory_.empty()) {
    if (!fs::is_directory(data_directory_))
      throw Error("--data-dir " + data_directory_ + ": no such directory");
    const std::vector<std::string> names = list_datasets(data_directory_);
    if (std::find(names.begin(), names.end(), dataset) == names.end())
      refuse_misnamed(data_directory_, dataset);
    return find_dataset(data_directory_, dataset);
  }
  const std::vector<fs::path> directories = default_directories();
  std::vector<std::string> known;
  for (const fs::path& directory : directories) {
    const std::vector<std::string> names = list_datasets(directory);
    if (std::find(names.begin(), names.end(), dataset) != names.end())
      return find_dataset(directory, dataset);
    refuse_misnamed(directory, dataset);
    known.insert(known.end(), names.begin(), names.end());
  }
  std::error_code error;
  if (fs::is_regular_file(dataset, error)) return dataset;
  if (directories.empty())
    throw Error("dataset '" + dataset +
                "': there is no ./data or ./demo_data here; say where it is with --data-dir DIR");
  std::vector<std::string> places;
  for (const fs::path& directory : directories) places.push_back(directory.string());
  const std::string near = nearest(dataset, known);
  throw Error("no dataset '" + dataset + "' in " + join(places) + near + (near.empty() ? ";" : "") +
              " there: " + (known.empty() ? "none" : join(known)) +
              "; say where it is with --data-dir DIR");
}

}  // namespace kanbench

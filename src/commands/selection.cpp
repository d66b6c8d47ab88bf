#include "commands/selection.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "kanbench/error.h"
#include "kanbench/io.h"
#include "size_match.h"

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
  add_option(app, "--volume", volume_, "FILE",
             "Train on this file (FILE:VARIABLE of one with several) what the parameter file says\n"
             "of its only volume, or of --dataset's")
      ->group(group);
  missing_.attach(app)->group(group);
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
             "Where volumes lie (default: ./data, then demo_data)")
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
  add_option(app, "--store", overrides_.store, "fp32|fp16|int8|zfp:TOL|auto:LOSS",
             "How parameters are stored, instead of the file's store, zfp_enc and zfp_mlp:\n"
             "auto:0.1dB makes the smallest file that loses 0.1 dB of PSNR at most\n"
             "(default fp32)")
      ->group(numbers);
  auto* parameters =
      add_option(app, "--match-parameters", overrides_.match.parameters, "N",
                 "Choose each run's width, or its tables, for a model of so many parameters,\n"
                 "to 2%")
          ->check(whole_number(1))
          ->group(numbers);
  add_option(app, "--match-bytes", overrides_.match.bytes, "N",
             "The same for a file of so many bytes")
      ->check(whole_number(1))
      ->excludes(parameters)
      ->group(numbers);
  add_option(app, "--match-seconds", overrides_.train_limit_seconds, "S",
             "Train each for so many seconds rather than for its epochs, on which its\n"
             "schedule stays laid out")
      ->check(number(1e-3, 1e7))
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
  std::vector<Run> all = load_runs(params_);
  if (!volume_.empty())
    give_volume(all, filter);
  else if (!filter.dataset.empty())
    refuse_path(all, filter.dataset);
  return select_runs(all, filter, overrides_);
}

// Runs of one entry, the chosen or the only one, become runs of --volume.
void RunSelection::give_volume(std::vector<Run>& runs, RunFilter& filter) const {
  std::vector<std::string> names;
  for (const Run& run : runs)
    if (std::find(names.begin(), names.end(), run.dataset) == names.end())
      names.push_back(run.dataset);
  if (filter.dataset.empty() && names.size() > 1)
    throw Error("--volume " + volume_ + ": " + params_ + " has runs of " + join(names) +
                ": say with --dataset NAME which of them to use");
  const std::string entry = filter.dataset.empty() ? names.at(0) : filter.dataset;
  if (std::find(names.begin(), names.end(), entry) == names.end()) return;
  filter.dataset = dataset_name(volume_);
  for (Run& run : runs) run.dataset = run.dataset == entry ? filter.dataset : "";
}

void RunSelection::refuse_path(const std::vector<Run>& runs, const std::string& dataset) const {
  const bool known =
      std::any_of(runs.begin(), runs.end(), [&](const Run& run) { return run.dataset == dataset; });
  if (!known && !find_volume_file(".", dataset).empty())
    throw Error("--dataset " + dataset + ": is a file, and " + params_ +
                " has no entry of that name: give it with --volume " + dataset);
}

std::vector<Run> RunSelection::runs() const { return select(index()); }

void RunSelection::settle(Run& run, const Volume& volume) const {
  settle(run, volume.name, volume.components);
}

void RunSelection::settle(Run& run, const std::string& volume, int components) const {
  if (components > kMostComponents)
    throw Error(volume + ": " + std::to_string(components) +
                " numbers a voxel: models are of up to " + std::to_string(kMostComponents));
  run.n_outputs = components;
  if (components > 1) match_size(run, overrides_.match);
}

std::vector<Run> RunSelection::all_runs() const { return select(std::nullopt); }

fs::path RunSelection::locate(const std::string& dataset) const {
  if (!volume_.empty()) return volume_;
  if (!data_directory_.empty()) {
    if (!fs::is_directory(data_directory_))
      throw Error("--data-dir " + data_directory_ + ": no such directory");
    const std::vector<std::string> names = list_datasets(data_directory_);
    if (std::find(names.begin(), names.end(), dataset) == names.end())
      refuse_misnamed(data_directory_, dataset);
    return find_dataset(data_directory_, dataset);
  }
  std::vector<fs::path> directories = default_directories();
  std::vector<std::string> known;
  for (const fs::path& directory : directories) {
    const std::vector<std::string> names = list_datasets(directory);
    if (std::find(names.begin(), names.end(), dataset) != names.end())
      return find_dataset(directory, dataset);
    refuse_misnamed(directory, dataset);
    known.insert(known.end(), names.begin(), names.end());
  }
  directories.push_back(".");
  for (const fs::path& directory : directories)
    if (const fs::path file = find_volume_file(directory, dataset); !file.empty()) return file;
  directories.pop_back();
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

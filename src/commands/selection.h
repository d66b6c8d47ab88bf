#pragma once
// The options that choose runs of a parameter file and volumes of a data directory.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "commands/options.h"
#include "kanbench/run.h"

namespace kanbench {

/// --params, --dataset, --volume, --missing, --network-types, --hashmap-size, --run-index,
/// --data-dir and the options that override a run's own numbers.
class RunSelection {
 public:
  void attach(CLI::App& app);
  /// --epochs and --repeats: how long to train, for a command that trains to the end.
  void attach_length(CLI::App& app);
  /// --decomposition and what belongs to it, above the file's own.
  void attach_decomposition(CLI::App& app);

  /// The runs to do, after PBS_ARRAY_INDEX and SLURM_ARRAY_TASK_ID have been looked at.
  std::vector<Run> runs() const;
  /// The same without the choice by index: what a cluster's array job does in all.
  std::vector<Run> all_runs() const;
  /// What a run, one of these, takes from its volume: the number of its outputs, and with them the
  /// size that it is brought to.
  void settle(Run& run, const Volume& volume) const;
  /// The same of a volume of that name and so many numbers a voxel.
  void settle(Run& run, const std::string& volume, int components) const;
  const std::string& params() const { return params_; }
  /// What becomes of voxels without a value.
  Missing missing() const { return missing_.resolve(); }
  /// Where the volume named `dataset` lies: at --volume, in --data-dir, or else in ./data or the
  /// demo_data next to the working directory or the program. Throws Error listing what there is.
  std::filesystem::path locate(const std::string& dataset) const;
  /// The variable that chose the run ("PBS_ARRAY_INDEX"), or empty.
  std::string index_source() const;

 private:
  std::vector<Run> select(std::optional<std::int64_t> index) const;
  std::optional<std::int64_t> index() const;

  template <class T>
  void attach_decomposed(CLI::App& app, const std::string& flag, T Decomposition::*member,
                         const std::string& form, const std::string& description,
                         const CLI::Validator& check);

  void give_volume(std::vector<Run>& runs, RunFilter& filter) const;
  void refuse_path(const std::vector<Run>& runs, const std::string& dataset) const;

  std::string params_, data_directory_, volume_;
  MissingOption missing_;
  RunFilter filter_;
  RunOverrides overrides_;
};

}  // namespace kanbench

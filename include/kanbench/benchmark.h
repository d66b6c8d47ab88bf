#pragma once
// One run from volume to figures: choose the batch, train, store, reconstruct from what was stored,
// measure. Prints nothing; calls back while it works.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <span>
#include <string>

#include "kanbench/backend.h"
#include "kanbench/communicator.h"
#include "kanbench/result.h"
#include "kanbench/run.h"
#include "kanbench/trainer.h"
#include "kanbench/volume.h"

namespace kanbench {

/// What a benchmark does beside the run itself; none of it changes a figure.
struct BenchmarkSettings {
  /// Share of the free memory that a batch may take where its size is not given.
  double safety_margin = 0.8;
  /// Where models_saved/ and reconstructions_saved/ are made, if `keep`.
  std::filesystem::path output_directory = "results";
  bool keep = false;
  /// A PNG of the middle slices of the first trial; empty for none.
  std::filesystem::path slices;
  /// How the device computes where that is not by default, to stand beside its name.
  std::string device_note;
  /// volume_signature() of the volume; empty: computed.
  std::string signature;
  /// Trains and stops: no reconstruction, no figures, no files.
  bool training_only = false;
  /// When to write checkpoints beside those of an interruption, and whether to go on from them.
  CheckpointInterval checkpoint_every;
  bool resume = true;
};

struct BenchmarkProgress {
  /// A sentence about a choice that was made (batch size, parameters).
  std::function<void(const std::string&)> detail;
  /// A sentence that the user should read: a checkpoint was used, or could not be.
  std::function<void(const std::string&)> notice;
  /// Trial `trial` (from 0) of `trials` begins.
  std::function<void(int trial, int trials)> trial;
  Progress training;
};

/// Trains `run` as often as it repeats and measures what is stored. A training that fails, or a
/// figure that is not finite, gives status "failed" and the reason; one that was asked to stop
/// (interruption.h) leaves a checkpoint and gives "interrupted". Throws Error where the run cannot
/// start: a precision that the device lacks, a model larger than its memory. Called by all ranks,
/// whose results are the same.
Result run_benchmark(const Run& run, const Volume& volume, Backend& backend,
                     Communicator& communicator, const BenchmarkSettings& settings,
                     const BenchmarkProgress& progress = {});

/// What stands for the volume's content in a run id: name, shape, type, range, and a hash of up to
/// a million words spread evenly over it.
std::string volume_signature(const Volume& volume);

/// The same of some ten thousand words, for every rank to say whether it has the same file.
std::string volume_fingerprint(const Volume& volume);

/// Removes the checkpoints of `result`'s run on the volume `dataset`; called by one rank.
void remove_checkpoints(const Result& result, const std::string& dataset,
                        const BenchmarkSettings& settings);

/// "{dataset}_{network}_{log2}_{run_id}", the name that a run's files begin with.
std::string file_stem(const Run& run, const std::string& dataset, const std::string& id);

/// Bytes that training `run` leaves free on `backend`, a batch aside. Throws Error where its
/// parameters or a rank's share of the batch size that it names do not fit, or where they are to be
/// stored in a way that this build lacks.
double require_room(const Run& run, const Backend& backend, int ranks = 1);

/// The indices of the runs whose models and reconstructions are kept: "all", "none", the "largest"
/// or "smallest" log2_hashmap_size of each dataset and network type (all that tie), or those of the
/// size that a number names. Throws Error for any other word and for a size that no run has.
std::set<std::int64_t> runs_to_keep(std::span<const Run> runs, const std::string& save_mode);

/// Copies `file` into `directory` unless a copy of the same size and time is there, in one
/// piece or not at all; returns the copy's path.
std::filesystem::path stage_file(const std::filesystem::path& file,
                                 const std::filesystem::path& directory);
/// The same of a volume ("file.nc:u" too) and the files that its voxels are in. Throws Error where
/// those are not beside its header.
std::filesystem::path stage_volume(const std::filesystem::path& path,
                                   const std::filesystem::path& directory);

}  // namespace kanbench

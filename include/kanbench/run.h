#pragma once
// One run of a sweep: what a parameter file says of it, and how files become runs.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kanbench/training_options.h"
#include "kanbench/volume.h"

namespace kanbench {

/// A decoder's own hyper-parameters; which of them it takes depends on its name. The last two are
/// the steps of the sweeps over the first two, as the CSV reports them.
struct KanParameters {
  double grid_radius = 1;
  int num_grids = 8;
  bool use_base_update = true;
  /// "fixed", "layer" or "input": whose own the bases' inner parameters are.
  std::string inner = "fixed";
  int order = 3;
  bool clamped = false;
  int degree = 3;
  /// "tanh" or "clamp".
  std::string squash = "tanh";
  double alpha = 1, beta = 1;
  int span = 3;
  int terms = 5;
  /// "mexican_hat", "morlet", "dog", "meyer", "shannon".
  std::string wavelet = "mexican_hat";
  double omega = 30, first_omega = 30, scale = 1, sharpness = 0.5, slope = 0.01, frequency = 1;
  int numerator = 3, denominator = 2;
  /// Width of a bottleneck; 0: an eighth of the layer's, at least 16.
  int bottleneck = 0;
  /// The layers of a custom decoder, a JSON list.
  std::string layers;
  double grid_radius_step = 0;
  int num_grids_step = 0;
};

/// How a run is spread over bricks and ranks.
struct Decomposition {
  /// "shared": one model, whose gradients are summed over ranks. "ensemble": a model a brick.
  /// "hybrid": a model a brick, whose coarse levels and decoder are averaged again and again.
  std::string mode = "shared";
  /// Bricks of an ensemble or a hybrid, 0 for as many as ranks; and, once the volume is known, how
  /// many an axis.
  std::int64_t brick_count = 0;
  Shape bricks;
  /// Voxels that a brick's model is trained on beyond its core, and whether neighbours are blended
  /// across what both were trained on.
  int ghost = 1;
  bool blend = true;
  /// Of a hybrid: steps between two averagings, and the finest grid level (by its resolution an
  /// axis) that is averaged.
  int share_every = 8, share_resolution = 16;
  /// "fp32" or "fp16": gradients between ranks.
  std::string wire = "fp32";
  /// Each rank keeps the moments of its share of the parameters.
  bool sharded = false;
};

/// One point of a sweep. Everything here but `index` and `matched` decides the result.
struct Run {
  std::string dataset;
  /// Place among all runs of the file, before filters.
  std::int64_t index = 0;
  /// The decoder's name.
  std::string network_type;
  double lrate = 0;
  int lrate_decay = 0;
  int epochs = 0;
  int n_neurons = 0, n_hidden_layers = 0;
  int n_levels = 0, n_features_per_level = 0;
  double per_level_scale = 0;
  int log2_hashmap_size = 0;
  int base_resolution = 0;
  /// Absolute tolerances of ZFP for stored parameters; 0 stores them exactly.
  double zfp_enc = 0, zfp_mlp = 0;
  /// How parameters are stored (storage.h): "fp32", as those tolerances say, "fp16", "int8" or
  /// "auto:0.1dB". "zfp:0.001" becomes both tolerances.
  std::string store = "fp32";
  KanParameters kan;
  /// "None", "Sigmoid", "ReLU".
  std::string output_activation = "None";
  /// "l1", "mse", "huber", "relative_l1" or "relative_l2".
  std::string loss = "l1";
  /// "hash_grid", whose numbers are the keys above (log2_hashmap_size 0 means identity), or
  /// "identity", or one or more parts with all their numbers:
  /// "dense_grid(resolution=32,features=16)+frequency(n_frequencies=6,include_input=0)".
  std::string encoder = "hash_grid";
  /// "auto" or "fp32" (and, on CUDA devices, others).
  std::string precision = "auto";
  /// 0: chosen by the batch-size rule.
  std::int64_t batch_size = 0;
  std::uint64_t seed = 0;
  /// Trainings with seeds seed, seed + 1, ...
  int repeats = 1;
  /// The reference's own recipe instead of ours.
  bool faithful = false;
  Decomposition decomposition;
  TrainingOptions training;
  /// What its size was made, and by which numbers; it is these that decide the result.
  std::string matched;
  /// Numbers a voxel of its volume, known once that is open.
  int n_outputs = 1;
};

/// A size that all runs are brought to: of one that is not 0.
struct SizeMatch {
  std::int64_t parameters = 0, bytes = 0;
};

/// What the command line sets above the file: applied to every run where present. A run's own
/// batch_size, seed, precision, loss... in the file are kept unless the option is given here.
struct RunOverrides {
  std::optional<int> epochs, repeats;
  std::optional<std::int64_t> batch_size;
  std::optional<std::uint64_t> seed;
  std::optional<std::string> precision;
  std::optional<bool> faithful;
  /// In place of the file's and of its tolerances.
  std::optional<std::string> store;
  SizeMatch match;
  std::optional<double> train_limit_seconds;
  /// Changes what the file says, if it is there.
  std::function<void(Decomposition&)> decomposition;
};

/// Which runs to keep; empty means all. `network_types` takes aliases ("fkan").
struct RunFilter {
  std::string dataset;
  std::vector<std::string> network_types;
  std::optional<int> hashmap_size;
  std::optional<std::int64_t> run_index;
};

/// All runs of the parameter file at `path`, in the file's order, indices set. Throws Error with
/// file, key path, value and remedy. `network_types` is what a run trains that names none.
std::vector<Run> load_runs(const std::string& path,
                           const std::vector<std::string>& network_types = {"mlp", "fastkan"});

/// The same from text, for tests and fuzzing; `source` stands for the file in messages. A file of
/// more than `limit` runs is an Error.
std::vector<Run> parse_runs(const std::string& text, const std::string& source,
                            const std::vector<std::string>& network_types = {"mlp", "fastkan"},
                            std::int64_t limit = 10'000'000);

/// The runs that pass the filter, overrides applied. Throws Error where the filter names a dataset,
/// network type or index that the file does not have, listing those it has.
std::vector<Run> select_runs(const std::vector<Run>& runs, const RunFilter& filter,
                             const RunOverrides& overrides);

/// A decoder's own name for it and its aliases ("fkan": "fastkan"); throws Error for others.
std::string canonical_network_type(const std::string& name);

/// The names of all decoders, and the hyper-parameters of one where a run does not say.
std::vector<std::string> network_type_names();
KanParameters default_parameters(const std::string& network_type);

/// The decoder's hyper-parameters as the row has them, "degree=3 inner=layer", but for those that
/// have columns of their own.
std::string decoder_text(const Run& run);

/// The run as one JSON object, keys as in parameter files, ready to be a parameter file's entry.
std::string to_json(const Run& run);

/// 8 hex digits: a hash of everything that decides the result of `run` on a volume of these bytes.
/// The index does not count.
std::string run_id(const Run& run, const std::string& volume_signature);

}  // namespace kanbench

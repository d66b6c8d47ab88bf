#pragma once
// Training: per step sample, gradient, sum over ranks, update.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/communicator.h"
#include "kanbench/schedule.h"

namespace kanbench {

/// Samples where the error is: bricks an axis in which it is looked at, of none where samples are
/// spread evenly, and the share that is spread evenly all the same.
struct ErrorSampling {
  int bricks = 0;
  double mix = 0.5;
};

/// What training does beside the architecture. One epoch draws as many samples as there are voxels.
struct Training {
  int epochs = 1;
  std::int64_t batch_size = 1024;
  /// Learning rate of the encoder, halved every lrate_decay epochs (0: never).
  double lrate = 1e-2;
  int lrate_decay = 0;
  /// The decoder's rate is decoder_rate times the encoder's.
  double decoder_rate = 1;
  /// The last share of all steps falls linearly to a hundredth of the rate; 0: does not.
  double anneal = 0;
  /// How the rate goes on from there, and the epochs over which it first rises.
  Schedule schedule;
  double warmup = 0;
  /// Where it is not 0, training lasts for as long rather than for its epochs: these are what the
  /// schedule is laid out on, and go by as the time does.
  double seconds = 0;
  Loss loss = loss::L1{};
  EdgePenalty edges;
  Optimizer optimizer;
  /// By L-BFGS on one batch after the other rather than by `optimizer`, of which it takes the rate:
  /// the length of the first step that is tried on a batch. One rank, the volume in one piece.
  bool lbfgs = false;
  ErrorSampling error_sampling;
  std::uint64_t seed = 0;
  /// What gradients are sent as between ranks, and whether each rank keeps the moments of its share
  /// of the parameters only, and updates those.
  Wire wire = Wire::fp32;
  bool sharded = false;
  /// Steps between two averagings of what the models of a hybrid share.
  int share_every = 8;
};

/// One epoch: mean loss and PSNR over its batches (of several components the mean over them, and
/// the PSNR of their mean squared error), seconds, samples drawn, and the learning rate of its last
/// step.
struct Epoch {
  double loss = 0, psnr = 0, seconds = 0;
  std::int64_t samples = 0;
  double lrate = 0;
};

/// How far a training is: steps taken and their share of all, samples per second, and of the last
/// step its loss, its PSNR and the learning rate.
struct Tick {
  std::int64_t step = 0;
  double done = 0, samples_per_second = 0, loss = 0, psnr = 0, lrate = 0;
};

/// A step whose loss or gradient was not finite: training went back to the last copy of the
/// parameters, taken at the start of the epoch or since, at `lrate` from there.
struct Recovery {
  int epoch = 0;
  std::int64_t step = 0;
  double lrate = 0;
};

/// What happened. `failed` says that three recoveries in a row did not help: in a row are those
/// with fewer than 64 good steps between them. `interrupted`: it was asked to stop before its end.
struct History {
  std::vector<Epoch> epochs;
  std::vector<Recovery> recoveries;
  bool failed = false, interrupted = false;
  /// Which of several trainings failed, and why; empty where there was one.
  std::string failure;
  double seconds = 0;
  /// Of these, seconds spent on sums over ranks beside which nothing was computed.
  double communication_seconds = 0;
  /// And on looking where the error is.
  double sampling_seconds = 0;
  double samples_per_second() const;
};

/// Calls back while training: after each epoch, after each recovery, and about ten times a second.
struct Progress {
  std::function<void(int epoch, const Epoch&)> epoch;
  std::function<void(const Recovery&)> recovery;
  std::function<void(const Tick&)> tick;
};

/// When to write a checkpoint: every so many minutes or epochs, 0 for never.
struct CheckpointInterval {
  double minutes = 0;
  int epochs = 0;
};

/// Where a training stands between two steps; the same on all ranks.
struct TrainingState {
  /// Steps taken, the epoch under way, and the optimizer's own count.
  std::int64_t step = 0, adam_steps = 0;
  int epoch = 0;
  /// What recovery counts.
  int halvings = 0, failures = 0;
  std::int64_t good_steps = 0;
  /// Sums over the epoch under way, its rows and its seconds.
  double loss = 0, squared_error = 0;
  std::int64_t rows = 0;
  double seconds = 0;
  PlateauState plateau;
  /// What Stepper::memory() says.
  std::vector<double> memory;
  History history;
  /// Nothing is left to be trained.
  bool finished = false;
};

/// How a training can be left and taken up again.
struct Continuation {
  /// Where it was left; the model's parameters and moments are those of then.
  std::optional<TrainingState> from;
  CheckpointInterval every;
  /// Called by all ranks between two steps: when it is time, when it is to stop, and at the end.
  std::function<void(const TrainingState&)> save;
  /// Whether to stop; asked on each rank after each step, and done on all where one says so.
  std::function<bool()> stop;
};

/// Makes room for training: all of the moments, or this rank's share of them.
void prepare_training(Model& model, const Training& training, const Communicator& communicator);

/// The floats of a block of `size` whose moments each of `ranks` keeps.
std::vector<Range> shares_of(std::int64_t size, int ranks);

/// Trains `model` on `box` of the volume. With several ranks each has the same model and a box of
/// its own, all of which make up the volume, and draws its share of each batch there; gradients are
/// summed while the way back goes on. Deterministic in (training, box, rank, size).
History train(Model& model, const VolumeView& volume, const Box& box, const Training& training,
              Communicator& communicator, const Progress& progress = {},
              const Continuation& continuation = {});

/// The same on a volume that the backend does not hold: on bricks of it, in the memory that model
/// and batch leave (see brick_stream.h). Throws Error where none of a useful size fit.
History train_in_bricks(Model& model, const Volume& volume, const Box& box,
                        const Training& training, Communicator& communicator,
                        const Progress& progress = {}, const Continuation& continuation = {});

/// One of the bricks of a hybrid that this rank trains: by its number among all, the model, and
/// the voxels that it is trained on.
struct HybridBrick {
  std::int64_t number = 0;
  Model* model = nullptr;
  Box held;
};

/// Trains a hybrid: each brick's model on its own voxels, and every training.share_every steps the
/// floats `shared` of parameters and moments of all models, on all ranks, become their mean.
/// `voxels` are those that each brick of all ranks holds. The result does not depend on how bricks
/// lie on ranks, rounding aside.
History train_hybrid(const std::vector<HybridBrick>& bricks, std::span<const std::int64_t> voxels,
                     const std::vector<Range>& shared, const VolumeView& volume,
                     const Training& training, Communicator& communicator,
                     const Progress& progress = {}, const Continuation& continuation = {});

/// Steps in one epoch of `voxels` samples; `batch_size` is that of all ranks together.
std::int64_t steps_per_epoch(std::int64_t voxels, std::int64_t batch_size);

/// The batch size of all ranks together where none was given: at least 256 steps an epoch, a
/// multiple of 256 in [256, 262144], and beneath what `free_bytes` of each rank times
/// `safety_margin` holds. So where memory is enough it does not depend on the number of ranks.
std::int64_t choose_batch_size(std::int64_t voxels, std::size_t bytes_per_row,
                               std::size_t free_bytes, double safety_margin, int ranks = 1);

}  // namespace kanbench

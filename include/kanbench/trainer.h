#pragma once
// Training: per step sample, gradient, sum over ranks, update.

#include <cstdint>
#include <functional>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/communicator.h"

namespace kanbench {

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
  Loss loss = loss::L1{};
  Adam adam;
  std::uint64_t seed = 0;
};

/// One epoch: mean loss and PSNR over its batches, seconds and samples drawn.
struct Epoch {
  double loss = 0, psnr = 0, seconds = 0;
  std::int64_t samples = 0;
};

/// A step whose loss or gradient was not finite: training went back to the last copy of the
/// parameters, taken at the start of the epoch or since, at `lrate` from there.
struct Recovery {
  int epoch = 0;
  std::int64_t step = 0;
  double lrate = 0;
};

/// What happened. `failed` says that three recoveries in a row did not help: in a row are those
/// with fewer than 64 good steps between them.
struct History {
  std::vector<Epoch> epochs;
  std::vector<Recovery> recoveries;
  bool failed = false;
  double seconds = 0;
  double samples_per_second() const;
};

/// Calls back while training: after each epoch, after each recovery, and about ten times a second.
struct Progress {
  std::function<void(int epoch, const Epoch&)> epoch;
  std::function<void(const Recovery&)> recovery;
  /// Share of all steps done, samples per second, loss of the last batches and their PSNR.
  std::function<void(double done, double samples_per_second, double loss, double psnr)> tick;
};

/// Trains `model` on `box` of the volume. Deterministic in (training, box, rank, size).
History train(Model& model, const VolumeView& volume, const Box& box, const Training& training,
              Communicator& communicator, const Progress& progress = {});

/// The same on a volume that the backend does not hold: on bricks of it, in the memory that model
/// and batch leave (see brick_stream.h). Throws Error where none of a useful size fit.
History train_in_bricks(Model& model, const Volume& volume, const Box& box,
                        const Training& training, Communicator& communicator,
                        const Progress& progress = {});

/// Steps in one epoch of `voxels` samples.
std::int64_t steps_per_epoch(std::int64_t voxels, std::int64_t batch_size, int ranks);

/// The batch size where none was given: at least 256 steps an epoch, a multiple of 256 in
/// [256, 262144], and beneath what `free_bytes` times `safety_margin` holds.
std::int64_t choose_batch_size(std::int64_t voxels, std::size_t bytes_per_row,
                               std::size_t free_bytes, double safety_margin);

}  // namespace kanbench

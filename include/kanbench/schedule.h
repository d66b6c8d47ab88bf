#pragma once
// How the learning rate goes over a training.

#include <limits>
#include <variant>

namespace kanbench {

namespace schedule {

/// Halved every lrate_decay epochs, and over the share `anneal` of all steps at the end a line down
/// to a hundredth: both as the training says.
struct Default {
  static constexpr const char* name = "default";
};
struct Constant {
  static constexpr const char* name = "constant";
};
/// Times `factor` every lrate_decay epochs of the training.
struct Step {
  static constexpr const char* name = "step";
  double factor = 0.5;
};
/// Half a cosine from 1 to `last` (Loshchilov and Hutter, SGDR, ICLR 2017).
struct Cosine {
  static constexpr const char* name = "cosine";
  double last = 0;
};
/// Times `factor` an epoch, a fraction of one by its share.
struct Exponential {
  static constexpr const char* name = "exponential";
  double factor = 0.9;
};
/// Times `factor` whenever for `patience` epochs none had a loss a ten-thousandth below the best.
struct Plateau {
  static constexpr const char* name = "plateau";
  double factor = 0.5;
  int patience = 3;
};

}  // namespace schedule

using Schedule = std::variant<schedule::Default, schedule::Constant, schedule::Step,
                              schedule::Cosine, schedule::Exponential, schedule::Plateau>;

/// What a plateau remembers of the epochs so far.
struct PlateauState {
  double best = std::numeric_limits<double>::infinity();
  int stale_epochs = 0, reductions = 0;
};

/// Where a training is: the epoch under way (from 0), epochs done and the part of one that a step
/// is; and how much is done of how much in all, be it steps or seconds.
struct ScheduleMoment {
  int epoch = 0;
  double epochs = 0, step = 0, done = 0, all = 1;
};

/// What of a training its schedule goes by.
struct ScheduleSettings {
  Schedule schedule;
  int lrate_decay = 0;
  double anneal = 0;
  /// Epochs over which the rate first rises from 0, on a line.
  double warmup = 0;
};

/// The factor on the learning rate at `moment`.
double rate_factor(const ScheduleSettings& settings, const ScheduleMoment& moment,
                   const PlateauState& plateau);

/// Takes note of an epoch's loss; a loss that is not a number counts as no better.
void note_epoch(const schedule::Plateau& plateau, double loss, PlateauState& state);

}  // namespace kanbench

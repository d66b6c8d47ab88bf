#pragma once
// What a run says of its training beside learning rate, epochs and batch: loss, optimizer,
// schedule, and their numbers, as parameter files have them.

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kanbench/math/loss.h"
#include "kanbench/math/optimizer.h"
#include "kanbench/schedule.h"

namespace kanbench {

struct Run;

/// Words, and the numbers that were set; a flag is 0 or 1. A number that was not is
/// training_option() for the word that it belongs to.
struct TrainingOptions {
  /// "adam", "adamw", "lion", "sgd" or "lbfgs".
  std::string optimizer = "adam";
  std::optional<double> beta1, beta2, epsilon, weight_decay, momentum, nesterov;
  /// "default", "constant", "step", "cosine", "exponential" or "plateau".
  std::string schedule = "default";
  std::optional<double> decay_factor, final_lrate, patience, warmup;
  std::optional<double> loss_delta, loss_epsilon;
  /// "uniform", or "error" for samples where the error is.
  std::string sampling = "uniform";
  std::optional<double> sampling_bricks, sampling_mix;
  std::optional<double> clip_gradient, l1_edges, entropy_edges;
  /// Seconds to train for, whatever the number of epochs; 0: as long as these take.
  std::optional<double> train_limit_seconds;
};

/// One number of the training: its key, and of which words it is the number.
struct TrainingOption {
  const char* key;
  std::optional<double> TrainingOptions::*member;
  /// "optimizer", "schedule", "loss" or "sampling": the key whose words these are; empty where it
  /// always counts.
  std::string chooser;
  std::vector<std::string> words;
  double fallback;
  enum class Kind { real, whole, flag } kind = Kind::real;
};

/// All of them in the order of the CSV's columns; a key with another fallback for another word
/// stands there once for each.
std::span<const TrainingOption> training_options();

/// What `key` is in `run`: as it was set, or its fallback; nothing where it is of no use.
std::optional<double> training_option(const Run& run, const std::string& key);

/// The word that `run` has for "optimizer", "schedule", "loss" or "sampling".
const std::string& training_word(const Run& run, const std::string& chooser);

/// Throws Error where a number was set that is of no use with the run's words, or is missing.
void check_training(const Run& run);

Loss make_loss(const Run& run);
/// With rates and a rule for untouched parameters that are not the run's; for lbfgs one that only
/// carries the rate.
Optimizer make_optimizer(const Run& run);
Schedule make_schedule(const Run& run);

}  // namespace kanbench

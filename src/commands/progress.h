#pragma once
// How far a training is: a bar on a terminal, a line now and then elsewhere.

#include <chrono>
#include <string>

#include "commands/console.h"
#include "kanbench/benchmark.h"

namespace kanbench {

class ProgressDisplay {
 public:
  /// `title` names the run; `epochs` is how many it trains.
  ProgressDisplay(Console& console, std::string title, int epochs)
      : console_(console), title_(std::move(title)), epochs_(epochs) {}

  /// The callbacks to hand to run_benchmark(); valid while this object lives.
  BenchmarkProgress callbacks();

 private:
  void begin_trial(int trial, int trials);
  void end_epoch(int epoch, const Epoch& result);
  void tick(const Tick& now);

  Console& console_;
  std::string title_, label_;
  int epochs_;
  std::chrono::steady_clock::time_point began_{}, line_{};
};

}  // namespace kanbench

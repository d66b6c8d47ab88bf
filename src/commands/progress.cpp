#include "commands/progress.h"

#include <algorithm>
#include <cmath>

namespace kanbench {
namespace {

using Clock = std::chrono::steady_clock;

// Without a terminal a line at most this often, and the last epoch's.
constexpr double kSecondsBetweenLines = 3;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string bar(double done, int width) {
  const int full = static_cast<int>(std::lround(std::clamp(done, 0.0, 1.0) * width));
  return "[" + std::string(static_cast<std::size_t>(full), '#') +
         std::string(static_cast<std::size_t>(width - full), '.') + "]";
}

std::string in_short(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

std::string figures(double samples_per_second, double loss, double psnr) {
  return count(samples_per_second) + " samples/s  loss " + in_short(loss) + "  " + fixed(psnr, 2) +
         " dB";
}

// For terminals of eighty columns.
std::string short_figures(double samples_per_second, double loss, double psnr) {
  return count(samples_per_second) + "/s loss " + in_short(loss) + " " + fixed(psnr, 1) + " dB";
}

}  // namespace

BenchmarkProgress ProgressDisplay::callbacks() {
  BenchmarkProgress calls;
  calls.detail = [this](const std::string& text) { console_.detail("  " + text); };
  calls.notice = [this](const std::string& text) { console_.say(title_ + "  " + text); };
  calls.trial = [this](int trial, int trials) { begin_trial(trial, trials); };
  calls.training.epoch = [this](int epoch, const Epoch& result) { end_epoch(epoch, result); };
  calls.training.recovery = [this](const Recovery& recovery) {
    console_.warn(title_ + ": the loss was not finite in epoch " +
                  std::to_string(recovery.epoch + 1) + ", step " + std::to_string(recovery.step) +
                  ": back to the last good copy, lrate now " + in_short(recovery.lrate));
  };
  calls.training.tick = [this](const Tick& now) { tick(now); };
  return calls;
}

void ProgressDisplay::begin_trial(int trial, int trials) {
  began_ = line_ = Clock::now();
  label_ = title_;
  if (trials > 1)
    label_ += "  repeat " + std::to_string(trial + 1) + " of " + std::to_string(trials);
}

void ProgressDisplay::end_epoch(int epoch, const Epoch& result) {
  const bool last = epoch + 1 == epochs_;
  if (console_.live() || (since(line_) < kSecondsBetweenLines && !last)) return;
  line_ = Clock::now();
  const double rate = result.seconds > 0 ? static_cast<double>(result.samples) / result.seconds : 0;
  const std::string of = epochs_ > 0 ? "/" + std::to_string(epochs_) : "";
  console_.show("  " + label_ + "  epoch " + std::to_string(epoch + 1) + of + "  " +
                figures(rate, result.loss, result.psnr));
}

void ProgressDisplay::tick(const Tick& now) {
  const double done = now.done;
  const double left = done > 0 ? since(began_) * (1 - done) / done : NAN;
  if (!console_.live()) {
    if (since(line_) < kSecondsBetweenLines) return;
    line_ = Clock::now();
    console_.show("  " + label_ + "  " + fixed(100 * done, 0) + " %  " +
                  figures(now.samples_per_second, now.loss, now.psnr) + "  " + duration(left) +
                  " left");
    return;
  }
  const int columns = console_.columns();
  std::string rest = " " + fixed(100 * done, 0) + " %  " +
                     figures(now.samples_per_second, now.loss, now.psnr) + "  " + duration(left) +
                     " left";
  if (columns < static_cast<int>(label_.size() + rest.size()) + 14)
    rest = " " + short_figures(now.samples_per_second, now.loss, now.psnr) + " " + duration(left) +
           " left";
  const int room = columns - static_cast<int>(label_.size() + rest.size()) - 4;
  std::string line = label_ + " " + (room >= 6 ? bar(done, std::min(room, 40)) : "") + rest;
  line.resize(std::min(line.size(), static_cast<std::size_t>(columns - 1)));
  console_.status(line);
}

}  // namespace kanbench

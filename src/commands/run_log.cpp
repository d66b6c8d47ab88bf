#include "commands/run_log.h"

#include <chrono>
#include <utility>

#include "commands/options.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

constexpr double kSecondsBetweenTicks = 1;

double seconds() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

// Both, the second after the first, where there is a first.
template <class... Values>
void also(std::function<void(Values...)>& call,
          std::type_identity_t<std::function<void(Values...)>> next) {
  call = [before = std::move(call), next = std::move(next)](Values... values) {
    if (before) before(values...);
    next(values...);
  };
}

}  // namespace

void LogOptions::attach(CLI::App& app, const std::string& group) {
  add_option(app, "--log-level", level, "debug|info|warn|off",
             "What goes to OUTPUT_DIR/logs, a file a run (default info; debug: the choices\n"
             "that -v tells of, too)")
      ->check(one_of({"debug", "info", "warn", "off"}))
      ->group(group);
  add_option(app, "--metrics-log", metrics, "none|jsonl|tensorboard",
             "Loss, PSNR, learning rate and speed while training, for other programs to plot:\n"
             "lines of JSON, or event files for tensorboard --logdir (default none)")
      ->check(one_of({"none", "jsonl", "tensorboard"}))
      ->group(group);
}

RunLog::RunLog(Console& console, const LogOptions& options, const std::filesystem::path& directory,
               const std::string& stem)
    : console_(console) {
  if (options.level == "off" && options.metrics == "none") return;
  std::error_code failure;
  std::filesystem::create_directories(directory, failure);
  if (failure) throw Error(directory.string() + ": cannot be made: " + failure.message());
  if (options.level != "off") console.log_to(directory / (stem + ".log"), options.level);
  if (options.metrics != "none") metrics_ = open_metrics_log(options.metrics, directory, stem);
}

RunLog::~RunLog() { console_.log_to("", ""); }

BenchmarkProgress RunLog::wrap(BenchmarkProgress calls, const Run& run) {
  also(calls.trial, [this, seed = run.seed](int trial, int trials) {
    begin_trial(trial, trials, seed + static_cast<std::uint64_t>(trial));
  });
  also(calls.training.epoch, [this](int epoch, const Epoch& result) { end_epoch(epoch, result); });
  also(calls.training.tick, [this](const Tick& now) { tick(now); });
  return calls;
}

void RunLog::begin_trial(int trial, int trials, std::uint64_t seed) {
  seed_ = seed;
  console_.note("training " + std::to_string(trial + 1) + " of " + std::to_string(trials) +
                ", seed " + std::to_string(seed));
}

void RunLog::end_epoch(int epoch, const Epoch& result) {
  const double rate = result.seconds > 0 ? static_cast<double>(result.samples) / result.seconds : 0;
  console_.note("epoch " + std::to_string(epoch + 1) + "  loss " + scientific(result.loss) + "  " +
                fixed(result.psnr, 2) + " dB  lrate " + scientific(result.lrate) + "  " +
                fixed(result.seconds, 3) + " s  " + count(rate) + " samples/s");
  add(seed_, epoch + 1,
      std::array{Scalar{"epoch/loss", result.loss}, Scalar{"epoch/psnr", result.psnr},
                 Scalar{"epoch/lrate", result.lrate}, Scalar{"epoch/seconds", result.seconds},
                 Scalar{"epoch/samples_per_second", rate}});
}

void RunLog::tick(const Tick& now) {
  if (!metrics_ || seconds() - ticked_ < kSecondsBetweenTicks) return;
  ticked_ = seconds();
  add(seed_, now.step,
      std::array{Scalar{"step/loss", now.loss}, Scalar{"step/psnr", now.psnr},
                 Scalar{"step/lrate", now.lrate},
                 Scalar{"step/samples_per_second", now.samples_per_second}});
}

void RunLog::conclude(const Result& result) {
  for (const Trial& trial : result.trials) {
    const Metrics& m = trial.metrics;
    if (trial.inr_bytes == 0) continue;
    const double ratio =
        static_cast<double>(result.data_bytes) / static_cast<double>(trial.inr_bytes);
    console_.note("seed " + std::to_string(trial.seed) + "  " + fixed(m.psnr, 3) + " dB  SSIM " +
                  fixed(m.ssim, 5) + "  SSIM 3-D " + fixed(m.ssim_3d, 5) + "  MSE " +
                  scientific(m.mse) + "  ratio " + fixed(ratio, 3) + "  trained in " +
                  fixed(trial.history.seconds, 3) + " s");
    add(trial.seed, static_cast<std::int64_t>(trial.history.epochs.size()),
        std::array{Scalar{"reconstruction/psnr", m.psnr}, Scalar{"reconstruction/ssim", m.ssim},
                   Scalar{"reconstruction/ssim_3d", m.ssim_3d}, Scalar{"reconstruction/mse", m.mse},
                   Scalar{"reconstruction/compression_ratio", ratio}});
  }
  console_.note(result.status + (result.failure.empty() ? "" : ": " + result.failure));
}

void RunLog::add(std::uint64_t seed, std::int64_t step, std::span<const Scalar> scalars) {
  if (!metrics_) return;
  try {
    metrics_->add(seed, step, scalars);
  } catch (const std::runtime_error& failure) {
    metrics_.reset();
    console_.warn(std::string(failure.what()) + ": the metrics log ends here, the run goes on");
  }
}

}  // namespace kanbench

#include "kanbench/baseline.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <new>
#include <optional>

#include "decimal.h"
#include "hash.h"
#include "kanbench/error.h"
#include "this_machine.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr double kStep = 1.02;
// Bounds, relative to a component's range, as logarithms to the base 2.
constexpr double kFinestBound = -40, kCoarsestBound = 1;

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

/// The components' streams at one bound.
struct Attempt {
  double bound = 0, ratio = 0, seconds = 0;
  std::vector<std::vector<std::byte>> streams;
  std::int64_t bytes = 0;
};

class Compressor {
 public:
  Compressor(const Baseline& baseline, const Volume& volume, const fs::path& directory)
      : volume_(volume) {
    for (int i = 0; i < volume.components; ++i)
      components_.push_back(volume.components == 1 ? volume : volume.component(i));
    for (const Volume& component : components_)
      codecs_.push_back(open_codec(baseline, component, directory));
  }

  Attempt find(double target) const {
    if (codecs_[0]->lossless()) return attempt(0);
    std::optional<Attempt> best;
    double low = kFinestBound, high = kCoarsestBound;
    while (high - low > codecs_[0]->finest()) {
      const double middle = (low + high) / 2;
      Attempt one = attempt(middle);
      (one.ratio > target ? high : low) = middle;
      if (!best || nearer(one, *best, target)) best = std::move(one);
      if (std::abs(best->ratio / target - 1) < 0.005) break;
    }
    return std::move(*best);
  }

  void measure(const Attempt& attempt, BaselineResult& result) const {
    std::vector<Metrics> components;
    for (std::size_t i = 0; i < codecs_.size(); ++i) {
      const Clock::time_point began = Clock::now();
      const Decompressed back = codecs_[i]->decompress(attempt.streams[i]);
      result.decompress_seconds += seconds_since(began);
      components.push_back(better_of(components_[i], back, result.mode, i == 0));
    }
    result.metrics = mean_of(components);
  }

  std::string mode(double bound) const { return codecs_[0]->mode(absolute(bound, 0)); }

 private:
  double absolute(double bound, std::size_t component) const {
    const Volume& volume = components_[component];
    return std::exp2(bound) * (volume.high - volume.low);
  }

  Attempt attempt(double bound) const {
    Attempt one;
    one.bound = bound;
    const Clock::time_point began = Clock::now();
    for (std::size_t i = 0; i < codecs_.size(); ++i) {
      one.streams.push_back(codecs_[i]->compress(absolute(bound, i)));
      one.bytes += static_cast<std::int64_t>(one.streams.back().size());
    }
    one.seconds = seconds_since(began);
    one.ratio = static_cast<double>(volume_.bytes()) / static_cast<double>(one.bytes);
    return one;
  }

  // Within the tolerance the nearest, else the largest ratio below the target, else the smallest.
  static bool nearer(const Attempt& one, const Attempt& other, double target) {
    const auto rank = [&](const Attempt& a) {
      return a.ratio <= target * kStep ? std::abs(std::log(a.ratio / target))
                                       : 1000 + std::log(a.ratio / target);
    };
    return rank(one) < rank(other);
  }

  // Voxels of whole numbers as they come back or rounded, whichever is nearer to the volume.
  static Metrics better_of(const Volume& volume, const Decompressed& back, std::string& mode,
                           bool first) {
    const Metrics plain = measure(volume, back);
    if (back.dtype == volume.dtype || volume.dtype == Dtype::float32 ||
        volume.dtype == Dtype::float64)
      return plain;
    const Metrics rounded = measure(volume, rounded_off(back));
    const bool better = rounded.mse < plain.mse;
    if (better && first) mode += " rounded";
    return better ? rounded : plain;
  }

  static Decompressed rounded_off(Decompressed back) {
    const auto round = [&](auto zero) {
      using Number = decltype(zero);
      auto* numbers = reinterpret_cast<Number*>(back.voxels.data());
      std::transform(numbers, numbers + back.voxels.size() / sizeof(Number), numbers,
                     [](Number number) { return std::nearbyint(number); });
    };
    back.dtype == Dtype::float32 ? round(0.0f) : round(0.0);
    return back;
  }

  static Metrics measure(const Volume& volume, const Decompressed& back) {
    const Shape& shape = volume.shape;
    const std::int64_t slice = shape.x * shape.y;
    check(back.voxels.size() == static_cast<std::size_t>(shape.count()) * size_of(back.dtype),
          "another number of voxels");
    const VolumeView view{back.voxels.data(), shape,       back.dtype,
                          volume.low,         volume.high, whole(shape)};
    MetricsSum sum(shape);
    std::vector<float> original(static_cast<std::size_t>(slice)), other(original.size());
    for (std::int64_t z = 0; z < shape.z; ++z) {
      normalise(volume.view(), z * slice, slice, original.data());
      normalise(view, z * slice, slice, other.data());
      sum.add_slice(original.data(), other.data());
    }
    return sum.result();
  }

  const Volume& volume_;
  std::vector<Volume> components_;
  std::vector<std::unique_ptr<Codec>> codecs_;
};

// What has a name of its own in a message; a full memory says none.
std::string reason(const std::exception& error) {
  return dynamic_cast<const std::bad_alloc*>(&error) ? "there is not enough memory" : error.what();
}

}  // namespace

std::vector<double> target_ratios(std::span<const double> reached) {
  std::vector<double> targets;
  for (const double ratio : reached)
    if (ratio > 0 && std::isfinite(ratio))
      targets.push_back(std::pow(kStep, std::round(std::log(ratio) / std::log(kStep))));
  std::sort(targets.begin(), targets.end());
  targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
  return targets;
}

std::string baseline_id(const Baseline& baseline, double target, const std::string& signature) {
  return short_hash("baseline " + baseline.name + "\n" + signature + "\n" + decimal(target));
}

BaselineResult run_baseline(const Baseline& baseline, const Volume& volume, double target,
                            const std::string& signature, const fs::path& directory) {
  BaselineResult result;
  result.baseline = baseline;
  result.dataset = volume.name;
  result.run_id = baseline_id(baseline, target, signature);
  result.target = target;
  result.data_bytes = static_cast<std::int64_t>(volume.bytes());
  result.started_at = utc_now();
  result.hostname = this_host();
  result.ssim_variant = ssim_variant(volume.shape);
  try {
    const Compressor compressor(baseline, volume, directory);
    const Attempt found = compressor.find(target);
    result.bytes = found.bytes;
    result.compress_seconds = found.seconds;
    result.mode = compressor.mode(found.bound);
    compressor.measure(found, result);
  } catch (const std::exception& error) {
    result.status = "failed";
    result.failure = reason(error);
  }
  result.peak_host_bytes = peak_host_bytes();
  return result;
}

}  // namespace kanbench

#include "brick_record.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kanbench/error.h"
#include "kanbench/metrics.h"

namespace kanbench {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no infinity; what a failed training's figures are, nobody asks.
double finite(double value) { return std::isfinite(value) ? value : 0; }

double squared_error(double psnr) { return finite(std::pow(10.0, -psnr / 10)); }

// The length of what the bricks' times cover together.
double covered_seconds(const std::vector<BrickRecord>& bricks) {
  std::vector<std::pair<double, double>> times;
  for (const BrickRecord& brick : bricks)
    if (brick.ended > brick.began) times.emplace_back(brick.began, brick.ended);
  std::sort(times.begin(), times.end());
  double all = 0, end = 0;
  for (const auto& [began, ended] : times) {
    all += std::max(0.0, ended - std::max(began, end));
    end = std::max(end, ended);
  }
  return all;
}

}  // namespace

std::string to_json(const BrickRecord& record) {
  Json epochs = Json::array(), recoveries = Json::array();
  for (const Epoch& epoch : record.history.epochs)
    epochs.push_back(
        {finite(epoch.loss), squared_error(epoch.psnr), finite(epoch.seconds), epoch.samples});
  for (const Recovery& recovery : record.history.recoveries)
    recoveries.push_back({recovery.epoch, recovery.step, finite(recovery.lrate)});
  return Json{{"brick", record.brick},
              {"low", record.low},
              {"high", record.high},
              {"file", record.file},
              {"began", record.began},
              {"ended", record.ended},
              {"batch_size", record.batch_size},
              {"failed", record.history.failed},
              {"seconds", record.history.seconds},
              {"sampling_seconds", record.history.sampling_seconds},
              {"epochs", epochs},
              {"recoveries", recoveries}}
      .dump();
}

BrickRecord parse_record(const std::string& text, const std::string& source) {
  try {
    const Json json = Json::parse(text);
    BrickRecord record{json.at("brick"), json.at("low"),   json.at("high"),       json.at("file"),
                       json.at("began"), json.at("ended"), json.at("batch_size"), {}};
    record.history.failed = json.at("failed");
    record.history.seconds = json.at("seconds");
    record.history.sampling_seconds = json.at("sampling_seconds");
    for (const Json& epoch : json.at("epochs"))
      record.history.epochs.push_back(
          {epoch.at(0), psnr_of(epoch.at(1)), epoch.at(2), epoch.at(3)});
    for (const Json& recovery : json.at("recoveries"))
      record.history.recoveries.push_back({recovery.at(0), recovery.at(1), recovery.at(2)});
    return record;
  } catch (const Json::exception&) {
    throw Error(source + ": no record of a brick: remove its directory to train all bricks anew");
  }
}

History combine(const std::vector<BrickRecord>& bricks, double range) {
  History all;
  std::vector<double> errors;
  double busy = 0;
  for (const BrickRecord& brick : bricks) {
    const History& one = brick.history;
    all.failed |= one.failed;
    all.sampling_seconds += one.sampling_seconds;
    all.recoveries.insert(all.recoveries.end(), one.recoveries.begin(), one.recoveries.end());
    all.epochs.resize(std::max(all.epochs.size(), one.epochs.size()));
    errors.resize(all.epochs.size());
    const double share = (brick.high - brick.low) / range;
    for (std::size_t e = 0; e < one.epochs.size(); ++e) {
      const Epoch& epoch = one.epochs[e];
      const auto samples = static_cast<double>(epoch.samples);
      all.epochs[e].samples += epoch.samples;
      all.epochs[e].seconds += epoch.seconds;
      all.epochs[e].loss += epoch.loss * samples;
      errors[e] += squared_error(epoch.psnr) * share * share * samples;
      busy += epoch.seconds;
    }
  }
  all.seconds = covered_seconds(bricks);
  for (std::size_t e = 0; e < all.epochs.size(); ++e) {
    Epoch& epoch = all.epochs[e];
    const double samples = std::max(1.0, static_cast<double>(epoch.samples));
    epoch.loss /= samples;
    epoch.psnr = psnr_of(errors[e] / samples);
    if (busy > 0) epoch.seconds *= all.seconds / busy;
  }
  return all;
}

}  // namespace kanbench

// The state of a training as JSON. Numbers that JSON lacks are the words "inf", "-inf" and "nan".

#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "checkpoint_file.h"
#include "decimal.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

using Json = nlohmann::ordered_json;

Json encode(double value) { return std::isfinite(value) ? Json(value) : Json(decimal(value)); }

double decode(const Json& json) {
  if (json.is_number()) return json.get<double>();
  const auto word = json.get<std::string>();
  if (word == "inf") return std::numeric_limits<double>::infinity();
  if (word == "-inf") return -std::numeric_limits<double>::infinity();
  if (word == "nan") return std::numeric_limits<double>::quiet_NaN();
  throw Error("a number is the word '" + word + "'");
}

Json encode(const History& history) {
  Json epochs = Json::array(), recoveries = Json::array();
  for (const Epoch& epoch : history.epochs)
    epochs.push_back({encode(epoch.loss), encode(epoch.psnr), encode(epoch.seconds), epoch.samples,
                      encode(epoch.lrate)});
  for (const Recovery& recovery : history.recoveries)
    recoveries.push_back({recovery.epoch, recovery.step, encode(recovery.lrate)});
  return {{"epochs", epochs},
          {"recoveries", recoveries},
          {"failed", history.failed},
          {"interrupted", history.interrupted},
          {"seconds", encode(history.seconds)},
          {"communication_seconds", encode(history.communication_seconds)},
          {"sampling_seconds", encode(history.sampling_seconds)}};
}

History decode_history(const Json& json) {
  History history;
  for (const Json& e : json.at("epochs"))
    history.epochs.push_back(
        {decode(e.at(0)), decode(e.at(1)), decode(e.at(2)), e.at(3), decode(e.at(4))});
  for (const Json& r : json.at("recoveries"))
    history.recoveries.push_back({r.at(0), r.at(1), decode(r.at(2))});
  history.failed = json.at("failed");
  history.interrupted = json.at("interrupted");
  history.seconds = decode(json.at("seconds"));
  history.communication_seconds = decode(json.at("communication_seconds"));
  history.sampling_seconds = decode(json.at("sampling_seconds"));
  return history;
}

}  // namespace

std::string encode_state(const TrainingState& state) {
  const Json json = {
      {"step", state.step},
      {"adam_steps", state.adam_steps},
      {"epoch", state.epoch},
      {"halvings", state.halvings},
      {"failures", state.failures},
      {"good_steps", state.good_steps},
      {"loss", encode(state.loss)},
      {"squared_error", encode(state.squared_error)},
      {"rows", state.rows},
      {"seconds", encode(state.seconds)},
      {"plateau",
       {encode(state.plateau.best), state.plateau.stale_epochs, state.plateau.reductions}},
      {"memory", state.memory},
      {"history", encode(state.history)},
      {"finished", state.finished}};
  return json.dump();
}

TrainingState decode_state(const std::string& text) {
  try {
    const Json json = Json::parse(text);
    TrainingState state;
    state.step = json.at("step");
    state.adam_steps = json.at("adam_steps");
    state.epoch = json.at("epoch");
    state.halvings = json.at("halvings");
    state.failures = json.at("failures");
    state.good_steps = json.at("good_steps");
    state.loss = decode(json.at("loss"));
    state.squared_error = decode(json.at("squared_error"));
    state.rows = json.at("rows");
    state.seconds = decode(json.at("seconds"));
    const Json& plateau = json.at("plateau");
    state.plateau = {decode(plateau.at(0)), plateau.at(1), plateau.at(2)};
    state.memory = json.at("memory").get<std::vector<double>>();
    state.history = decode_history(json.at("history"));
    state.finished = json.at("finished");
    return state;
  } catch (const nlohmann::json::exception&) {
    throw Error("its state is not that of a training");
  }
}

}  // namespace kanbench

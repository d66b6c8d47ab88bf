#pragma once
// Parameter files for tests: a plain run and variations of it.

#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <vector>

#include "kanbench/run.h"

namespace kanbench::test {

using Json = nlohmann::ordered_json;

inline Json plain_run() {
  return Json::parse(R"({"lrate": 0.01, "lrate_decay": 18, "epochs": 24, "n_neurons": 32,
    "n_hidden_layers": 3, "n_levels": 8, "n_features_per_level": 8, "per_level_scale": 2,
    "log2_hashmap_size": 12, "base_resolution": 16})");
}

/// A file with the plain run, changed by `changes`.
inline std::string file_with(const std::string& changes) {
  Json run = plain_run();
  run.update(Json::parse(changes));
  return Json{{"nucleon", run}}.dump();
}

inline std::vector<Run> runs_with(const std::string& changes,
                                  const std::vector<std::string>& types = {"mlp"}) {
  return parse_runs(file_with(changes), "p.json", types);
}

template <class Field>
auto each(const std::vector<Run>& runs, Field field) {
  std::vector<std::decay_t<decltype(runs[0].*field)>> values;
  for (const auto& run : runs) values.push_back(run.*field);
  return values;
}

}  // namespace kanbench::test

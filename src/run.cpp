// Runs after the file is read: choosing among them, writing one down, naming it.

#include "kanbench/run.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "encoder_choice.h"
#include "hash.h"
#include "kanbench/error.h"
#include "kanbench/model.h"
#include "run_key.h"

namespace kanbench {

namespace {

/// Network types and the other names that they go by.
struct NetworkType {
  std::string name;
  std::vector<std::string> aliases;
};

const std::vector<NetworkType>& network_types() {
  static const std::vector<NetworkType> types{{"mlp", {}}, {"fastkan", {"kan", "fkan"}}};
  return types;
}

/// What `field` holds over the runs, each once, in their order.
template <class Field>
auto distinct(const std::vector<Run>& runs, Field field) {
  std::vector<std::decay_t<decltype(field(runs.front()))>> found;
  for (const Run& run : runs)
    if (std::find(found.begin(), found.end(), field(run)) == found.end())
      found.push_back(field(run));
  return found;
}

/// Keeps the runs that `keep` accepts; where none does, throws that `option` names what is not
/// there, with what is.
template <class Keep>
void filter_runs(std::vector<Run>& runs, const std::string& option, const std::string& value,
                 const std::vector<std::string>& there, Keep keep) {
  std::erase_if(runs, [&](const Run& run) { return !keep(run); });
  if (runs.empty())
    throw Error(option + " " + value + ": no such run, the parameter file has " + join(there) +
                nearest(value, there));
}

std::vector<std::string> datasets(const std::vector<Run>& runs) {
  return distinct(runs, [](const Run& run) { return run.dataset; });
}

void select_network_types(std::vector<Run>& runs, const std::vector<std::string>& names) {
  std::vector<std::string> wanted;
  for (const std::string& name : names) wanted.push_back(canonical_network_type(name));
  const auto there = distinct(runs, [](const Run& run) { return run.network_type; });
  for (const std::string& name : wanted)
    if (std::find(there.begin(), there.end(), name) == there.end())
      throw Error("--network-types " + name + ": no such run, the parameter file has " +
                  join(there));
  std::erase_if(runs, [&](const Run& run) {
    return std::find(wanted.begin(), wanted.end(), run.network_type) == wanted.end();
  });
}

void select_hashmap_size(std::vector<Run>& runs, int size) {
  std::vector<std::string> there;
  for (int found : distinct(runs, [](const Run& run) { return run.log2_hashmap_size; }))
    there.push_back(std::to_string(found));
  filter_runs(runs, "--hashmap-size", std::to_string(size), there,
              [&](const Run& run) { return run.log2_hashmap_size == size; });
}

void select_index(std::vector<Run>& runs, std::int64_t index, std::size_t all) {
  std::erase_if(runs, [&](const Run& run) { return run.index != index; });
  if (!runs.empty()) return;
  const std::string option = "--run-index " + std::to_string(index);
  if (index >= 0 && index < static_cast<std::int64_t>(all))
    throw Error(option + ": the run with this index does not pass the other filters");
  throw Error(option + ": must be from 0 to " + std::to_string(all - 1) +
              ", the parameter file has " + std::to_string(all) + (all == 1 ? " run" : " runs"));
}

template <class Number>
void require_positive(const std::optional<Number>& value, const std::string& option) {
  if (value && *value < 1)
    throw Error(option + " is " + std::to_string(*value) + ", must be at least 1");
}

void check_overrides(const RunOverrides& overrides) {
  require_positive(overrides.epochs, "--epochs");
  require_positive(overrides.repeats, "--repeats");
  require_positive(overrides.batch_size, "--batch-size");
  if (!overrides.precision) return;
  const auto& known = find_key(run_keys(), "precision")->words;
  if (std::find(known.begin(), known.end(), *overrides.precision) == known.end())
    throw Error("--precision is '" + *overrides.precision + "', must be " + either(known) +
                nearest(*overrides.precision, known));
}

/// Throws where a number was set that the mode has no use for.
void check_decomposition(const Run& run) {
  const Decomposition& how = run.decomposition;
  const Decomposition plain;
  const bool shared = how.mode == "shared", hybrid = how.mode == "hybrid";
  const auto refuse = [&](bool set, const std::string& what, const std::string& modes) {
    if (set)
      throw Error("run " + std::to_string(run.index) + ": " + what +
                  " is of no use with --decomposition " + how.mode + ": leave it out, or use " +
                  modes);
  };
  const std::string bricks = "--decomposition ensemble or hybrid";
  refuse(shared && how.brick_count != plain.brick_count, "--bricks", bricks);
  refuse(shared && how.ghost != plain.ghost, "--ghost", bricks);
  refuse(shared && how.blend != plain.blend, "--blend", bricks);
  refuse(!hybrid && how.share_every != plain.share_every, "--share-every",
         "--decomposition hybrid");
  refuse(!hybrid && how.share_resolution != plain.share_resolution, "--share-resolution",
         "--decomposition hybrid");
  refuse(!shared && how.wire != plain.wire, "--wire", "--decomposition shared");
  refuse(!shared && how.sharded, "--sharded", "--decomposition shared");
  if (hybrid && adaptive_grids(make_encoder(run)))
    throw Error("run " + std::to_string(run.index) +
                ": adaptive_multi_grid is not for --decomposition hybrid, whose bricks have their "
                "tables in common: use --decomposition ensemble or shared");
}

void apply(const RunOverrides& overrides, Run& run) {
  run.epochs = overrides.epochs.value_or(run.epochs);
  run.repeats = overrides.repeats.value_or(run.repeats);
  run.batch_size = overrides.batch_size.value_or(run.batch_size);
  run.seed = overrides.seed.value_or(run.seed);
  run.precision = overrides.precision.value_or(run.precision);
  run.faithful = overrides.faithful.value_or(run.faithful);
  if (overrides.decomposition) overrides.decomposition(run.decomposition);
}

}  // namespace

std::string canonical_network_type(const std::string& name) {
  std::vector<std::string> known, described;
  for (const NetworkType& type : network_types()) {
    if (type.name == name) return type.name;
    known.push_back(type.name);
    described.push_back(type.name);
    for (const std::string& alias : type.aliases) {
      if (alias == name) return type.name;
      known.push_back(alias);
    }
    if (!type.aliases.empty()) described.back() += " (or " + join(type.aliases) + ")";
  }
  throw Error("unknown network type '" + name + "', must be " + either(described) +
              nearest(name, known));
}

std::vector<Run> select_runs(const std::vector<Run>& runs, const RunFilter& filter,
                             const RunOverrides& overrides) {
  check_overrides(overrides);
  std::vector<Run> selected = runs;
  if (!filter.dataset.empty())
    filter_runs(selected, "--dataset", filter.dataset, datasets(runs),
                [&](const Run& run) { return run.dataset == filter.dataset; });
  if (!filter.network_types.empty()) select_network_types(selected, filter.network_types);
  if (filter.hashmap_size) select_hashmap_size(selected, *filter.hashmap_size);
  if (filter.run_index) select_index(selected, *filter.run_index, runs.size());
  for (Run& run : selected) {
    apply(overrides, run);
    check_decomposition(run);
  }
  return selected;
}

namespace {

/// What differs from one model on one rank; nothing of a run that is only spread over ranks.
nlohmann::ordered_json json_of(const Decomposition& how) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (how.mode != "shared") {
    const std::int64_t bricks = how.bricks.count() > 0 ? how.bricks.count() : how.brick_count;
    json = {{"mode", how.mode}, {"bricks", bricks}, {"ghost", how.ghost}, {"blend", how.blend}};
  }
  if (how.mode == "hybrid") {
    json["share_every"] = how.share_every;
    json["share_resolution"] = how.share_resolution;
  }
  if (how.wire != "fp32") json["wire"] = how.wire;
  return json;
}

nlohmann::ordered_json json_of(const PartChoice& part) {
  if (part.bare) return part.name;
  nlohmann::ordered_json json{{"name", part.name}};
  std::visit(
      [&](const auto& one) {
        one.fields(one, [&](const char* key, const auto& value) {
          if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(value)>>)
            json[key] = words(value)[static_cast<std::size_t>(value)];
          else
            json[key] = value;
        });
      },
      make_part(part));
  return json;
}

nlohmann::ordered_json json_of(const EncoderChoice& choice) {
  if (choice.size() == 1) return json_of(choice[0]);
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const PartChoice& part : choice) list.push_back(json_of(part));
  return list;
}

}  // namespace

std::string to_json(const Run& run) {
  nlohmann::ordered_json json{{"lrate", run.lrate},
                              {"lrate_decay", run.lrate_decay},
                              {"epochs", run.epochs},
                              {"n_neurons", run.n_neurons},
                              {"n_hidden_layers", run.n_hidden_layers}};
  // What an encoder does without may be missing.
  if (run.n_levels > 0) json["n_levels"] = run.n_levels;
  if (run.n_features_per_level > 0) json["n_features_per_level"] = run.n_features_per_level;
  if (run.per_level_scale > 0) json["per_level_scale"] = run.per_level_scale;
  json["log2_hashmap_size"] = run.log2_hashmap_size;
  if (run.base_resolution > 0) json["base_resolution"] = run.base_resolution;
  json["zfp_enc"] = run.zfp_enc;
  json["zfp_mlp"] = run.zfp_mlp;
  if (run.network_type != "mlp")
    json["kan_params"] = {{"grid_radius", run.kan.grid_radius},
                          {"num_grids", run.kan.num_grids},
                          {"use_base_update", run.kan.use_base_update}};
  json["output_activation"] = run.output_activation;
  json["loss"] = run.loss;
  if (run.batch_size > 0) json["batch_size"] = run.batch_size;
  json["seed"] = run.seed;
  json["network_types"] = {run.network_type};
  json["encoder"] = json_of(parse_choice(run.encoder));
  json["precision"] = run.precision;
  if (const auto how = json_of(run.decomposition); !how.empty()) json["decomposition"] = how;
  return json.dump();
}

std::string run_id(const Run& run, const std::string& volume_signature) {
  return short_hash(run.dataset + '\n' + volume_signature + '\n' + to_json(run) + '\n' +
                    std::to_string(run.repeats) + (run.faithful ? " faithful" : ""));
}

}  // namespace kanbench

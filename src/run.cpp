// Runs after the file is read: choosing among them, writing one down, naming it.

#include "kanbench/run.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "decimal.h"
#include "decoder_kind.h"
#include "encoder_choice.h"
#include "hash.h"
#include "kanbench/error.h"
#include "kanbench/model.h"
#include "kanbench/storage.h"
#include "run_key.h"
#include "size_match.h"

namespace kanbench {

namespace {

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

void check_faithful(const Run& run) {
  if (run.faithful && run.network_type != "mlp" && run.network_type != "fastkan")
    throw Error("run " + std::to_string(run.index) + ": --faithful is of no use with " +
                run.network_type + ": leave it out, or use --network-types mlp,fastkan");
}

void apply_store(const std::string& word, Run& run) {
  const Storage storage = parse_storage(word, "--store");
  const bool zfp = storage.kind == Storage::Kind::zfp;
  run.zfp_enc = run.zfp_mlp = zfp ? storage.number : 0;
  run.store = zfp ? Run{}.store : text(storage);
}

void apply(const RunOverrides& overrides, Run& run) {
  run.epochs = overrides.epochs.value_or(run.epochs);
  run.repeats = overrides.repeats.value_or(run.repeats);
  run.batch_size = overrides.batch_size.value_or(run.batch_size);
  run.seed = overrides.seed.value_or(run.seed);
  run.precision = overrides.precision.value_or(run.precision);
  run.faithful = overrides.faithful.value_or(run.faithful);
  if (overrides.store) apply_store(*overrides.store, run);
  if (overrides.train_limit_seconds)
    run.training.train_limit_seconds = overrides.train_limit_seconds;
  if (overrides.decomposition) overrides.decomposition(run.decomposition);
}

}  // namespace

std::string canonical_network_type(const std::string& name) { return decoder_kind(name).name; }

std::vector<std::string> network_type_names() {
  std::vector<std::string> names;
  for (const DecoderKind& kind : decoder_kinds()) names.push_back(kind.name);
  return names;
}

KanParameters default_parameters(const std::string& network_type) {
  return decoder_kind(network_type).defaults;
}

namespace {

std::string text_of(const Setting& setting) {
  if (const auto* flag = std::get_if<bool>(&setting)) return *flag ? "true" : "false";
  if (const auto* number = std::get_if<std::uint64_t>(&setting)) return std::to_string(*number);
  if (const auto* number = std::get_if<double>(&setting)) return decimal(*number);
  return std::get<std::string>(setting);
}

}  // namespace

std::string decoder_text(const Run& run) {
  std::vector<std::string> parts;
  if (run.network_type.empty() || !run.kan.layers.empty()) return run.kan.layers;
  for (const std::string& key : decoder_kind(run.network_type).keys)
    if (key != "grid_radius" && key != "num_grids")
      parts.push_back(key + "=" + text_of(find_key(decoder_keys(), key)->get(run)));
  return join(parts, " ");
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
    check_faithful(run);
    match_size(run, overrides.match);
    check_training(run);
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

nlohmann::ordered_json decoder_json(const Run& run) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const std::string& key : decoder_kind(run.network_type).keys) {
    // FastKAN's is told only where it is not fixed, as it was before it could be learned.
    if (run.network_type == "fastkan" && key == "inner" && run.kan.inner == "fixed") continue;
    std::visit([&](const auto& value) { json[key] = value; },
               find_key(decoder_keys(), key)->get(run));
  }
  return json;
}

/// What is not as it is without being named.
void add_training(const Run& run, nlohmann::ordered_json& json) {
  for (const char* chooser : {"optimizer", "schedule", "sampling"})
    if (const std::string& word = training_word(run, chooser);
        word != training_word(Run{}, chooser))
      json[chooser] = word;
  for (const TrainingOption& option : training_options()) {
    const std::optional<double> value = training_option(run, option.key);
    Run unset = run;
    unset.training.*option.member = {};
    if (!value || value == training_option(unset, option.key)) continue;
    if (option.kind == TrainingOption::Kind::flag)
      json[option.key] = *value > 0;
    else if (option.kind == TrainingOption::Kind::whole)
      json[option.key] = static_cast<std::int64_t>(*value);
    else
      json[option.key] = *value;
  }
}

nlohmann::ordered_json json_of(const PartChoice& part) {
  if (part.bare) return part.name;
  nlohmann::ordered_json json{{"name", part.name}};
  std::visit(
      [&](const auto& one) {
        one.fields(one, [&](const char* key, const auto& value) {
          if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(value)>>)
            json[key] = words_of(value)[static_cast<std::size_t>(value)];
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
  if (run.store != Run{}.store) json["store"] = run.store;
  if (const auto parameters = decoder_json(run); !parameters.empty())
    json[run.network_type == "fastkan" ? "kan_params" : "decoder_params"] = parameters;
  if (!run.kan.layers.empty()) json["layers"] = nlohmann::ordered_json::parse(run.kan.layers);
  json["output_activation"] = run.output_activation;
  json["loss"] = run.loss;
  if (run.batch_size > 0) json["batch_size"] = run.batch_size;
  json["seed"] = run.seed;
  json["network_types"] = {run.network_type};
  json["encoder"] = json_of(parse_choice(run.encoder));
  json["precision"] = run.precision;
  add_training(run, json);
  if (const auto how = json_of(run.decomposition); !how.empty()) json["decomposition"] = how;
  return json.dump();
}

std::string run_id(const Run& run, const std::string& volume_signature) {
  return short_hash(run.dataset + '\n' + volume_signature + '\n' + to_json(run) + '\n' +
                    std::to_string(run.repeats) + (run.faithful ? " faithful" : ""));
}

}  // namespace kanbench

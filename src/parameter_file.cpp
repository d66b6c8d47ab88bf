// Parameter files: each entry's keys become axes, and the axes' cartesian product becomes runs.

#include <algorithm>
#include <array>

#include "axis.h"
#include "decoder_axis.h"
#include "encoder_axis.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/recipe.h"
#include "kanbench/run.h"
#include "kanbench/storage.h"

namespace kanbench {

namespace {

/// What an entry says, each axis in its place of the product's order.
struct Entry {
  std::vector<Axis> axes, decoder_axes, encoder_axes;
  std::vector<std::string> network_types;
};

/// The axes that vary slowest, outermost first; the others follow as they stand in the file.
constexpr std::array outermost{"log2_hashmap_size", "n_neurons", "n_hidden_layers", "n_levels",
                               "n_features_per_level"};

template <std::size_t N>
std::size_t rank(const std::array<const char*, N>& names, const Axis& axis) {
  const auto same = [&](const char* name) { return std::string(name) == axis.key->name; };
  return static_cast<std::size_t>(std::find_if(names.begin(), names.end(), same) - names.begin());
}

template <std::size_t N>
void order(const std::array<const char*, N>& names, std::vector<Axis>& axes) {
  std::stable_sort(axes.begin(), axes.end(),
                   [&](const Axis& a, const Axis& b) { return rank(names, a) < rank(names, b); });
}

const JsonNode* find_member(const JsonNode::Object& object, const std::string& name) {
  for (const auto& [key, value] : object)
    if (key == name) return &value;
  return nullptr;
}

[[noreturn]] void refuse_key(const Place& place, const std::string& key,
                             std::vector<std::string> known) {
  std::string remedy = nearest(key, known);
  if (find_key(decoder_keys(), key))
    remedy = ", it belongs in decoder_params";
  else if (remedy.empty())
    remedy = "; known: " + join(known);
  throw Error(place.source + ": " + member_path(place.path, key) + " is not a known key" + remedy);
}

/// Reads the members of `object` that are `keys`; `take` gets each other one and says whether it
/// knew it.
template <class Take>
std::vector<Axis> read_axes(const JsonNode::Object& object, std::span<const RunKey> keys,
                            const Place& place, std::int64_t limit, Take&& take) {
  std::vector<Axis> axes;
  for (const auto& [name, value] : object) {
    const Place here{place.source, member_path(place.path, name)};
    if (const RunKey* key = find_key(keys, name)) {
      const JsonNode* step = key->is_number() ? find_member(object, name + "_step") : nullptr;
      axes.push_back(key->name == std::string("encoder")
                         ? read_encoder_axis(*key, value, here, limit)
                         : read_axis(*key, value, step, here, limit));
      continue;
    }
    const RunKey* stepped =
        name.ends_with("_step") ? find_key(keys, name.substr(0, name.size() - 5)) : nullptr;
    if (stepped && stepped->is_number()) {
      if (!find_member(object, stepped->name))
        throw Error(here.source + ": " + here.path + " has no range to step through, write " +
                    stepped->name + " as [low, high] beside it");
      continue;
    }
    take(name, value, here);
  }
  return axes;
}

std::vector<std::string> read_network_types(const JsonNode& value, const Place& place) {
  const auto* list = value.as<JsonNode::List>();
  if (!list || list->empty()) refuse(place, value, "a list of network types like [\"mlp\"]");
  std::vector<std::string> types;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const Place here{place.source, item_path(place.path, i)};
    const auto* name = (*list)[i].as<std::string>();
    if (!name) refuse(here, (*list)[i], "the name of a network type like \"mlp\"");
    try {
      types.push_back(canonical_network_type(*name));
    } catch (const Error& error) {
      throw Error(here.source + ": " + here.path + ": " + error.what());
    }
    if (std::count(types.begin(), types.end(), types.back()) > 1)
      throw Error(here.source + ": " + here.path + " names " + types.back() +
                  " a second time, once is right");
  }
  return types;
}

/// The encoders of an entry's runs.
std::vector<EncoderChoice> encoders_of(const Entry& entry) {
  std::vector<EncoderChoice> all;
  for (const Axis& axis : entry.axes)
    if (axis.key->name == std::string("encoder"))
      for (const Setting& setting : axis.settings)
        all.push_back(parse_choice(std::get<std::string>(setting)));
  if (all.empty()) all.push_back(parse_choice(Run{}.encoder));
  return all;
}

void require_keys(const Entry& entry, const Place& place) {
  EncoderNumbers overrides;
  for (const Axis& axis : entry.encoder_axes) overrides.emplace_back(axis.key->name, 0);
  std::vector<std::string> required, missing;
  for (const EncoderChoice& choice : encoders_of(entry))
    for (std::string& name : required_keys(choice, overrides)) required.push_back(std::move(name));
  for (const RunKey& key : run_keys()) {
    const bool given = std::any_of(entry.axes.begin(), entry.axes.end(),
                                   [&](const Axis& axis) { return axis.key == &key; });
    const bool wanted = key.required || std::count(required.begin(), required.end(), key.name);
    if (wanted && !given) missing.emplace_back(key.name);
  }
  if (!missing.empty())
    throw Error(place.source + ": " + place.path + " lacks " + join(missing) +
                ", which every run must have");
}

/// The axes of an object within a run: decoder_params or decomposition.
std::vector<Axis> read_inner_axes(const JsonNode& value, std::span<const RunKey> keys,
                                  const Place& place, std::int64_t limit) {
  const auto* object = value.as<JsonNode::Object>();
  if (!object) refuse(place, value, "an object with " + join(key_names(keys)));
  return read_axes(*object, keys, place, limit,
                   [&](const std::string& name, const JsonNode&, const Place&) {
                     refuse_key(place, name, key_names(keys));
                   });
}

[[noreturn]] void refuse_twice(const Place& place) {
  throw Error(place.source + ": " + place.path +
              " stands beside its other name, decoder_params or kan_params: write one of them");
}

Entry read_entry(const JsonNode& node, const Place& place, std::vector<std::string> network_types,
                 std::int64_t limit) {
  const auto* object = node.as<JsonNode::Object>();
  if (!object) refuse(place, node, "a run object {...}");
  Entry entry;
  entry.network_types = std::move(network_types);
  std::vector<Axis> decomposition, layers;
  entry.axes =
      read_axes(*object, run_keys(), place, limit,
                [&](const std::string& name, const JsonNode& value, const Place& here) {
                  if (name == "network_types") {
                    entry.network_types = read_network_types(value, here);
                  } else if (name == "kan_params" || name == "decoder_params") {
                    if (!entry.decoder_axes.empty()) refuse_twice(here);
                    entry.decoder_axes = read_inner_axes(value, decoder_keys(), here, limit);
                    order(common_decoder_keys, entry.decoder_axes);
                  } else if (name == "layers") {
                    layers = {read_layer_axis(value, here, limit)};
                  } else if (name == "decomposition") {
                    decomposition = read_inner_axes(value, decomposition_keys(), here, limit);
                  } else if (name == "encoder_params") {
                    entry.encoder_axes = read_inner_axes(value, encoder_keys(), here, limit);
                  } else {
                    auto known = key_names(run_keys());
                    known.insert(known.end(), {"network_types", "decoder_params", "kan_params",
                                               "layers", "encoder_params", "decomposition"});
                    refuse_key(place, name, std::move(known));
                  }
                });
  require_keys(entry, place);
  check_decoder_axes(entry.network_types, entry.decoder_axes, !layers.empty(), place);
  check_encoder_params(encoders_of(entry), entry.encoder_axes,
                       {place.source, member_path(place.path, "encoder_params")});
  order(outermost, entry.axes);
  entry.axes.insert(entry.axes.end(), decomposition.begin(), decomposition.end());
  entry.decoder_axes.insert(entry.decoder_axes.end(), layers.begin(), layers.end());
  return entry;
}

/// The number of points, or more than `limit` if it would be.
std::int64_t product(const std::vector<Axis>& axes, std::int64_t limit) {
  std::int64_t points = 1;
  for (const Axis& axis : axes) {
    const auto factor = static_cast<std::int64_t>(axis.settings.size());
    if (points > limit / factor) return limit + 1;
    points *= factor;
  }
  return points;
}

std::int64_t count_runs(const Entry& entry, std::int64_t limit) {
  std::int64_t kinds = 0;
  for (const std::string& type : entry.network_types)
    kinds += product(axes_of_decoder(type, entry.decoder_axes), limit);
  std::vector<Axis> axes = entry.axes;
  axes.insert(axes.end(), entry.encoder_axes.begin(), entry.encoder_axes.end());
  const std::int64_t points = product(axes, limit);
  return points > limit / kinds ? limit + 1 : points * kinds;
}

template <class Leaf>
void each_point(std::span<const Axis> axes, Run& run, const Leaf& leaf) {
  if (axes.empty()) return leaf(run);
  for (const Setting& setting : axes.front().settings) {
    axes.front().key->set(run, setting);
    each_point(axes.subspan(1), run, leaf);
  }
}

int cube_root(std::int64_t value) {
  std::int64_t root = 1;
  while ((root + 1) * (root + 1) * (root + 1) <= value) ++root;
  return static_cast<int>(root);
}

/// "zfp:TOLERANCE" is both tolerances, which no other way of storing has.
void settle_store(Run& run, const Place& place) {
  const Storage storage = parse_storage(run.store, "store");
  if (storage.kind == Storage::Kind::fp32) return;
  if (run.zfp_enc > 0 || run.zfp_mlp > 0)
    throw Error(place.source + ": " + place.path + ": store " + run.store +
                " stands beside a zfp_enc or zfp_mlp above 0: set those to 0, or leave store out");
  if (storage.kind != Storage::Kind::zfp) return;
  run.zfp_enc = run.zfp_mlp = storage.number;
  run.store = Run{}.store;
}

void settle(Run& run, const EncoderNumbers& numbers, const Place& place) {
  settle_store(run, place);
  if (run.base_resolution < 0) {
    const double* over = find_number(numbers, "log2_hashmap_size");
    const int log2 = over ? static_cast<int>(*over) : std::max(run.log2_hashmap_size, 0);
    run.base_resolution = cube_root(std::int64_t{1} << log2);
  }
  settle_encoder(run, numbers, place.source + ": " + place.path + ": ");
}

template <class Leaf>
void each_numbers(std::span<const Axis> axes, EncoderNumbers& numbers, const Leaf& leaf) {
  if (axes.empty()) return leaf(numbers);
  for (const Setting& setting : axes.front().settings) {
    numbers.emplace_back(axes.front().key->name, to_number(*axes.front().key, setting));
    each_numbers(axes.subspan(1), numbers, leaf);
    numbers.pop_back();
  }
}

/// A custom decoder's widths are its layers'; throws where they are none.
void settle_layers(Run& run, const std::string& source) try {
  const std::vector<Layer> layers = make_spec(run).layers;
  run.n_neurons = 0;
  for (const Layer& layer : layers) run.n_neurons = std::max(run.n_neurons, layer.out);
  run.n_hidden_layers = static_cast<int>(layers.size()) - 1;
} catch (const Error& error) {
  throw Error(source + ": " + error.what());
}

void append_runs(const Entry& entry, const std::string& dataset, const Place& place,
                 std::vector<Run>& runs) {
  EncoderNumbers numbers;
  const auto add = [&](const Run& point) {
    each_numbers(entry.encoder_axes, numbers, [&](const EncoderNumbers& given) {
      Run run = point;
      settle(run, given, place);
      if (!run.kan.layers.empty()) settle_layers(run, place.source);
      run.index = static_cast<std::int64_t>(runs.size());
      runs.push_back(std::move(run));
    });
  };
  Run start;
  start.dataset = dataset;
  // Until it is settled: the file does not say.
  start.log2_hashmap_size = -1;
  each_point(entry.axes, start, [&](const Run& point) {
    for (const std::string& type : entry.network_types) {
      Run run = point;
      run.network_type = type;
      const std::vector<Axis> axes = axes_of_decoder(type, entry.decoder_axes);
      run.kan = start_of_decoder(type, axes);
      each_point(axes, run, add);
    }
  });
}

/// The names behind the aliases, each once.
std::vector<std::string> canonical(const std::vector<std::string>& names) {
  std::vector<std::string> types;
  for (const std::string& name : names) {
    std::string type = canonical_network_type(name);
    if (std::find(types.begin(), types.end(), type) == types.end())
      types.push_back(std::move(type));
  }
  check(!types.empty(), "no network types");
  return types;
}

}  // namespace

std::vector<Run> parse_runs(const std::string& text, const std::string& source,
                            const std::vector<std::string>& network_types, std::int64_t limit) {
  const auto types = canonical(network_types);
  const JsonNode root = parse_json(text, source);
  const auto* datasets = root.as<JsonNode::Object>();
  if (!datasets)
    throw Error(source + ": holds " + describe(root) +
                ", must be an object {\"dataset\": {run} or [runs]}");
  std::vector<Run> runs;
  const auto add = [&](const std::string& dataset, const JsonNode& node, const Place& place) {
    const Entry entry = read_entry(node, place, types, limit);
    if (count_runs(entry, limit) > limit - static_cast<std::int64_t>(runs.size()))
      throw Error(source + ": " + place.path + " brings the file to more than " +
                  std::to_string(limit) + " runs, sweep over fewer values");
    append_runs(entry, dataset, place, runs);
  };
  for (const auto& [dataset, node] : *datasets) {
    const Place place{source, member_path("", dataset)};
    const auto* list = node.as<JsonNode::List>();
    if ((!list && !node.as<JsonNode::Object>()) || (list && list->empty()) || dataset.empty())
      refuse(place, node, "a run object {...} or a list of them, under a dataset's name");
    if (!list) add(dataset, node, place);
    for (std::size_t i = 0; list && i < list->size(); ++i)
      add(dataset, (*list)[i], {source, item_path(place.path, i)});
  }
  if (runs.empty()) throw Error(source + ": holds no dataset, must name at least one");
  return runs;
}

std::vector<Run> load_runs(const std::string& path, const std::vector<std::string>& network_types) {
  return parse_runs(read_file(path), path, network_types);
}

}  // namespace kanbench

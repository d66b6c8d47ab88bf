// Parameter files: each entry's keys become axes, and the axes' cartesian product becomes runs.

#include <algorithm>
#include <array>

#include "axis.h"
#include "decoder_kind.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/recipe.h"
#include "kanbench/run.h"

namespace kanbench {

namespace {

/// What an entry says, each axis in its place of the product's order.
struct Entry {
  std::vector<Axis> axes, decoder_axes;
  std::vector<std::string> network_types;
};

/// The axes that vary slowest, outermost first; the others follow as they stand in the file.
constexpr std::array outermost{"log2_hashmap_size", "n_neurons", "n_hidden_layers", "n_levels",
                               "n_features_per_level"};
/// Those of decoder_params, which vary fastest of all; their others follow.
constexpr std::array innermost{"grid_radius", "num_grids", "use_base_update"};

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
      axes.push_back(read_axis(*key, value, step, here, limit));
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

void require_keys(const std::vector<Axis>& axes, const Place& place) {
  std::vector<std::string> missing;
  for (const RunKey& key : run_keys())
    if (key.required &&
        std::none_of(axes.begin(), axes.end(), [&](const Axis& axis) { return axis.key == &key; }))
      missing.emplace_back(key.name);
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

/// The layers of a custom decoder: one list of them, or {"values": [...]} of lists.
std::vector<Axis> read_layer_axis(const JsonNode& value, const Place& place, std::int64_t limit) {
  static const RunKey key{
      "layers", RunKey::Kind::word, 0, 0, {}, false, [](Run& run, const Setting& s) {
        run.kan.layers = std::get<std::string>(s);
      }};
  Axis axis{&key, {}, 0};
  const auto add = [&](const JsonNode& layers, const Place& here) {
    if (!layers.as<JsonNode::List>()) refuse(here, layers, "a list of layers like [{\"out\": 1}]");
    axis.settings.emplace_back(to_text(layers));
  };
  const auto* sweep = value.as<JsonNode::Object>();
  if (!sweep) {
    add(value, place);
    return {axis};
  }
  const auto* lists = sweep->size() == 1 && sweep->front().first == "values"
                          ? sweep->front().second.as<JsonNode::List>()
                          : nullptr;
  if (!lists || lists->empty() || lists->size() > static_cast<std::size_t>(limit))
    refuse(place, value, "a list of layers or {\"values\": [one list or more]}");
  const std::string path = member_path(place.path, "values");
  for (std::size_t i = 0; i < lists->size(); ++i)
    add((*lists)[i], {place.source, item_path(path, i)});
  return {axis};
}

bool takes(const std::string& type, const Axis& axis) {
  if (axis.key->name == std::string("layers")) return type == "custom";
  return decoder_kind(type).takes(axis.key->name);
}

/// Refuses what no decoder of the entry takes. The three that KAN-INR's files always have may stand
/// beside an MLP alone.
void check_decoder_axes(const Entry& entry, bool layers, const Place& place) {
  const auto& types = entry.network_types;
  for (const Axis& axis : entry.decoder_axes) {
    const std::string key = axis.key->name;
    if (rank(innermost, axis) < innermost.size()) continue;
    if (std::none_of(types.begin(), types.end(),
                     [&](const std::string& type) { return takes(type, axis); }))
      throw Error(place.source + ": " +
                  member_path(member_path(place.path, "decoder_params"), key) +
                  " is of no use to " + join(types) + ": leave it out");
  }
  const bool custom = std::find(types.begin(), types.end(), "custom") != types.end();
  if (layers != custom)
    throw Error(place.source + ": " + place.path +
                (custom ? " trains a custom decoder, but lacks layers"
                        : " has layers, but custom is not among its network_types") +
                ": write both or neither");
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
                    if (!entry.decoder_axes.empty())
                      throw Error(here.source + ": " + here.path +
                                  " stands beside its other name, decoder_params or kan_params: " +
                                  "write one of them");
                    entry.decoder_axes = read_inner_axes(value, decoder_keys(), here, limit);
                    order(innermost, entry.decoder_axes);
                  } else if (name == "layers") {
                    layers = read_layer_axis(value, here, limit);
                  } else if (name == "decomposition") {
                    decomposition = read_inner_axes(value, decomposition_keys(), here, limit);
                  } else {
                    auto known = key_names(run_keys());
                    known.insert(known.end(), {"network_types", "decoder_params", "kan_params",
                                               "layers", "decomposition"});
                    refuse_key(place, name, std::move(known));
                  }
                });
  require_keys(entry.axes, place);
  check_decoder_axes(entry, !layers.empty(), place);
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

/// Those of the decoder's axes that it takes.
std::vector<Axis> axes_of(const Entry& entry, const std::string& type) {
  std::vector<Axis> axes;
  for (const Axis& axis : entry.decoder_axes)
    if (takes(type, axis)) axes.push_back(axis);
  return axes;
}

std::int64_t count_runs(const Entry& entry, std::int64_t limit) {
  std::int64_t kinds = 0;
  for (const std::string& type : entry.network_types) kinds += product(axes_of(entry, type), limit);
  const std::int64_t points = product(entry.axes, limit);
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

void settle(Run& run) {
  if (run.base_resolution == 0)
    run.base_resolution = cube_root(std::int64_t{1} << run.log2_hashmap_size);
  if (run.log2_hashmap_size == 0) run.encoder = "identity";
}

KanParameters decoder_start(const std::string& type, const std::vector<Axis>& axes) {
  KanParameters kan = decoder_kind(type).defaults;
  for (const Axis& axis : axes) {
    if (axis.key->name == std::string("grid_radius")) kan.grid_radius_step = axis.step;
    if (axis.key->name == std::string("num_grids"))
      kan.num_grids_step = static_cast<int>(std::min(axis.step, 64.0));
  }
  return kan;
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

void append_runs(const Entry& entry, const std::string& dataset, const std::string& source,
                 std::vector<Run>& runs) {
  const auto add = [&](Run run) {
    settle(run);
    if (!run.kan.layers.empty()) settle_layers(run, source);
    run.index = static_cast<std::int64_t>(runs.size());
    runs.push_back(std::move(run));
  };
  Run start;
  start.dataset = dataset;
  each_point(entry.axes, start, [&](const Run& point) {
    for (const std::string& type : entry.network_types) {
      Run run = point;
      run.network_type = type;
      const std::vector<Axis> axes = axes_of(entry, type);
      run.kan = decoder_start(type, axes);
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
    append_runs(entry, dataset, source, runs);
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

#include "decoder_axis.h"

#include <algorithm>

#include "decoder_kind.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

bool takes(const std::string& type, const Axis& axis) {
  if (axis.key->name == std::string("layers")) return type == "custom";
  return decoder_kind(type).takes(axis.key->name);
}

bool is_common(const std::string& key) {
  return std::find(std::begin(common_decoder_keys), std::end(common_decoder_keys), key) !=
         std::end(common_decoder_keys);
}

}  // namespace

Axis read_layer_axis(const JsonNode& value, const Place& place, std::int64_t limit) {
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
    return axis;
  }
  const auto* lists = sweep->size() == 1 && sweep->front().first == "values"
                          ? sweep->front().second.as<JsonNode::List>()
                          : nullptr;
  if (!lists || lists->empty() || lists->size() > static_cast<std::size_t>(limit))
    refuse(place, value, "a list of layers or {\"values\": [one list or more]}");
  const std::string path = member_path(place.path, "values");
  for (std::size_t i = 0; i < lists->size(); ++i)
    add((*lists)[i], {place.source, item_path(path, i)});
  return axis;
}

void check_decoder_axes(const std::vector<std::string>& types, const std::vector<Axis>& axes,
                        bool layers, const Place& place) {
  for (const Axis& axis : axes) {
    const std::string key = axis.key->name;
    const auto takes_it = [&](const std::string& type) { return takes(type, axis); };
    if (!is_common(key) && std::none_of(types.begin(), types.end(), takes_it))
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

std::vector<Axis> axes_of_decoder(const std::string& type, const std::vector<Axis>& axes) {
  std::vector<Axis> taken;
  for (const Axis& axis : axes)
    if (takes(type, axis)) taken.push_back(axis);
  return taken;
}

KanParameters start_of_decoder(const std::string& type, const std::vector<Axis>& axes) {
  KanParameters kan = decoder_kind(type).defaults;
  for (const Axis& axis : axes) {
    if (axis.key->name == std::string("grid_radius")) kan.grid_radius_step = axis.step;
    if (axis.key->name == std::string("num_grids"))
      kan.num_grids_step = static_cast<int>(std::min(axis.step, 64.0));
  }
  return kan;
}

}  // namespace kanbench

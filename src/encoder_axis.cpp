#include "encoder_axis.h"

#include <algorithm>

#include "kanbench/error.h"

namespace kanbench {
namespace {

// Short for what fV-SRN is made of.
constexpr const char* kFvSrn = "fv_srn";

std::vector<std::string> words() {
  std::vector<std::string> all = part_names();
  all.emplace_back(kFvSrn);
  return all;
}

template <class T>
RunKey make_key(const char* field, const EncoderLimit& limit, const T& value) {
  std::vector<std::string> known;
  if constexpr (std::is_enum_v<T>) {
    const auto all = words_of(value);
    known.assign(all.begin(), all.end());
  }
  const RunKey::Kind kind = std::is_enum_v<T>         ? RunKey::Kind::word
                            : std::is_same_v<T, bool> ? RunKey::Kind::flag
                            : std::is_same_v<T, int>  ? RunKey::Kind::whole
                                                      : RunKey::Kind::real;
  return {field, kind, limit.low, limit.high, std::move(known), false, nullptr};
}

// The fields of the encoder as keys.
std::vector<RunKey> keys_of(const std::string& encoder) {
  std::vector<RunKey> keys;
  std::visit(
      [&](const auto& one) {
        one.fields(one, [&](const char* field, const auto& value) {
          keys.push_back(make_key(field, encoder_limit(encoder, field), value));
        });
      },
      make_part({encoder, {}}));
  return keys;
}

void require_part(const JsonNode& name, const std::vector<std::string>& known, const Place& place) {
  const auto* text = name.as<std::string>();
  if (!text || std::find(known.begin(), known.end(), *text) == known.end())
    refuse(place, name, either(known) + (text ? nearest(*text, known) : ""));
}

void append_name(const JsonNode& value, const Place& place, EncoderChoice& choice) {
  require_part(value, words(), place);
  const std::string& name = *value.as<std::string>();
  if (name == kFvSrn)
    choice.insert(choice.end(),
                  {{encoder::DenseGrid::name, {}, true}, {encoder::Frequency::name, {}, true}});
  else
    choice.push_back({name, {}, true});
}

void append_object(const JsonNode::Object& object, const JsonNode& node, const Place& place,
                   EncoderChoice& choice) {
  const auto found = std::find_if(object.begin(), object.end(),
                                  [](const auto& member) { return member.first == "name"; });
  if (found == object.end())
    refuse(place, node, "an object with the \"name\" of an encoder: " + either(part_names()));
  require_part(found->second, part_names(), {place.source, member_path(place.path, "name")});
  PartChoice part{*found->second.as<std::string>(), {}, false};
  const std::vector<RunKey> keys = keys_of(part.name);
  for (const auto& [name, value] : object) {
    if (name == "name") continue;
    const Place here{place.source, member_path(place.path, name)};
    const RunKey* key = find_key(keys, name);
    if (!key) {
      const std::vector<std::string> known = field_names(part.name);
      throw Error(here.source + ": " + here.path + " is not a number of " + part.name +
                  nearest(name, known) +
                  (known.empty() ? ", which has none" : "; it has " + join(known)));
    }
    if (value.as<JsonNode::List>() || value.as<JsonNode::Object>())
      refuse(here, value, key->wanted() + "; sweeps over it stand in encoder_params");
    part.given.emplace_back(name,
                            to_number(*key, read_axis(*key, value, nullptr, here, 1).settings[0]));
  }
  choice.push_back(std::move(part));
}

void append_part(const JsonNode& value, const Place& place, EncoderChoice& choice) {
  if (const auto* object = value.as<JsonNode::Object>())
    append_object(*object, value, place, choice);
  else
    append_name(value, place, choice);
}

EncoderChoice read_choice(const JsonNode& value, const Place& place) {
  EncoderChoice choice;
  const auto* list = value.as<JsonNode::List>();
  if (!list) {
    append_part(value, place, choice);
    return choice;
  }
  for (std::size_t i = 0; i < list->size(); ++i)
    append_part((*list)[i], {place.source, item_path(place.path, i)}, choice);
  if (choice.empty() || choice.size() > kMaxEncoderParts)
    refuse(place, value,
           "a list of 1 to " + std::to_string(kMaxEncoderParts) + " encoders side by side");
  return choice;
}

}  // namespace

Axis read_encoder_axis(const RunKey& key, const JsonNode& value, const Place& place,
                       std::int64_t limit) {
  Axis axis{&key, {}, 0};
  const auto* object = value.as<JsonNode::Object>();
  const bool swept = object && object->size() == 1 && object->front().first == "values";
  if (!swept) {
    axis.settings.emplace_back(to_text(read_choice(value, place)));
    return axis;
  }
  const auto* list = object->front().second.as<JsonNode::List>();
  if (!list || list->empty() || list->size() > static_cast<std::size_t>(limit))
    refuse(place, value, "{\"values\": [one or more encoders]}");
  const std::string path = member_path(place.path, "values");
  for (std::size_t i = 0; i < list->size(); ++i)
    axis.settings.emplace_back(
        to_text(read_choice((*list)[i], {place.source, item_path(path, i)})));
  return axis;
}

std::span<const RunKey> encoder_keys() {
  static const std::vector<RunKey> all = [] {
    std::vector<RunKey> keys;
    for (const std::string& name : part_names())
      for (const RunKey& key : keys_of(name)) {
        const auto same = std::find_if(keys.begin(), keys.end(), [&](const RunKey& other) {
          return std::string(other.name) == key.name;
        });
        if (same == keys.end()) {
          keys.push_back(key);
          continue;
        }
        same->low = std::min(same->low, key.low);
        same->high = std::max(same->high, key.high);
      }
    return keys;
  }();
  return all;
}

void check_encoder_params(const std::vector<EncoderChoice>& encoders, std::span<const Axis> params,
                          const Place& place) {
  for (const EncoderChoice& choice : encoders) {
    std::vector<std::string> known;
    for (const PartChoice& part : choice)
      for (const std::string& field : field_names(part.name))
        if (std::find(known.begin(), known.end(), field) == known.end()) known.push_back(field);
    for (const Axis& axis : params) {
      if (std::find(known.begin(), known.end(), axis.key->name) != known.end()) continue;
      std::vector<std::string> names;
      for (const PartChoice& part : choice) names.push_back(part.name);
      throw Error(place.source + ": " + member_path(place.path, axis.key->name) +
                  " is not a number of " + join(names, "+") + nearest(axis.key->name, known) +
                  (known.empty() ? ", which has none" : "; it has " + join(known)));
    }
  }
}

double to_number(const RunKey& key, const Setting& setting) {
  if (const auto* word = std::get_if<std::string>(&setting))
    return static_cast<double>(std::find(key.words.begin(), key.words.end(), *word) -
                               key.words.begin());
  if (const auto* flag = std::get_if<bool>(&setting)) return *flag ? 1 : 0;
  if (const auto* whole = std::get_if<std::uint64_t>(&setting)) return static_cast<double>(*whole);
  return std::get<double>(setting);
}

}  // namespace kanbench

// The architecture as JSON. What is read may come from anyone: names, keys and numbers are held to
// what a parameter file may say, before anything is built from them.

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <type_traits>
#include <utility>

#include "encoder_choice.h"
#include "io/quote.h"
#include "kanbench/error.h"
#include "kanbench/model_file.h"
#include "kanbench/run.h"

namespace kanbench {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxDepth = 8;
constexpr std::size_t kMaxLayers = 64;
constexpr int kMaxWidth = 4096;

struct Limit {
  const char* key;
  double low, high;
};
constexpr Limit kLimits[] = {{"num_grids", 2, 64},
                             {"grid_radius", 1e-30, 1e30},
                             {"in", 1, kMaxWidth},
                             {"out", 1, kMaxWidth}};

// For the field of a basis that needs no limit of its own.
constexpr Limit kCommonLimit{"", 0, 4096};

Limit limit_of(const std::string& encoder, const std::string& key) {
  if (!encoder.empty()) {
    const EncoderLimit limit = encoder_limit(encoder, key);
    return {"", limit.low, limit.high};
  }
  for (const Limit& limit : kLimits)
    if (key == limit.key) return limit;
  return kCommonLimit;
}

// One JSON object, read key by key; `done` refuses the keys that nobody asked for.
class Object {
 public:
  Object(const Json& json, std::string at) : json_(json), at_(std::move(at)) {
    if (!json.is_object()) throw Error(at_ + ": expected an object, found " + json.type_name());
  }

  const Json& take(const std::string& key) {
    taken_.push_back(key);
    const auto found = json_.find(key);
    if (found == json_.end()) throw Error(at_ + ": has no '" + key + "'");
    return *found;
  }
  void read(const std::string& key, bool& value) {
    const Json& json = take(key);
    if (!json.is_boolean()) wrong(key, "true or false", json);
    value = json.get<bool>();
  }
  void read(const std::string& key, std::string& value) {
    const Json& json = take(key);
    if (!json.is_string()) wrong(key, "text", json);
    value = json.get<std::string>();
  }
  void read(const std::string& key, int& value) {
    const Json& json = take(key);
    if (!json.is_number_integer()) wrong(key, "a whole number", json);
    value = static_cast<int>(limited(key, json));
  }
  void read(const std::string& key, double& value) {
    const Json& json = take(key);
    if (!json.is_number()) wrong(key, "a number", json);
    value = limited(key, json);
  }
  void read(const std::string& key, float& value) {
    double number;
    read(key, number);
    value = static_cast<float>(number);
  }
  template <class Choice>
  requires std::is_enum_v<Choice>
  void read(const std::string& key, Choice& value) {
    std::string word;
    read(key, word);
    const auto known = words(value);
    const auto found = std::find(known.begin(), known.end(), word);
    if (found == known.end())
      throw Error(at_ + ": '" + key + "': unknown word " + quote(word) +
                  " (known: " + join(std::vector<std::string>(known.begin(), known.end())) + ")");
    value = static_cast<Choice>(found - known.begin());
  }
  /// Numbers from here on are those of this encoder.
  void of_encoder(const std::string& name) { encoder_ = name; }
  void done() const {
    for (const auto& [key, value] : json_.items())
      if (std::find(taken_.begin(), taken_.end(), key) == taken_.end())
        throw Error(at_ + ": unknown key " + quote(key) + nearest(key, taken_) +
                    " (known: " + join(taken_) + ")");
  }

 private:
  [[noreturn]] void wrong(const std::string& key, const std::string& right,
                          const Json& found) const {
    throw Error(at_ + ": '" + key + "': expected " + right + ", found " + found.type_name());
  }
  double limited(const std::string& key, const Json& json) const {
    const double value = json.get<double>();
    const Limit limit = limit_of(encoder_, key);
    if (value >= limit.low && value <= limit.high) return value;
    throw Error(at_ + ": '" + key + "': " + json.dump() +
                " is out of range: " + Json(limit.low).dump() + " to " + Json(limit.high).dump());
  }

  const Json& json_;
  std::string at_;
  std::string encoder_;
  std::vector<std::string> taken_;
};

template <class Variant, std::size_t... I>
std::vector<std::string> names_of(std::index_sequence<I...>) {
  return {std::variant_alternative_t<I, Variant>::name...};
}

template <class Variant, std::size_t... I>
bool choose(Variant& variant, const std::string& word, std::index_sequence<I...>) {
  return ((word == std::variant_alternative_t<I, Variant>::name
               ? (variant = std::variant_alternative_t<I, Variant>{}, true)
               : false) ||
          ...);
}

template <class Variant>
Variant read_variant(const Json& json, const std::string& at);

std::vector<EncoderPart> read_parts(const Json& json, const std::string& at) {
  if (!json.is_array() || json.empty() || json.size() > kMaxEncoderParts)
    throw Error(at + ": expected a list of 1 to " + std::to_string(kMaxEncoderParts) +
                " encoders, found " +
                (json.is_array() ? std::to_string(json.size()) : json.type_name()));
  std::vector<EncoderPart> parts;
  for (const Json& one : json)
    parts.push_back(read_variant<EncoderPart>(one, at + "[" + std::to_string(parts.size()) + "]"));
  return parts;
}

// {"name": ..., and the alternative's fields}, for a basis or an encoder.
template <class Variant>
Variant read_variant(const Json& json, const std::string& at) {
  constexpr auto all = std::make_index_sequence<std::variant_size_v<Variant>>{};
  Object object(json, at);
  std::string word;
  object.read("name", word);
  Variant variant;
  if (!choose(variant, word, all)) {
    const std::vector<std::string> known = names_of<Variant>(all);
    throw Error(at + ": unknown name " + quote(word) + nearest(word, known) +
                " (known: " + join(known) + ")");
  }
  if constexpr (!std::is_same_v<Variant, Basis>) object.of_encoder(word);
  std::visit(
      [&](auto& chosen) {
        using Chosen = std::remove_reference_t<decltype(chosen)>;
        Chosen::fields(chosen, [&](const char* key, auto& value) {
          if constexpr (std::is_same_v<decltype(value), std::vector<EncoderPart>&>)
            value = read_parts(object.take(key), at + "." + key);
          else
            object.read(key, value);
        });
      },
      variant);
  object.done();
  return variant;
}

template <class Variant>
Json write_variant(const Variant& variant) {
  Json json;
  std::visit(
      [&](const auto& chosen) {
        using Chosen = std::remove_cvref_t<decltype(chosen)>;
        json["name"] = Chosen::name;
        Chosen::fields(chosen, [&](const char* key, const auto& value) {
          if constexpr (std::is_same_v<decltype(value), const std::vector<EncoderPart>&>)
            for (const EncoderPart& part : value) json[key].push_back(write_variant(part));
          else if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(value)>>)
            json[key] = words(value)[static_cast<std::size_t>(value)];
          else
            json[key] = value;
        });
      },
      variant);
  return json;
}

Layer read_layer(const Json& json, const std::string& at) {
  Object object(json, at);
  Layer layer;
  object.read("in", layer.in);
  object.read("out", layer.out);
  layer.basis = read_variant<Basis>(object.take("basis"), at + ".basis");
  object.read("base", layer.base);
  object.read("bias", layer.bias);
  object.read("norm", layer.norm);
  object.done();
  return layer;
}

std::vector<Layer> read_layers(const Json& json, int in, const std::string& at) {
  if (!json.is_array() || json.empty() || json.size() > kMaxLayers)
    throw Error(at + ": expected a list of 1 to " + std::to_string(kMaxLayers) + " layers, found " +
                (json.is_array() ? std::to_string(json.size()) : json.type_name()));
  std::vector<Layer> layers;
  for (const Json& one : json) {
    const std::string here = at + "[" + std::to_string(layers.size()) + "]";
    layers.push_back(read_layer(one, here));
    if (layers.back().in != in)
      throw Error(here + ": 'in': expected " + std::to_string(in) +
                  ", the width before it, found " + std::to_string(layers.back().in));
    in = layers.back().out;
  }
  if (in != 1)
    throw Error(at + ": the last layer's 'out': expected 1, found " + std::to_string(in));
  return layers;
}

OutputActivation read_activation(const std::string& word, const std::string& at) {
  std::vector<std::string> known;
  for (const OutputActivation activation :
       {OutputActivation::none, OutputActivation::sigmoid, OutputActivation::relu}) {
    if (word == name(activation)) return activation;
    known.push_back(name(activation));
  }
  throw Error(at + ": 'output_activation': unknown name " + quote(word) + nearest(word, known) +
              " (known: " + join(known) + ")");
}

void check_network_type(const std::string& word, const std::string& at) {
  std::string canonical;
  try {
    canonical = canonical_network_type(word);
  } catch (const Error&) {
  }
  if (canonical != word)
    throw Error(at + ": 'network_type': unknown architecture " + quote(word) +
                (canonical.empty() ? "" : ", did you mean '" + canonical + "'?"));
}

// Refuses depth and keys that stand twice while the text is read.
Json parse_strictly(const std::string& text, const std::string& at) {
  std::vector<std::set<std::string>> open;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kMaxDepth) throw Error(at + ": nested too deeply");
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second)
      throw Error(at + ": " + quote(value.get<std::string>()) + " stands twice");
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const Json::parse_error& error) {
    throw Error(at + ": not JSON from byte " + std::to_string(error.byte) + " on");
  } catch (const Json::exception&) {
    throw Error(at + ": not JSON: a number is out of range");
  }
}

}  // namespace

std::string to_json(const ModelSpec& spec) {
  Json layers = Json::array();
  for (const Layer& layer : spec.layers)
    layers.push_back({{"in", layer.in},
                      {"out", layer.out},
                      {"basis", write_variant(layer.basis)},
                      {"base", layer.base},
                      {"bias", layer.bias},
                      {"norm", layer.norm}});
  return Json{{"network_type", spec.network_type},
              {"encoder", write_variant(spec.encoder)},
              {"layers", layers},
              {"output_activation", name(spec.output)}}
      .dump();
}

ModelSpec parse_model_spec(const std::string& json, const std::string& source) {
  const std::string at = source + ": model";
  const Json parsed = parse_strictly(json, at);
  Object object(parsed, at);
  ModelSpec spec;
  object.read("network_type", spec.network_type);
  check_network_type(spec.network_type, at);
  spec.encoder = read_variant<Encoder>(object.take("encoder"), at + ".encoder");
  if (width(spec.encoder) > kMaxEncoderWidth)
    throw Error(at + ".encoder: makes " + std::to_string(width(spec.encoder)) +
                " numbers of a point, at most " + std::to_string(kMaxEncoderWidth) +
                " are possible");
  spec.layers = read_layers(object.take("layers"), width(spec.encoder), at + ".layers");
  std::string activation;
  object.read("output_activation", activation);
  spec.output = read_activation(activation, at);
  object.done();
  return spec;
}

}  // namespace kanbench

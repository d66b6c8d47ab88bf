// The architecture as JSON. What is read may come from anyone: names, keys and numbers are held to
// what a parameter file may say, before anything is built from them.

#include <set>

#include "encoder_choice.h"
#include "kanbench/model_file.h"
#include "kanbench/run.h"
#include "layer_spec.h"

namespace kanbench {
namespace {

constexpr int kMaxDepth = 8;

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
  for (const Layer& layer : spec.layers) layers.push_back(write_layer(layer));
  return Json{{"network_type", spec.network_type},
              {"encoder", write_variant(spec.encoder)},
              {"layers", layers},
              {"output_activation", name(spec.output)}}
      .dump();
}

ModelSpec parse_model_spec(const std::string& json, const std::string& source) {
  const std::string at = source + ": model";
  const Json parsed = parse_strictly(json, at);
  JsonObject object(parsed, at);
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

#include "layer_spec.h"

#include "kanbench/volume.h"

namespace kanbench {
namespace {

template <class Value>
void write_changed(Json& json, const char* key, const Value& value, const Value& otherwise) {
  if (value != otherwise) json[key] = write_field(value);
}

// What is numbers of the right kind, and still no layer.
void check_layer(const Layer& layer, const std::string& at) {
  if (layer.inner != Inner::fixed && inner(layer.basis) == 0)
    throw Error(at + ": 'inner': the basis '" + std::string(name(layer.basis)) +
                "' has no inner parameters: use \"fixed\"");
  if (layer.edges && !on_edges(layer.basis))
    throw Error(at + ": 'edges': not with the basis '" + std::string(name(layer.basis)) +
                "': use wavelet, sine, gauss or wire");
  if (layer.edges && layer.inner != Inner::fixed)
    throw Error(at + ": 'edges': inner parameters that are learned beside them: use \"fixed\"");
  if (layer.base_activation == Activation::prelu)
    throw Error(at + ": 'base_activation': prelu is for 'activation': use none, silu or gelu");
  if (const auto* rswaf = std::get_if<basis::Rswaf>(&layer.basis))
    if (!(rswaf->grid_low < rswaf->grid_high))
      throw Error(at + ".basis: 'grid_low' is not below 'grid_high'");
}

Layer read_layer(const Json& json, int in, const std::string& at, bool partial) {
  JsonObject object(json, at);
  Layer layer;
  layer.in = in;
  const auto read = [&](const char* key, auto& value) {
    if (partial)
      object.read_optional(key, value);
    else
      object.read(key, value);
  };
  read("in", layer.in);
  object.read("out", layer.out);
  if (const Json& basis = object.take("basis"); basis.is_string() && partial)
    layer.basis = read_variant<Basis>(Json{{"name", basis}}, at + ".basis", true);
  else
    layer.basis = read_variant<Basis>(basis, at + ".basis", partial);
  read("base", layer.base);
  read("bias", layer.bias);
  read("norm", layer.norm);
  object.read_optional("activation", layer.activation);
  object.read_optional("inner", layer.inner);
  object.read_optional("edges", layer.edges);
  object.read_optional("base_activation", layer.base_activation);
  object.read_optional("base_normalised", layer.base_normalised);
  object.read_optional("base_skip", layer.base_skip);
  object.done();
  check_layer(layer, at);
  return layer;
}

}  // namespace

Json write_layer(const Layer& layer) {
  const Layer plain;
  Json json{{"in", layer.in},     {"out", layer.out},   {"basis", write_variant(layer.basis)},
            {"base", layer.base}, {"bias", layer.bias}, {"norm", layer.norm}};
  write_changed(json, "activation", layer.activation, plain.activation);
  write_changed(json, "inner", layer.inner, plain.inner);
  write_changed(json, "edges", layer.edges, plain.edges);
  write_changed(json, "base_activation", layer.base_activation, plain.base_activation);
  write_changed(json, "base_normalised", layer.base_normalised, plain.base_normalised);
  write_changed(json, "base_skip", layer.base_skip, plain.base_skip);
  return json;
}

std::vector<Layer> read_layers(const Json& json, int in, const std::string& at, bool partial) {
  if (!json.is_array() || json.empty() || json.size() > kMaxLayers)
    throw Error(at + ": expected a list of 1 to " + std::to_string(kMaxLayers) + " layers, found " +
                (json.is_array() ? std::to_string(json.size()) : json.type_name()));
  std::vector<Layer> layers;
  for (const Json& one : json) {
    const std::string here = at + "[" + std::to_string(layers.size()) + "]";
    layers.push_back(read_layer(one, in, here, partial));
    if (layers.back().in != in)
      throw Error(here + ": 'in': expected " + std::to_string(in) +
                  ", the width before it, found " + std::to_string(layers.back().in));
    if (layers.size() + static_cast<std::size_t>(layers.back().base_skip) > json.size())
      throw Error(here + ": 'base_skip': " + std::to_string(layers.back().base_skip) +
                  " is beyond the last layer");
    in = layers.back().out;
  }
  if (in > kMostComponents)
    throw Error(at + ": the last layer's 'out': expected 1, or as many numbers as a voxel of the " +
                "volume has, at most " + std::to_string(kMostComponents) + ", found " +
                std::to_string(in));
  return layers;
}

}  // namespace kanbench

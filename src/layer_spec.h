#pragma once
// Layers as JSON, in model files and as a custom decoder in parameter files.

#include <vector>

#include "json_object.h"
#include "kanbench/math/layer.h"

namespace kanbench {

/// Most layers of a decoder.
inline constexpr std::size_t kMaxLayers = 64;

/// A layer; what is not its default, beside width, basis, base, bias and norm.
Json write_layer(const Layer& layer);

/// A list of 1 to kMaxLayers layers, the first of which takes `in` numbers and the last of which
/// makes one. `partial`: keys that are not there keep their defaults, and `in` is what the layer
/// before makes. Throws Error beginning with `at`.
std::vector<Layer> read_layers(const Json& json, int in, const std::string& at,
                               bool partial = false);

}  // namespace kanbench

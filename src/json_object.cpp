#include "json_object.h"

namespace kanbench {
namespace {

/// What the number at `key` may be.
struct Limit {
  const char* key;
  double low, high;
};

constexpr Limit kLimits[] = {{"num_grids", 2, 64},     {"grid_radius", 1e-30, 1e30},
                             {"in", 1, kMaxWidth},     {"out", 1, kMaxWidth},
                             {"base_skip", 0, 62},     {"omega", 1e-6, 1e6},
                             {"scale", 1e-6, 1e6},     {"steepness", 1e-6, 1e6},
                             {"frequency", 1e-6, 1e6}, {"sharpness", 1e-6, 1e6},
                             {"slope", -1e6, 1e6},     {"grid_low", -1e6, 1e6},
                             {"grid_high", -1e6, 1e6}, {"alpha", -0.999, 64},
                             {"beta", -0.999, 64},     {"degree", 0, 32},
                             {"order", 0, 5},          {"grid", 1, 64},
                             {"span", 1, 16},          {"terms", 1, 32},
                             {"numerator", 0, 8},      {"denominator", 1, 8}};

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

}  // namespace

JsonObject::JsonObject(const Json& json, std::string at) : json_(json), at_(std::move(at)) {
  if (!json.is_object()) throw Error(at_ + ": expected an object, found " + json.type_name());
}

const Json& JsonObject::take(const std::string& key) {
  known_.push_back(key);
  const auto found = json_.find(key);
  if (found != json_.end()) return *found;
  std::vector<std::string> there;
  for (const auto& [name, value] : json_.items()) there.push_back(name);
  const bool near = !nearest(key, there).empty();
  throw Error(at_ + ": has no '" + key + "'" +
              (near ? ": it has " + join(there) + ", is one of these meant for it?" : ""));
}

void JsonObject::read(const std::string& key, bool& value) {
  const Json& json = take(key);
  if (!json.is_boolean()) wrong(key, "true or false", json);
  value = json.get<bool>();
}

void JsonObject::read(const std::string& key, std::string& value) {
  const Json& json = take(key);
  if (!json.is_string()) wrong(key, "text", json);
  value = json.get<std::string>();
}

void JsonObject::read(const std::string& key, int& value) {
  const Json& json = take(key);
  if (!json.is_number_integer()) wrong(key, "a whole number", json);
  value = static_cast<int>(limited(key, json));
}

void JsonObject::read(const std::string& key, double& value) {
  const Json& json = take(key);
  if (!json.is_number()) wrong(key, "a number", json);
  value = limited(key, json);
}

void JsonObject::read(const std::string& key, float& value) {
  double number;
  read(key, number);
  value = static_cast<float>(number);
}

void JsonObject::read(const std::string& key, int& value, double low, double high) {
  const Json& json = take(key);
  if (!json.is_number_integer()) wrong(key, "a whole number", json);
  value = static_cast<int>(within(key, json, low, high));
}

void JsonObject::read(const std::string& key, double& value, double low, double high) {
  const Json& json = take(key);
  if (!json.is_number()) wrong(key, "a number", json);
  value = within(key, json, low, high);
}

void JsonObject::read(const std::string& key, std::vector<std::string>& value) {
  const Json& json = take(key);
  if (!json.is_array()) wrong(key, "a list of texts", json);
  value.clear();
  for (const Json& one : json) {
    if (!one.is_string()) wrong(key, "a list of texts alone", one);
    value.push_back(one.get<std::string>());
  }
}

void JsonObject::done() const {
  for (const auto& [key, value] : json_.items())
    if (std::find(known_.begin(), known_.end(), key) == known_.end())
      throw Error(at_ + ": unknown key " + quote(key) + nearest(key, known_) +
                  " (known: " + join(known_) + ")");
}

void JsonObject::wrong(const std::string& key, const std::string& right, const Json& found) const {
  throw Error(at_ + ": '" + key + "': expected " + right + ", found " + found.type_name());
}

double JsonObject::limited(const std::string& key, const Json& json) const {
  const Limit limit = limit_of(encoder_, key);
  return within(key, json, limit.low, limit.high);
}

double JsonObject::within(const std::string& key, const Json& json, double low, double high) const {
  const double value = json.get<double>();
  if (value >= low && value <= high) return value;
  throw Error(at_ + ": '" + key + "': " + json.dump() + " is out of range: " + Json(low).dump() +
              " to " + Json(high).dump());
}

}  // namespace kanbench

#pragma once
// JSON from anyone, read key by key and held to limits: objects, and the alternatives of a variant
// as {"name": ..., its fields}.

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "encoder_choice.h"
#include "io/quote.h"
#include "kanbench/error.h"
#include "kanbench/math/basis.h"
#include "kanbench/math/words.h"

namespace kanbench {

using Json = nlohmann::ordered_json;

/// Most neurons of a layer and numbers of an encoder.
inline constexpr int kMaxWidth = 4096;

/// One JSON object; `done` refuses the keys that nobody asked for. Errors begin with `at`.
class JsonObject {
 public:
  JsonObject(const Json& json, std::string at);

  bool has(const std::string& key) const { return json_.contains(key); }
  const Json& take(const std::string& key);
  void read(const std::string& key, bool& value);
  void read(const std::string& key, std::string& value);
  void read(const std::string& key, int& value);
  void read(const std::string& key, double& value);
  void read(const std::string& key, float& value);
  /// Within bounds of its own.
  void read(const std::string& key, int& value, double low, double high);
  void read(const std::string& key, double& value, double low, double high);
  /// A list of texts.
  void read(const std::string& key, std::vector<std::string>& value);
  /// One of the enumeration's words.
  template <class Enum>
  requires std::is_enum_v<Enum>
  void read(const std::string& key, Enum& value) {
    std::string word;
    read(key, word);
    std::vector<std::string> known;
    for (const char* one : words_of(value)) {
      if (word == one) {
        value = static_cast<Enum>(known.size());
        return;
      }
      known.emplace_back(one);
    }
    throw Error(at_ + ": '" + key + "': unknown word " + quote(word) + nearest(word, known) +
                " (known: " + join(known) + ")");
  }
  /// Leaves `value` as it is where the key is missing.
  template <class Value, class... Bounds>
  void read_optional(const std::string& key, Value& value, Bounds... bounds) {
    if (has(key))
      read(key, value, bounds...);
    else
      note(key);
  }
  /// A key that may be there.
  void note(const std::string& key) { known_.push_back(key); }
  /// Numbers from here on are those of this encoder.
  void of_encoder(const std::string& name) { encoder_ = name; }
  void done() const;

 private:
  [[noreturn]] void wrong(const std::string& key, const std::string& right,
                          const Json& found) const;
  double limited(const std::string& key, const Json& json) const;
  double within(const std::string& key, const Json& json, double low, double high) const;

  const Json& json_;
  std::string at_, encoder_;
  std::vector<std::string> known_;
};

template <class Variant, std::size_t... I>
std::vector<std::string> names_of(std::index_sequence<I...>) {
  return {std::variant_alternative_t<I, Variant>::name...};
}
/// The names of a variant's alternatives.
template <class Variant>
std::vector<std::string> names_of() {
  return names_of<Variant>(std::make_index_sequence<std::variant_size_v<Variant>>{});
}

template <class Variant, std::size_t... I>
bool choose_alternative(Variant& variant, const std::string& word, std::index_sequence<I...>) {
  return ((word == std::variant_alternative_t<I, Variant>::name
               ? (variant = std::variant_alternative_t<I, Variant>{}, true)
               : false) ||
          ...);
}

template <class Variant>
Variant read_variant(const Json& json, const std::string& at, bool partial = false);

/// The parts of an encoder that is made of others.
inline std::vector<EncoderPart> read_parts(const Json& json, const std::string& at) {
  if (!json.is_array() || json.empty() || json.size() > kMaxEncoderParts)
    throw Error(at + ": expected a list of 1 to " + std::to_string(kMaxEncoderParts) +
                " encoders, found " +
                (json.is_array() ? std::to_string(json.size()) : json.type_name()));
  std::vector<EncoderPart> parts;
  for (const Json& one : json)
    parts.push_back(read_variant<EncoderPart>(one, at + "[" + std::to_string(parts.size()) + "]"));
  return parts;
}

/// An alternative of a variant. Where `partial`, fields that are not there keep their defaults.
template <class Variant>
Variant read_variant(const Json& json, const std::string& at, bool partial) {
  JsonObject object(json, at);
  std::string word;
  object.read("name", word);
  Variant variant;
  if (!choose_alternative(variant, word,
                          std::make_index_sequence<std::variant_size_v<Variant>>{})) {
    const std::vector<std::string> known = names_of<Variant>();
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
          else if (partial)
            object.read_optional(key, value);
          else
            object.read(key, value);
        });
      },
      variant);
  object.done();
  return variant;
}

template <class Variant>
Json write_variant(const Variant& variant);

/// A field as JSON; an enumeration as its word.
template <class Value>
Json write_field(const Value& value) {
  if constexpr (std::is_enum_v<Value>) {
    return words_of(value)[static_cast<std::size_t>(value)];
  } else if constexpr (std::is_same_v<Value, std::vector<EncoderPart>>) {
    Json list = Json::array();
    for (const EncoderPart& part : value) list.push_back(write_variant(part));
    return list;
  } else {
    return value;
  }
}

template <class Variant>
Json write_variant(const Variant& variant) {
  Json json;
  std::visit(
      [&](const auto& chosen) {
        using Chosen = std::remove_cvref_t<decltype(chosen)>;
        json["name"] = Chosen::name;
        Chosen::fields(chosen,
                       [&](const char* key, const auto& value) { json[key] = write_field(value); });
      },
      variant);
  return json;
}

}  // namespace kanbench

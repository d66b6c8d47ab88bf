#include "axis.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "kanbench/error.h"

namespace kanbench {

namespace {

/// The number as uint64 if it is whole, not negative and held exactly.
std::optional<std::uint64_t> whole_number(const JsonNode& node) {
  constexpr double exact = 9007199254740992.0;
  if (const auto* value = node.as<std::uint64_t>()) return *value;
  if (const auto* value = node.as<double>())
    if (*value >= 0 && *value <= exact && *value == std::floor(*value))
      return static_cast<std::uint64_t>(*value);
  return std::nullopt;
}

std::optional<double> real_number(const JsonNode& node) {
  if (const auto* value = node.as<double>()) return *value;
  if (const auto* value = node.as<std::uint64_t>()) return static_cast<double>(*value);
  if (const auto* value = node.as<std::int64_t>()) return static_cast<double>(*value);
  return std::nullopt;
}

std::string without_spaces(std::string text) {
  std::erase(text, ' ');
  return text;
}

/// The setting that one number, text or flag makes.
Setting read_setting(const RunKey& key, const JsonNode& node, const Place& place) {
  const auto* text = node.as<std::string>();
  if (text)
    for (const std::string& word : key.words)
      if (*text == word || (key.is_number() && without_spaces(*text) == word)) return word;
  switch (key.kind) {
    case RunKey::Kind::flag:
      if (const auto* flag = node.as<bool>()) return *flag;
      break;
    case RunKey::Kind::word:
      if (!text || !key.require) break;
      try {
        key.require(*text);
      } catch (const Error& error) {
        throw Error(place.source + ": " + place.path + ": " + error.what());
      }
      return *text;
    case RunKey::Kind::whole:
      if (const auto number = whole_number(node)) {
        const auto compared = static_cast<double>(*number);
        if (compared >= key.low && compared <= key.high) return *number;
      }
      break;
    case RunKey::Kind::real:
      if (const auto number = real_number(node))
        if (*number >= key.low && *number <= key.high) return *number;
      break;
  }
  refuse(place, node, key.wanted() + (text ? nearest(*text, key.words) : ""));
}

[[noreturn]] void refuse_length(const Place& place, double count, std::int64_t limit) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f", count);
  throw Error(place.source + ": " + place.path + " sweeps over " + text + " values, at most " +
              std::to_string(limit) + " are possible");
}

[[noreturn]] void refuse_order(const Place& place, const JsonNode& range) {
  refuse(place, range, "a range [low, high] with low at most high");
}

Place step_place(const Place& place) { return {place.source, place.path + "_step"}; }

Axis whole_range(const RunKey& key, const JsonNode& range, const JsonNode* step, const Place& place,
                 std::int64_t limit) {
  const auto& ends = *range.as<JsonNode::List>();
  const auto low = std::get<std::uint64_t>(read_setting(key, ends[0], place));
  const auto high = std::get<std::uint64_t>(read_setting(key, ends[1], place));
  if (low > high) refuse_order(place, range);
  const auto stride = step ? whole_number(*step) : std::optional<std::uint64_t>(1);
  if (!stride || *stride == 0) refuse(step_place(place), *step, "a whole number above 0");
  const std::uint64_t steps = (high - low) / *stride;
  if (steps >= static_cast<std::uint64_t>(limit))
    refuse_length(place, static_cast<double>(steps) + 1, limit);
  Axis axis{&key, {}, static_cast<double>(*stride)};
  for (std::uint64_t i = 0; i <= steps; ++i) axis.settings.emplace_back(low + i * *stride);
  return axis;
}

/// `value` to 15 significant digits, so that 0.1 + 2 * 0.1 reads 0.3.
double rounded(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.15g", value);
  return std::strtod(text, nullptr);
}

Axis real_range(const RunKey& key, const JsonNode& range, const JsonNode* step, const Place& place,
                std::int64_t limit) {
  const auto& ends = *range.as<JsonNode::List>();
  const double low = std::get<double>(read_setting(key, ends[0], place));
  const double high = std::get<double>(read_setting(key, ends[1], place));
  if (low > high) refuse_order(place, range);
  const auto stride = step ? real_number(*step) : std::optional<double>(1);
  if (!stride || !(*stride > 0)) refuse(step_place(place), *step, "a number above 0");
  // The small part forgives a quotient like (0.3 - 0.1) / 0.1, just below 2.
  const double count = std::floor((high - low) / *stride + 1e-9) + 1;
  if (!(count <= static_cast<double>(limit))) refuse_length(place, count, limit);
  Axis axis{&key, {low}, *stride};
  for (int i = 1; i < static_cast<int>(count); ++i)
    axis.settings.emplace_back(std::clamp(rounded(low + i * *stride), low, high));
  return axis;
}

Axis read_range(const RunKey& key, const JsonNode& range, const JsonNode* step, const Place& place,
                std::int64_t limit) {
  const auto& ends = *range.as<JsonNode::List>();
  if (!key.is_number()) refuse(place, range, key.wanted());
  if (ends.size() != 2)
    refuse(place, range, "a range [low, high]; a list of values is written {\"values\": [...]}");
  for (const JsonNode& end : ends)
    if (!end.is_number()) refuse(place, range, "a range of two numbers, each " + key.wanted());
  return key.kind == RunKey::Kind::whole ? whole_range(key, range, step, place, limit)
                                         : real_range(key, range, step, place, limit);
}

Axis read_list(const RunKey& key, const JsonNode& node, const Place& place, std::int64_t limit) {
  const auto& members = *node.as<JsonNode::Object>();
  const JsonNode::List* list = members.size() == 1 && members[0].first == "values"
                                   ? members[0].second.as<JsonNode::List>()
                                   : nullptr;
  if (!list || list->empty())
    refuse(place, node,
           key.wanted() + (key.is_number() ? ", a range [low, high]" : "") +
               " or {\"values\": [one or more]}");
  if (list->size() > static_cast<std::size_t>(limit))
    refuse_length(place, static_cast<double>(list->size()), limit);
  Axis axis{&key, {}, 0};
  const std::string path = member_path(place.path, "values");
  for (std::size_t i = 0; i < list->size(); ++i)
    axis.settings.push_back(read_setting(key, (*list)[i], {place.source, item_path(path, i)}));
  return axis;
}

}  // namespace

void refuse(const Place& place, const JsonNode& value, const std::string& wanted) {
  throw Error(place.source + ": " + place.path + " is " + describe(value) + ", must be " + wanted);
}

Axis read_axis(const RunKey& key, const JsonNode& value, const JsonNode* step, const Place& place,
               std::int64_t limit) {
  if (value.as<JsonNode::List>()) return read_range(key, value, step, place, limit);
  if (step)
    throw Error(place.source + ": " + step_place(place).path + " is " + describe(*step) + ", but " +
                key.name + " is " + describe(value) + ", not a range [low, high]");
  if (value.as<JsonNode::Object>()) return read_list(key, value, place, limit);
  return {&key, {read_setting(key, value, place)}, 0};
}

}  // namespace kanbench

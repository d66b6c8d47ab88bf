#include "encoder_choice.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "decimal.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

struct NamedLimit {
  const char* field;
  EncoderLimit limit;
  /// The encoder whose field it is; null: every other's.
  const char* encoder = nullptr;
};
constexpr NamedLimit kLimits[] = {{"n_levels", {1, 32}},
                                  {"n_features_per_level", {1, 16}},
                                  {"log2_hashmap_size", {1, 26}},
                                  {"base_resolution", {1, 65536}},
                                  {"per_level_scale", {1, 16}},
                                  {"resolution", {2, 65536}},
                                  {"features", {1, 32}},
                                  {"n_frequencies", {1, 16}, "frequency"},
                                  {"n_frequencies", {1, kMaxEncoderWidth / 2}},
                                  {"include_input", {0, 1}},
                                  {"std", {1e-6, 1000}},
                                  {"seed", {0, std::numeric_limits<int>::max()}},
                                  {"n_grids", {1, encoder::AdaptiveMultiGrid::kMaxGrids}},
                                  {"transform", {0, 1}},
                                  {"initialisation", {0, 2}},
                                  {"tv_weight", {0, 1e6}},
                                  {"l1_weight", {0, 1e6}},
                                  {"transform_lrate", {0, 1}},
                                  {"transform_share", {0, 1}},
                                  {"transform_start", {0, 1e9}}};

// Calls visit(part) with a default part of each kind.
template <class Visit>
void each_part(Visit visit) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (visit(std::variant_alternative_t<I, EncoderPart>{}), ...);
  }
  (std::make_index_sequence<std::variant_size_v<EncoderPart>>{});
}

// "a=1<between>b=2".
std::string join_numbers(const EncoderNumbers& numbers, const char* between) {
  std::string text;
  for (const auto& [name, value] : numbers)
    text += (text.empty() ? "" : between) + name + "=" + decimal(value);
  return text;
}

// The part's numbers, choices as the words that files have for them: "a=1 b=word".
std::string describe_numbers(const PartChoice& part) {
  std::string text;
  std::visit(
      [&](const auto& one) {
        one.fields(one, [&](const char* key, const auto& value) {
          const std::string said = [&] {
            if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(value)>>)
              return std::string(words_of(value)[static_cast<std::size_t>(value)]);
            else
              return decimal(static_cast<double>(value));
          }();
          text += (text.empty() ? "" : " ") + std::string(key) + "=" + said;
        });
      },
      make_part(part));
  return text;
}

EncoderNumbers parse_numbers(const std::string& text) {
  EncoderNumbers numbers;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t equals = text.find('=', at), end = std::min(text.find(',', at), text.size());
    check(equals < end, "an encoder's text without a number");
    numbers.emplace_back(text.substr(at, equals - at),
                         std::strtod(text.substr(equals + 1, end - equals - 1).c_str(), nullptr));
    at = end + 1;
  }
  return numbers;
}

// What the run's own key says; false where it says nothing.
bool read_own(const Run& run, const std::string& field, double& value) {
  const auto take = [&](double own) {
    if (own != 0) value = own;
    return own != 0;
  };
  if (field == "n_levels") return take(run.n_levels);
  if (field == "n_features_per_level") return take(run.n_features_per_level);
  if (field == "per_level_scale") return take(run.per_level_scale);
  if (field == "base_resolution") return take(run.base_resolution);
  if (field != "log2_hashmap_size" || run.log2_hashmap_size < 0) return false;
  value = run.log2_hashmap_size;
  return true;
}

void write_own(Run& run, const EncoderNumbers& numbers) {
  const auto number = [&](const char* name) { return *find_number(numbers, name); };
  run.n_levels = static_cast<int>(number("n_levels"));
  run.n_features_per_level = static_cast<int>(number("n_features_per_level"));
  run.log2_hashmap_size = static_cast<int>(number("log2_hashmap_size"));
  run.base_resolution = static_cast<int>(number("base_resolution"));
  run.per_level_scale = number("per_level_scale");
}

bool has_table_of_own_keys(const std::string& name) {
  return name == encoder::HashGrid::name || name == encoder::TiledGrid::name ||
         name == encoder::MultiDenseGrid::name;
}

// Every number of the part, in the order of its fields.
EncoderNumbers resolve(const PartChoice& part, const Run& run, const EncoderNumbers& overrides) {
  EncoderNumbers numbers = numbers_of(make_part(part));
  for (auto& [name, value] : numbers) {
    if (const double* over = find_number(overrides, name))
      value = *over;
    else if (!find_number(part.given, name))
      read_own(run, name, value);
  }
  return numbers;
}

void check_numbers(const PartChoice& part, const std::string& source) {
  for (const auto& [name, value] : part.given) {
    const EncoderLimit limit = encoder_limit(part.name, name);
    if (value < limit.low || value > limit.high)
      throw Error(source + name + " of " + part.name + " is " + decimal(value) + ", must be from " +
                  decimal(limit.low) + " to " + decimal(limit.high));
  }
}

bool is_grid_without_table(const PartChoice& part) {
  const double* table = find_number(part.given, "log2_hashmap_size");
  return part.name == encoder::HashGrid::name && table && *table == 0;
}

}  // namespace

std::vector<std::string> part_names() {
  std::vector<std::string> names;
  each_part([&](const auto& part) { names.emplace_back(part.name); });
  return names;
}

std::vector<std::string> field_names(const std::string& encoder) {
  std::vector<std::string> names;
  for (const auto& [name, value] : numbers_of(make_part({encoder, {}}))) names.push_back(name);
  return names;
}

EncoderLimit encoder_limit(const std::string& encoder, const std::string& field) {
  for (const NamedLimit& one : kLimits)
    if (field == one.field && (!one.encoder || encoder == one.encoder)) return one.limit;
  check(false, "a field of an encoder without bounds");
  return {};
}

const double* find_number(const EncoderNumbers& numbers, const std::string& name) {
  for (const auto& [key, value] : numbers)
    if (key == name) return &value;
  return nullptr;
}

std::string to_text(const EncoderChoice& choice) {
  std::string text;
  for (const PartChoice& part : choice) {
    text += (text.empty() ? "" : "+") + part.name;
    if (!part.bare) text += "(" + join_numbers(part.given, ",") + ")";
  }
  return text;
}

EncoderChoice parse_choice(const std::string& text) {
  EncoderChoice choice;
  for (std::size_t at = 0; at < text.size();) {
    // A number may hold a '+' of its own: "1e+20".
    const std::size_t open = text.find_first_of("(+", at);
    PartChoice part{text.substr(at, open - at), {}, open == text.npos || text[open] == '+'};
    std::size_t end = open;
    if (!part.bare) {
      end = text.find(')', open);
      check(end != text.npos, "an encoder's text that does not end");
      part.given = parse_numbers(text.substr(open + 1, end - open - 1));
      ++end;
    }
    choice.push_back(std::move(part));
    at = end == text.npos ? end : end + 1;
  }
  return choice;
}

EncoderPart make_part(const PartChoice& part) {
  EncoderPart made;
  bool known = false;
  each_part([&](auto one) {
    if (part.name != one.name) return;
    one.fields(one, [&](const char* key, auto& value) {
      if (const double* given = find_number(part.given, key))
        value = static_cast<std::remove_reference_t<decltype(value)>>(*given);
    });
    made = one;
    known = true;
  });
  check(known, "an encoder that does not exist");
  return made;
}

EncoderNumbers numbers_of(const EncoderPart& part) {
  EncoderNumbers numbers;
  std::visit(
      [&](const auto& one) {
        one.fields(one, [&](const char* key, const auto& value) {
          numbers.emplace_back(key, static_cast<double>(value));
        });
      },
      part);
  return numbers;
}

std::vector<std::string> required_keys(const EncoderChoice& choice,
                                       const EncoderNumbers& overrides) {
  std::vector<std::string> keys;
  for (const PartChoice& part : choice) {
    if (!part.bare || !has_table_of_own_keys(part.name)) continue;
    for (const std::string& field : field_names(part.name))
      if (!find_number(overrides, field)) keys.push_back(field);
  }
  return keys;
}

void settle_encoder(Run& run, const EncoderNumbers& overrides, const std::string& source) {
  EncoderChoice choice = parse_choice(run.encoder);
  const bool alone = choice.size() == 1;
  for (PartChoice& part : choice) {
    part.given = resolve(part, run, overrides);
    part.bare = part.given.empty();
    if (is_grid_without_table(part)) {
      if (alone) write_own(run, part.given);
      part = {encoder::Identity::name, {}, true};
    }
    check_numbers(part, source);
  }
  if (alone && choice[0].name == encoder::HashGrid::name) {
    write_own(run, choice[0].given);
    choice[0] = {encoder::HashGrid::name, {}, true};
  }
  run.log2_hashmap_size = std::max(run.log2_hashmap_size, 0);
  run.encoder = to_text(choice);
  if (width(make_encoder(run)) > kMaxEncoderWidth)
    throw Error(source + encoder_names(run) + " makes " + std::to_string(width(make_encoder(run))) +
                " numbers of a point, at most " + std::to_string(kMaxEncoderWidth) +
                " are possible");
}

Encoder make_encoder(const Run& run) {
  const EncoderChoice choice = parse_choice(run.encoder);
  if (choice.size() > 1) {
    encoder::Concat all{{}};
    for (const PartChoice& part : choice) all.parts.push_back(make_part(part));
    return all;
  }
  if (choice[0].name == encoder::HashGrid::name && choice[0].bare) {
    if (run.log2_hashmap_size == 0) return encoder::Identity{};
    return encoder::HashGrid{run.n_levels, run.n_features_per_level, run.log2_hashmap_size,
                             run.base_resolution, run.per_level_scale};
  }
  return std::visit([](const auto& part) -> Encoder { return part; }, make_part(choice[0]));
}

std::string encoder_names(const Run& run) {
  std::string names;
  for (const PartChoice& part : parse_choice(run.encoder))
    names += (names.empty() ? "" : "+") + part.name;
  return names;
}

std::string encoder_numbers(const Run& run) {
  const EncoderChoice choice = parse_choice(run.encoder);
  const auto bare = [](const PartChoice& part) { return part.given.empty(); };
  if (std::all_of(choice.begin(), choice.end(), bare)) return "";
  std::string text;
  for (std::size_t i = 0; i < choice.size(); ++i)
    text += (i ? "; " : "") + describe_numbers(choice[i]);
  return text;
}

}  // namespace kanbench

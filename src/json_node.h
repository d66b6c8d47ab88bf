#pragma once
// JSON text as a tree that keeps the order of keys, so that what a file says wrongly can be named.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace kanbench {

struct JsonNode {
  using List = std::vector<JsonNode>;
  using Object = std::vector<std::pair<std::string, JsonNode>>;

  /// Whole numbers are uint64 where they are not negative, int64 where they are.
  std::variant<std::nullptr_t, bool, std::uint64_t, std::int64_t, double, std::string, List, Object>
      value = nullptr;

  /// The value if it is a T, else null.
  template <class T>
  const T* as() const {
    return std::get_if<T>(&value);
  }
  bool is_number() const { return as<std::uint64_t>() || as<std::int64_t>() || as<double>(); }
};

/// The tree of `text`; // and /* */ comments count as space. Throws Error naming `source` and, for
/// bad syntax, line and column; for a key given twice or nesting beyond 64, the JSON path.
JsonNode parse_json(const std::string& text, const std::string& source);

/// The value on one line for messages, cut short where long: `"mlp"`, `[8, 16]`, `an object`.
std::string describe(const JsonNode& node);

/// The tree as JSON text on one line.
std::string to_text(const JsonNode& node);

/// `text` in quotes for a message: control characters escaped, cut short where long.
std::string in_quotes(std::string_view text);

/// The path of member `key` below `path`, "nucleon.kan_params", and of item `index`, "nucleon[0]".
std::string member_path(const std::string& path, std::string_view key);
std::string item_path(const std::string& path, std::size_t index);

}  // namespace kanbench

#include "json_node.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "decimal.h"
#include "kanbench/error.h"

namespace kanbench {

namespace {

constexpr std::size_t deepest = 64;

/// Receives the parser's events and grows the tree.
class Builder {
 public:
  Builder(const std::string& text, const std::string& source) : text_(text), source_(source) {}

  bool null() { return place(nullptr); }
  bool boolean(bool value) { return place(value); }
  bool number_integer(std::int64_t value) { return place(value); }
  bool number_unsigned(std::uint64_t value) { return place(value); }
  bool number_float(double value, const std::string&) { return place(value); }
  bool string(std::string& value) { return place(std::move(value)); }
  bool binary(nlohmann::json::binary_t&) { return false; }
  bool start_object(std::size_t) { return open(JsonNode::Object{}); }
  bool start_array(std::size_t) { return open(JsonNode::List{}); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(std::string& name) {
    auto& members = std::get<JsonNode::Object>(open_.back()->value);
    for (const auto& [known, value] : members)
      if (known == name)
        throw Error(source_ + ": " + member_path(path(), name) + " is given twice, once is right");
    members.emplace_back(std::move(name), JsonNode{});
    return true;
  }

  template <class Exception>
  bool parse_error(std::size_t position, const std::string&, const Exception& exception) {
    const std::size_t offset = std::min(position ? position - 1 : 0, text_.size());
    const auto end = text_.begin() + static_cast<std::ptrdiff_t>(offset);
    const auto line = std::count(text_.begin(), end, '\n') + 1;
    const std::size_t before = offset ? text_.rfind('\n', offset - 1) : std::string::npos;
    const std::size_t column = before == std::string::npos ? offset + 1 : offset - before;
    throw Error(source_ + ": line " + std::to_string(line) + ", column " + std::to_string(column) +
                ": not valid JSON: " + reason(exception.what()));
  }

  JsonNode take() { return std::move(root_); }

 private:
  /// The parser's sentence without its own tag and position.
  static std::string reason(std::string what) {
    if (const auto tag = what.find("] "); tag != std::string::npos) what.erase(0, tag + 2);
    if (what.starts_with("parse error at line"))
      if (const auto colon = what.find(": "); colon != std::string::npos) what.erase(0, colon + 2);
    std::replace_if(
        what.begin(), what.end(), [](unsigned char c) { return c < 0x20; }, ' ');
    return what;
  }

  JsonNode& slot() {
    if (open_.empty()) return root_;
    if (auto* members = std::get_if<JsonNode::Object>(&open_.back()->value))
      return members->back().second;
    return std::get<JsonNode::List>(open_.back()->value).emplace_back();
  }

  template <class Value>
  bool place(Value&& value) {
    slot().value = std::forward<Value>(value);
    return true;
  }

  template <class Value>
  bool open(Value&& value) {
    if (open_.size() == deepest)
      throw Error(source_ + ": " + path() + " is nested deeper than " + std::to_string(deepest));
    JsonNode& node = slot();
    node.value = std::forward<Value>(value);
    open_.push_back(&node);
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  std::string path() const {
    std::string text;
    for (std::size_t i = 0; i + 1 < open_.size(); ++i) {
      if (const auto* members = open_[i]->as<JsonNode::Object>())
        text = member_path(text, members->back().first);
      else
        text = item_path(text, open_[i]->as<JsonNode::List>()->size() - 1);
    }
    return text;
  }

  const std::string& text_;
  const std::string& source_;
  JsonNode root_;
  /// Containers being read, outermost first. None of them moves while it is open: only the
  /// innermost grows.
  std::vector<JsonNode*> open_;
};

std::string shortened(std::string text) {
  constexpr std::size_t longest = 60;
  if (text.size() <= longest) return text;
  std::size_t end = longest - 3;
  // Not within a UTF-8 sequence.
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

std::string describe_list(const JsonNode::List& list) {
  std::string text = "[";
  for (const JsonNode& item : list) {
    if (text.size() > 60) break;
    if (text.size() > 1) text += ", ";
    text += item.as<JsonNode::List>() ? "[...]" : describe(item);
  }
  return shortened(text + "]");
}

}  // namespace

JsonNode parse_json(const std::string& text, const std::string& source) {
  Builder builder(text, source);
  nlohmann::json::sax_parse(text, &builder, nlohmann::json::input_format_t::json, true, true);
  return builder.take();
}

std::string describe(const JsonNode& node) {
  if (const auto* value = node.as<bool>()) return *value ? "true" : "false";
  if (const auto* value = node.as<std::uint64_t>()) return std::to_string(*value);
  if (const auto* value = node.as<std::int64_t>()) return std::to_string(*value);
  if (const auto* value = node.as<double>()) return decimal(*value);
  if (const auto* value = node.as<std::string>()) return in_quotes(*value);
  if (const auto* value = node.as<JsonNode::List>()) return describe_list(*value);
  return node.as<JsonNode::Object>() ? "an object" : "null";
}

namespace {

nlohmann::ordered_json json_of(const JsonNode& node) {
  using Json = nlohmann::ordered_json;
  return std::visit(
      []<class Value>(const Value& value) -> Json {
        if constexpr (std::is_same_v<Value, JsonNode::List>) {
          Json list = Json::array();
          for (const JsonNode& item : value) list.push_back(json_of(item));
          return list;
        } else if constexpr (std::is_same_v<Value, JsonNode::Object>) {
          Json object = Json::object();
          for (const auto& [key, item] : value) object[key] = json_of(item);
          return object;
        } else {
          return value;
        }
      },
      node.value);
}

}  // namespace

std::string to_text(const JsonNode& node) {
  return json_of(node).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string in_quotes(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  for (const char c : text.substr(0, 200)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f)
      out += c;
    else
      out += std::string("\\x") + digits[byte / 16] + digits[byte % 16];
  }
  return "\"" + shortened(std::move(out)) + "\"";
}

std::string member_path(const std::string& path, std::string_view key) {
  const bool plain = !key.empty() && std::all_of(key.begin(), key.end(), [](unsigned char c) {
    return c > 0x20 && c != 0x7f && c != '"' && c != '.' && c != '[';
  });
  if (!plain || key.size() > 60) return path + "[" + in_quotes(key) + "]";
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}

std::string item_path(const std::string& path, std::size_t index) {
  return path + "[" + std::to_string(index) + "]";
}

}  // namespace kanbench

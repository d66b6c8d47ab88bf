#pragma once
// Text as a cell of a CSV row.

#include <algorithm>
#include <string>

namespace kanbench {

/// In quotes where it must be. A row stays one line: line breaks become spaces.
inline std::string csv_text(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  if (text.find_first_of(",\"") == std::string::npos) return text;
  for (std::size_t at = 0; (at = text.find('"', at)) != std::string::npos; at += 2)
    text.insert(at, 1, '"');
  return '"' + text + '"';
}

}  // namespace kanbench

#pragma once
// Words and numbers of headers that are text, and what is wrong with them.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kanbench {

/// Without blanks at both ends.
std::string_view trimmed(std::string_view text);

/// In lower case, ASCII alone.
std::string lower(std::string_view text);

/// The words between blanks.
std::vector<std::string_view> words_of(std::string_view text);

/// One line "key: value" of a header.
struct Entry {
  /// The file, and the key as messages name it.
  std::string source, key;
  std::string value;

  /// Throws Error: source: key: 'value' is not `wanted`.
  [[noreturn]] void refuse(const std::string& wanted) const;
  /// All of the value as one whole number from `least` to `most`.
  std::int64_t whole(std::int64_t least, std::int64_t most) const;
  /// `count` whole numbers, of any number of them where it is 0.
  std::vector<std::int64_t> wholes(std::size_t count = 0) const;
  /// The same of any numbers, "nan" among them.
  std::vector<double> reals(std::size_t count = 0) const;
  /// yes for true, 1; no for false, 0.
  bool flag() const;
};

}  // namespace kanbench

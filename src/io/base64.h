#pragma once
// Base64, as text that is decoded bit by bit.

#include <cstddef>
#include <span>
#include <string_view>

namespace kanbench {

/// Reads from the front of a text; blanks are passed over. Padding ends a group of bytes, and
/// another may follow.
class Base64Reader {
 public:
  explicit Base64Reader(std::string_view text) : rest_(text) {}
  /// Bytes read, fewer than `out` has where the text ends or is not base64.
  std::size_t read(std::span<std::byte> out);

 private:
  /// The next bytes, 0 to 3 of them.
  int decode_group();

  std::string_view rest_;
  unsigned bits_ = 0;
  int held_ = 0;
};

}  // namespace kanbench

#pragma once
// Text out of a file, fit for a message of one line.

#include <string>
#include <string_view>

namespace kanbench {

/// 'text', cut after 60 bytes, with '?' for whatever would break the line.
inline std::string quote(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text.substr(0, 60))
    quoted += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return quoted + (text.size() > 60 ? "...'" : "'");
}

}  // namespace kanbench

#pragma once
// Numbers as the shortest text that reads back as the same number.

#include <charconv>
#include <cmath>
#include <string>

namespace kanbench {

/// "0.1", "1e-09", "42"; "inf", "-inf" and "nan".
inline std::string decimal(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

}  // namespace kanbench

#include "io/base64.h"

#include <array>

namespace kanbench {
namespace {

constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<signed char, 256> kValues = [] {
  std::array<signed char, 256> values{};
  values.fill(-1);
  for (std::size_t i = 0; i < kDigits.size(); ++i)
    values[static_cast<unsigned char>(kDigits[i])] = static_cast<signed char>(i);
  return values;
}();

}  // namespace

int Base64Reader::decode_group() {
  unsigned bits = 0;
  int digits = 0, padding = 0;
  while (digits + padding < 4 && !rest_.empty()) {
    const char c = rest_[0];
    const int value = kValues[static_cast<unsigned char>(c)];
    if (c == '=' && digits >= 2)
      ++padding;
    else if (value >= 0 && padding == 0)
      bits = bits << 6 | static_cast<unsigned>(value), ++digits;
    else if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
      return 0;
    rest_.remove_prefix(1);
  }
  if (digits + padding < 4) return 0;
  bits_ = bits << 6 * padding;
  return 3 - padding;
}

std::size_t Base64Reader::read(std::span<std::byte> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (held_ == 0) held_ = decode_group();
    if (held_ == 0) return i;
    out[i] = static_cast<std::byte>(bits_ >> 16 & 0xff);
    bits_ <<= 8;
    --held_;
  }
  return out.size();
}

}  // namespace kanbench

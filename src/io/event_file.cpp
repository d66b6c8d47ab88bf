#include "io/event_file.h"

#include <array>
#include <bit>
#include <cstring>

namespace kanbench {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they are");

constexpr std::array<std::uint32_t, 256> kTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t word = i;
    for (int bit = 0; bit < 8; ++bit) word = word >> 1 ^ (word & 1 ? 0x82f63b78u : 0);
    table[i] = word;
  }
  return table;
}();

template <class T>
std::string bytes_of(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// A checksum of bytes that hold checksums would say little.
std::uint32_t masked(std::uint32_t sum) { return std::rotr(sum, 15) + 0xa282ead8u; }

// Protobuf's wire format: a key of number and type, then the value.
enum Wire { varint = 0, fixed64 = 1, length = 2, fixed32 = 5 };

std::string number(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

std::string key(unsigned field, Wire wire) { return number(field << 3 | wire); }

std::string text(unsigned field, std::string_view value) {
  return key(field, length) + number(value.size()) + std::string(value);
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t sum = ~0u;
  for (const char byte : bytes)
    sum = kTable[(sum ^ static_cast<unsigned char>(byte)) & 0xff] ^ sum >> 8;
  return ~sum;
}

std::string event_record(std::string_view message) {
  const std::string size = bytes_of<std::uint64_t>(message.size());
  return size + bytes_of(masked(crc32c(size))) + std::string(message) +
         bytes_of(masked(crc32c(message)));
}

// Event: 1 wall_time, 2 step, 3 file_version, 5 summary.
std::string version_event(double time) {
  return key(1, fixed64) + bytes_of(time) + text(3, "brain.Event:2");
}

// Summary: 1 value; its Value: 1 tag, 2 simple_value.
std::string scalars_event(double time, std::int64_t step, std::span<const Scalar> scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars)
    summary +=
        text(1, text(1, scalar.tag) + key(2, fixed32) + bytes_of(static_cast<float>(scalar.value)));
  return key(1, fixed64) + bytes_of(time) + key(2, varint) +
         number(static_cast<std::uint64_t>(step)) + text(5, summary);
}

}  // namespace kanbench

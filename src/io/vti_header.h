#pragma once
// The XML of a .vti file.

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kanbench {

/// One DataArray.
struct VtiArray {
  std::string name, type, format, components;
  /// Values in cells, not at points.
  bool cell = false;
  /// Of "appended": where its data begin, within the appended data.
  std::string offset;
  /// Its text, if that was wanted.
  std::string text;
};

struct VtiHeader {
  bool big_endian = false, long_header = false, compressed = false;
  std::array<std::int64_t, 6> extent{};
  std::array<double, 3> spacing{1, 1, 1}, origin{0, 0, 0};
  std::vector<VtiArray> arrays;
  /// Where appended data begin, behind the '_'; 0 where there are none. Base64 or raw.
  std::uint64_t appended = 0;
  bool appended_base64 = false;
};

/// Reads the XML in `bytes`; of arrays whose number is in `wanted` their text, too. Throws Error
/// naming `source`.
VtiHeader parse_vti(std::string_view bytes, const std::vector<std::size_t>& wanted,
                    const std::string& source);

}  // namespace kanbench

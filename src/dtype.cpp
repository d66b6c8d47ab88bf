#include "kanbench/dtype.h"

#include <array>

namespace kanbench {
namespace {

struct Row {
  Dtype dtype;
  const char* name;
  const char* code;
};

constexpr std::array<Row, 10> kRows{{{Dtype::uint8, "uint8", "u1"},
                                     {Dtype::int8, "int8", "i1"},
                                     {Dtype::uint16, "uint16", "u2"},
                                     {Dtype::int16, "int16", "i2"},
                                     {Dtype::uint32, "uint32", "u4"},
                                     {Dtype::int32, "int32", "i4"},
                                     {Dtype::uint64, "uint64", "u8"},
                                     {Dtype::int64, "int64", "i8"},
                                     {Dtype::float32, "float32", "f4"},
                                     {Dtype::float64, "float64", "f8"}}};

}  // namespace

std::size_t size_of(Dtype dtype) {
  return visit(dtype, [](auto voxel) { return sizeof voxel; });
}

const char* name(Dtype dtype) {
  for (const Row& row : kRows)
    if (row.dtype == dtype) return row.name;
  check(false, "unknown dtype");
  return "";
}

bool parse_dtype(std::string_view word, Dtype& dtype) {
  for (const Row& row : kRows) {
    if (word != row.name && word != row.code) continue;
    dtype = row.dtype;
    return true;
  }
  return false;
}

std::string dtype_names() {
  std::string names;
  for (const Row& row : kRows) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

}  // namespace kanbench

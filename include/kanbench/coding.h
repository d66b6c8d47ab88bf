#pragma once
// Numbers rounded to steps or to half precision, before they are packed into a file.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace kanbench {

/// How one tensor's numbers are written.
struct Coding {
  /// float32 as it is, IEEE half precision, or whole steps from an offset.
  enum class Kind { floats, halves, steps };
  Kind kind = Kind::floats;
  /// The step, which may be a little more in the end; 0 for a 254th of the range.
  double step = 0;
  /// Rows that have a step and an offset of their own; 0: one for all rows.
  std::int64_t block_rows = 0;
};

/// A tensor's numbers as a coding has them. Number i of block b is offsets[b] + codes[i] *
/// scales[b] in double, rounded to float.
struct Coded {
  Coding::Kind kind = Coding::Kind::floats;
  std::int64_t block_rows = 0;
  std::vector<float> scales, offsets;
  /// Steps, or the bits of halves; empty for floats.
  std::vector<std::uint16_t> codes;
  std::vector<float> floats;
};

/// [rows][columns] (columns 0: a vector) by `coding`; as floats where the coding cannot hold them:
/// halves that would overflow, steps that are too fine to count.
Coded encode(std::span<const float> values, std::int64_t rows, std::int64_t columns,
             const Coding& coding);
/// Back again.
void decode(const Coded& coded, std::int64_t rows, std::int64_t columns, std::span<float> values);

/// Codes of a byte: steps of a 254th of the tensor's range, or of that of blocks of its rows where
/// those have less than a quarter of the error.
Coding choose_int8(std::span<const float> values, std::int64_t rows, std::int64_t columns);

/// How many blocks `rows` make; 1 for block_rows 0.
std::int64_t block_count(std::int64_t rows, std::int64_t block_rows);

/// Rounded to nearest, ties to even; overflow gives an infinity.
std::uint16_t to_half(float value);
float from_half(std::uint16_t bits);

/// Bits that an ideal entropy coder takes for each of `codes`.
double entropy(std::span<const std::uint16_t> codes);

}  // namespace kanbench

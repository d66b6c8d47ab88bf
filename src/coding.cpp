#include "kanbench/coding.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>

#include "kanbench/error.h"

namespace kanbench {
namespace {

constexpr double kMostCode = 65535;
// With the offset a whole number of steps, so that zero stays zero, a range may touch one more.
constexpr double kInt8Steps = 254;
// Numbers that are worth a step and an offset of their own.
constexpr std::int64_t kBlockNumbers = 256;

std::int64_t width_of(std::int64_t columns) { return std::max<std::int64_t>(columns, 1); }

// `step` or a little more, of eight significant bits: its multiples up to 2^16 are floats, zero
// among them.
float short_step(double step) {
  int exponent = 0;
  const double mantissa = std::frexp(step, &exponent);
  return static_cast<float>(std::ldexp(std::ceil(std::ldexp(mantissa, 8)), exponent - 8));
}

// One block's numbers as steps; false where they are too many, or the step no float.
bool encode_block(std::span<const float> values, double step, Coded& coded) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const double range = double{*high} - double{*low};
  const float scale = short_step(step > 0 ? step : range / kInt8Steps);
  if (range == 0) {
    coded.scales.push_back(0);
    coded.offsets.push_back(*low);
    coded.codes.insert(coded.codes.end(), values.size(), 0);
    return true;
  }
  if (!(scale >= std::numeric_limits<float>::min()) || !std::isfinite(scale)) return false;
  const double first = std::round(*low / double{scale});
  const auto offset = static_cast<float>(first * scale);
  for (const float value : values) {
    const double code = std::max(0.0, std::round((double{value} - offset) / scale));
    // A step so small beside the offset that floats cannot tell it is none.
    if (code > kMostCode || std::abs(offset + code * scale - value) > 0.51 * scale) return false;
    coded.codes.push_back(static_cast<std::uint16_t>(code));
  }
  coded.scales.push_back(scale);
  coded.offsets.push_back(offset);
  return true;
}

bool encode_steps(std::span<const float> values, std::int64_t columns, const Coding& coding,
                  Coded& coded) {
  const std::size_t block = coding.block_rows > 0
                                ? static_cast<std::size_t>(coding.block_rows * width_of(columns))
                                : values.size();
  for (std::size_t i = 0; i < values.size(); i += block)
    if (!encode_block(values.subspan(i, std::min(block, values.size() - i)), coding.step, coded))
      return false;
  return true;
}

bool encode_halves(std::span<const float> values, Coded& coded) {
  for (const float value : values) {
    coded.codes.push_back(to_half(value));
    if (!std::isfinite(from_half(coded.codes.back()))) return false;
  }
  return true;
}

// The sum of squared errors; infinite where the numbers stay as they are.
double error_of(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                const Coding& coding) {
  const Coded coded = encode(values, rows, columns, coding);
  if (coded.kind != Coding::Kind::steps) return std::numeric_limits<double>::infinity();
  std::vector<float> back(values.size());
  decode(coded, rows, columns, back);
  double error = 0;
  for (std::size_t i = 0; i < values.size(); ++i)
    error += (double{back[i]} - values[i]) * (double{back[i]} - values[i]);
  return error;
}

}  // namespace

std::int64_t block_count(std::int64_t rows, std::int64_t block_rows) {
  return block_rows > 0 ? (rows + block_rows - 1) / block_rows : 1;
}

Coded encode(std::span<const float> values, std::int64_t rows, std::int64_t columns,
             const Coding& coding) {
  check(static_cast<std::int64_t>(values.size()) == rows * width_of(columns),
        "an array of another size");
  Coded coded;
  coded.kind = coding.kind;
  const bool steps = coding.kind == Coding::Kind::steps;
  if (steps) coded.block_rows = coding.block_rows;
  const bool held = !values.empty() &&
                    (steps ? encode_steps(values, columns, coding, coded)
                           : coding.kind == Coding::Kind::halves && encode_halves(values, coded));
  if (!held) return {Coding::Kind::floats, 0, {}, {}, {}, {values.begin(), values.end()}};
  return coded;
}

void decode(const Coded& coded, std::int64_t rows, std::int64_t columns, std::span<float> values) {
  const auto count = static_cast<std::size_t>(rows * width_of(columns));
  check(values.size() == count, "an array of another size");
  if (coded.kind == Coding::Kind::floats) {
    std::copy(coded.floats.begin(), coded.floats.end(), values.begin());
  } else if (coded.kind == Coding::Kind::halves) {
    std::transform(coded.codes.begin(), coded.codes.end(), values.begin(), from_half);
  } else {
    const std::size_t block = coded.block_rows > 0
                                  ? static_cast<std::size_t>(coded.block_rows * width_of(columns))
                                  : std::max<std::size_t>(count, 1);
    // In double, where the product is exact: the same with and without fused multiply-add.
    for (std::size_t i = 0; i < count; ++i)
      values[i] = static_cast<float>(double{coded.offsets[i / block]} +
                                     coded.codes[i] * double{coded.scales[i / block]});
  }
}

Coding choose_int8(std::span<const float> values, std::int64_t rows, std::int64_t columns) {
  const Coding whole{Coding::Kind::steps, 0, 0};
  const std::int64_t block_rows =
      std::max<std::int64_t>(1, (kBlockNumbers + width_of(columns) - 1) / width_of(columns));
  if (block_rows >= rows) return whole;
  const Coding blocks{Coding::Kind::steps, 0, block_rows};
  // A quarter of the error is what another bit would buy.
  return error_of(values, rows, columns, blocks) < error_of(values, rows, columns, whole) / 4
             ? blocks
             : whole;
}

std::uint16_t to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
  const double size = std::abs(double{value});
  if (std::isnan(value)) return sign | 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  // Steps of 2^-24 below 2^-14, of a 1024th of the power of two above.
  const int exponent = size < 0x1p-14 ? -14 : std::ilogb(size);
  const auto steps = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(size, 10 - exponent)));
  const std::uint32_t base = size < 0x1p-14 ? 0 : static_cast<std::uint32_t>(exponent + 14) << 10;
  // A mantissa that rounds up carries into the exponent.
  return static_cast<std::uint16_t>(sign | (base + steps));
}

float from_half(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int mantissa = bits & 1023;
  double size =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  if (exponent == 31) size = mantissa ? NAN : INFINITY;
  return static_cast<float>(bits & 0x8000 ? -size : size);
}

double entropy(std::span<const std::uint16_t> codes) {
  std::map<std::uint16_t, std::size_t> counts;
  for (const std::uint16_t code : codes) ++counts[code];
  double bits = 0;
  for (const auto& [code, count] : counts) {
    const double share = static_cast<double>(count) / static_cast<double>(codes.size());
    bits -= share * std::log2(share);
  }
  return bits;
}

}  // namespace kanbench

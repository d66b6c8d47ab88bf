#include "kanbench/zfp.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "io/zfp_handles.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

// libzfp reads and writes whole words, of 1 to 8 bytes by how it was built; streams of a multiple
// of 8 bytes suit every build.
constexpr std::size_t kWord = 8;

// One array with its stream over `buffer`, which is made long enough for any stream of the array:
// the decoder does not look where its stream ends.
struct Coder {
  Coder(float* values, std::int64_t rows, std::int64_t columns, double tolerance)
      : field(columns > 1 ? zfp_field_2d(values, zfp_type_float, static_cast<std::size_t>(columns),
                                         static_cast<std::size_t>(rows))
                          : zfp_field_1d(values, zfp_type_float, static_cast<std::size_t>(rows))),
        stream(zfp_stream_open(nullptr)) {
    zfp_stream_set_accuracy(stream.get(), tolerance);
    buffer.resize((zfp_stream_maximum_size(stream.get(), field.get()) / kWord + 2) * kWord);
    bits.reset(stream_open(buffer.data(), buffer.size()));
    zfp_stream_set_bit_stream(stream.get(), bits.get());
    zfp_stream_rewind(stream.get());
  }
  ZfpField field;
  ZfpStream stream;
  Bits bits;
  std::vector<std::byte> buffer;
};

std::int64_t element_count(std::int64_t rows, std::int64_t columns) {
  return rows * std::max<std::int64_t>(columns, 1);
}

// Every block of 4 or 4 x 4 numbers costs at least a bit.
bool long_enough(std::size_t bytes, std::int64_t rows, std::int64_t columns) {
  const std::int64_t across = columns > 1 ? (columns - 1) / 4 + 1 : 1;
  return ((rows - 1) / 4 + 1) * across <= static_cast<std::int64_t>(bytes) * 8;
}

}  // namespace

bool has_zfp() { return true; }

void require_zfp() {}

std::vector<std::byte> zfp_compress(std::span<const float> values, std::int64_t rows,
                                    std::int64_t columns, double tolerance) {
  check(static_cast<std::int64_t>(values.size()) == element_count(rows, columns) && rows > 0,
        "an array of another size");
  check(tolerance > 0 && std::isfinite(tolerance), "a tolerance that is not positive");
  // libzfp takes a pointer to what it will only read.
  Coder coder(const_cast<float*>(values.data()), rows, columns, tolerance);
  const std::size_t bytes = ::zfp_compress(coder.stream.get(), coder.field.get());
  check(bytes > 0, "libzfp did not compress");
  const std::size_t padded = (bytes + kWord - 1) / kWord * kWord;
  std::fill_n(coder.buffer.begin() + static_cast<std::ptrdiff_t>(bytes), padded - bytes,
              std::byte{0});
  std::vector<std::byte> packed(coder.buffer.begin(),
                                coder.buffer.begin() + static_cast<std::ptrdiff_t>(padded));
  std::vector<float> back(values.size());
  zfp_decompress(packed, rows, columns, tolerance, back, "ZFP");
  for (std::size_t i = 0; i < back.size(); ++i)
    if (!(std::abs(double{back[i]} - double{values[i]}) <= tolerance)) return {};
  return packed;
}

void zfp_decompress(std::span<const std::byte> stream, std::int64_t rows, std::int64_t columns,
                    double tolerance, std::span<float> values, const std::string& source) {
  check(static_cast<std::int64_t>(values.size()) == element_count(rows, columns) && rows > 0,
        "an array of another size");
  const std::string size = std::to_string(stream.size());
  if (!long_enough(stream.size(), rows, columns))
    throw Error(source + ": a ZFP stream of " + size + " bytes is too short for " +
                std::to_string(values.size()) + " numbers");
  Coder coder(values.data(), rows, columns, tolerance);
  if (stream.size() > coder.buffer.size())
    throw Error(source + ": a ZFP stream of " + size + " bytes is too long for " +
                std::to_string(values.size()) + " numbers");
  std::memcpy(coder.buffer.data(), stream.data(), stream.size());
  const std::size_t used = ::zfp_decompress(coder.stream.get(), coder.field.get());
  if (used == 0 || (used - 1) / kWord != (stream.size() - 1) / kWord)
    throw Error(source + ": a ZFP stream of " + size + " bytes, of which " + std::to_string(used) +
                " make its " + std::to_string(values.size()) + " numbers: it is damaged");
}

}  // namespace kanbench

// Volumes through ZFP. Streams are made here and nowhere else: the decoder trusts them.

#include <cmath>
#include <memory>

#include "io/zfp_handles.h"
#include "kanbench/error.h"
#include "kanbench/zfp.h"

namespace kanbench {
namespace {

// An axis of one voxel is none: blocks would be padded along it.
ZfpField open_field(void* voxels, const Shape& shape, bool wide) {
  const zfp_type type = wide ? zfp_type_double : zfp_type_float;
  std::size_t sizes[3];
  int axes = 0;
  for (const std::int64_t extent : {shape.x, shape.y, shape.z})
    if (extent > 1) sizes[axes++] = static_cast<std::size_t>(extent);
  if (axes == 3) return ZfpField(zfp_field_3d(voxels, type, sizes[0], sizes[1], sizes[2]));
  if (axes == 2) return ZfpField(zfp_field_2d(voxels, type, sizes[0], sizes[1]));
  return ZfpField(zfp_field_1d(voxels, type, axes == 1 ? sizes[0] : 1));
}

}  // namespace

std::vector<std::byte> zfp_compress_volume(const void* voxels, const Shape& shape, bool wide,
                                           double tolerance) {
  check(tolerance > 0 && std::isfinite(tolerance), "a tolerance that is not positive");
  // libzfp takes a pointer to what it will only read.
  const ZfpField field = open_field(const_cast<void*>(voxels), shape, wide);
  const ZfpStream stream(zfp_stream_open(nullptr));
  zfp_stream_set_accuracy(stream.get(), tolerance);
  std::vector<std::byte> buffer(zfp_stream_maximum_size(stream.get(), field.get()) + 8);
  const Bits bits(stream_open(buffer.data(), buffer.size()));
  zfp_stream_set_bit_stream(stream.get(), bits.get());
  zfp_stream_rewind(stream.get());
  check(zfp_write_header(stream.get(), field.get(), ZFP_HEADER_FULL) > 0, "libzfp wrote no header");
  const std::size_t bytes = ::zfp_compress(stream.get(), field.get());
  check(bytes > 0, "libzfp did not compress");
  buffer.resize(bytes);
  return buffer;
}

void zfp_decompress_volume(std::span<const std::byte> stream, const Shape& shape, bool wide,
                           void* voxels) {
  const ZfpField field = open_field(voxels, shape, wide);
  const ZfpStream reader(zfp_stream_open(nullptr));
  // libzfp reads whole words.
  std::vector<std::byte> padded(stream.begin(), stream.end());
  padded.resize(padded.size() + 8);
  const Bits bits(stream_open(padded.data(), padded.size()));
  zfp_stream_set_bit_stream(reader.get(), bits.get());
  zfp_stream_rewind(reader.get());
  check(zfp_read_header(reader.get(), field.get(), ZFP_HEADER_FULL) > 0, "libzfp read no header");
  zfp_field_set_pointer(field.get(), voxels);
  check(::zfp_decompress(reader.get(), field.get()) > 0, "libzfp did not decompress");
}

}  // namespace kanbench

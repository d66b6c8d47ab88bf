#include "io/body.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <new>

#include "io/inflate.h"
#include "kanbench/error.h"
#include "kanbench/parallel.h"
#include "mapping.h"

namespace kanbench {
namespace {

constexpr std::int64_t kMaxVoxels = std::int64_t{1} << 48;
constexpr std::int64_t kMaxComponents = 4096;
constexpr std::int64_t kChunk = std::int64_t{1} << 18;

std::int64_t chunks_of(std::int64_t count) { return (count + kChunk - 1) / kChunk; }

template <std::size_t size>
void swap_each(std::byte* bytes, std::int64_t first, std::int64_t last) {
  for (std::int64_t i = first; i < last; ++i)
    std::reverse(bytes + i * std::int64_t{size}, bytes + (i + 1) * std::int64_t{size});
}

template <std::size_t size>
void part_components(const std::byte* from, std::byte* to, std::int64_t voxels,
                     std::int64_t components) {
  parallel(chunks_of(voxels), [&](std::int64_t chunk) {
    const std::int64_t last = std::min(voxels, (chunk + 1) * kChunk);
    for (std::int64_t c = 0; c < components; ++c)
      for (std::int64_t i = chunk * kChunk; i < last; ++i)
        std::memcpy(to + (c * voxels + i) * std::int64_t{size},
                    from + (i * components + c) * std::int64_t{size}, size);
  });
}

[[noreturn]] void refuse_short(const VolumeHeader& header, std::uint64_t expected,
                               std::uint64_t found, const std::string& source) {
  const std::string components =
      header.components == 1 ? "" : " x " + std::to_string(header.components);
  throw Error(source + ": expected " + std::to_string(expected) + " bytes (" + text(header.shape) +
              components + " " + name(header.dtype) + "), found " + std::to_string(found) +
              ": it is cut short, or its header is another file's");
}

std::shared_ptr<std::byte[]> inflate_body(const VolumeHeader& header, const Body& body,
                                          std::uint64_t found, const std::string& source) {
  // No byte of a deflate stream makes more than 1032.
  const std::uint64_t bytes = bytes_of(header), most = found * 1032;
  if (found < std::numeric_limits<std::uint64_t>::max() / 1032 && bytes > most)
    refuse_short(header, bytes, most, source + ", inflated at most");
  const std::shared_ptr<const void> packed = map_file(body.file, found, body.offset);
  std::shared_ptr<std::byte[]> voxels = allocate_voxels(bytes, source);
  inflate({static_cast<const std::byte*>(packed.get()), found}, body.skip, {voxels.get(), bytes},
          source);
  return voxels;
}

}  // namespace

Shape require_shape(std::span<const std::int64_t> extents, const std::string& what) {
  check(extents.size() == 2 || extents.size() == 3, "a shape of another dimension");
  std::int64_t all = 1;
  for (const std::int64_t extent : extents) {
    if (extent < 1)
      throw Error(what + ": " + std::to_string(extent) + " voxels along an axis: from 1 up are");
    if (extent > kMaxVoxels / all)
      throw Error(what + ": more than 2^48 voxels: the header is damaged");
    all *= extent;
  }
  return {extents[0], extents[1], extents.size() == 3 ? extents[2] : 1};
}

void set_components(VolumeHeader& header, std::int64_t components, const std::string& what) {
  if (components < 1 || components > kMaxComponents)
    throw Error(what + ": " + std::to_string(components) + " numbers a voxel: 1 to " +
                std::to_string(kMaxComponents) + " can be");
  header.components = static_cast<int>(components);
}

std::uint64_t bytes_of(const VolumeHeader& header) {
  return static_cast<std::uint64_t>(header.shape.count()) *
         static_cast<std::uint64_t>(header.components) * size_of(header.dtype);
}

std::uint64_t size_of_file(const std::filesystem::path& path, const std::string& what) {
  std::error_code failure;
  const auto status = std::filesystem::status(path, failure);
  if (!std::filesystem::exists(status)) throw Error(what + ": there is no file " + path.string());
  if (!std::filesystem::is_regular_file(status))
    throw Error(what + ": " + path.string() + " is not a file");
  const std::uintmax_t size = std::filesystem::file_size(path, failure);
  if (failure) throw Error(path.string() + ": cannot be read: " + failure.message());
  return size;
}

std::string start_of_file(const std::filesystem::path& path, std::size_t most) {
  const std::uint64_t size = size_of_file(path, path.string());
  std::string start(std::min<std::uint64_t>(size, most), '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  if (!file) throw Error(path.string() + ": cannot be read");
  return start;
}

std::shared_ptr<std::byte[]> allocate_voxels(std::uint64_t bytes, const std::string& source) {
  try {
    return std::shared_ptr<std::byte[]>(new std::byte[bytes]);
  } catch (const std::bad_alloc&) {
    throw SystemError(source + ": its voxels take " + std::to_string(bytes) +
                      " bytes of memory, which are not there");
  }
}

void swap_bytes(std::byte* bytes, std::int64_t count, std::size_t size) {
  parallel(chunks_of(count), [&](std::int64_t chunk) {
    const std::int64_t first = chunk * kChunk, last = std::min(count, first + kChunk);
    if (size == 2) swap_each<2>(bytes, first, last);
    if (size == 4) swap_each<4>(bytes, first, last);
    if (size == 8) swap_each<8>(bytes, first, last);
  });
}

std::shared_ptr<const void> in_order(const VolumeHeader& header,
                                     std::shared_ptr<const std::byte[]> bytes, bool swapped,
                                     bool interleaved, const std::string& source) {
  const std::size_t size = size_of(header.dtype);
  const std::int64_t voxels = header.shape.count(), components = header.components;
  if (interleaved && components > 1) {
    const std::shared_ptr<std::byte[]> planar = allocate_voxels(bytes_of(header), source);
    const auto part = size == 1   ? part_components<1>
                      : size == 2 ? part_components<2>
                      : size == 4 ? part_components<4>
                                  : part_components<8>;
    part(bytes.get(), planar.get(), voxels, components);
    bytes = planar;
  }
  // It is this process's own memory.
  if (swapped) swap_bytes(const_cast<std::byte*>(bytes.get()), voxels * components, size);
  return {bytes, bytes.get()};
}

std::string name_of(const Body& body, const std::filesystem::path& header) {
  return header.string() + (body.file == header ? "" : " (" + body.file.string() + ")");
}

std::shared_ptr<const void> read_body(const VolumeHeader& header, const Body& body,
                                      const std::string& source) {
  const std::uint64_t bytes = bytes_of(header), size = size_of_file(body.file, source);
  const std::uint64_t found = size - std::min(size, body.offset);
  const bool swapped = body.swapped && size_of(header.dtype) > 1;
  const bool interleaved = body.interleaved && header.components > 1;
  if (found == 0 || (!body.compressed && found < bytes)) refuse_short(header, bytes, found, source);
  if (body.compressed)
    return in_order(header, inflate_body(header, body, found, source), swapped, interleaved,
                    source);
  const std::shared_ptr<const void> mapped = map_file(body.file, bytes, body.offset);
  if (!swapped && !interleaved && body.offset % size_of(header.dtype) == 0) return mapped;
  if (interleaved)
    return in_order(header, {mapped, static_cast<const std::byte*>(mapped.get())}, swapped, true,
                    source);
  const std::shared_ptr<std::byte[]> copy = allocate_voxels(bytes, source);
  std::memcpy(copy.get(), mapped.get(), bytes);
  return in_order(header, copy, swapped, false, source);
}

std::shared_ptr<const void> scaled(const void* voxels, std::int64_t count, Dtype from, Dtype to,
                                   double slope, double offset, std::span<const VoxelBytes> missing,
                                   const std::string& source) {
  const auto bytes = static_cast<std::uint64_t>(count) * size_of(to);
  const std::shared_ptr<std::byte[]> memory = allocate_voxels(bytes, source);
  const auto convert = [&](auto number, auto wanted) {
    using From = decltype(number);
    using To = decltype(wanted);
    std::vector<From> none;
    for (const VoxelBytes& value : missing) {
      none.emplace_back();
      std::memcpy(&none.back(), value.data(), sizeof(From));
    }
    const auto* in = static_cast<const From*>(voxels);
    auto* out = reinterpret_cast<To*>(memory.get());
    parallel(chunks_of(count), [&](std::int64_t chunk) {
      const std::int64_t last = std::min(count, (chunk + 1) * kChunk);
      for (std::int64_t i = chunk * kChunk; i < last; ++i)
        out[i] = std::find(none.begin(), none.end(), in[i]) != none.end()
                     ? std::numeric_limits<To>::quiet_NaN()
                     : static_cast<To>(static_cast<double>(in[i]) * slope + offset);
    });
  };
  visit(from, [&](auto number) {
    if (to == Dtype::float32)
      convert(number, float{});
    else
      convert(number, double{});
  });
  return {memory, memory.get()};
}

double spacing_of(double stated) {
  const double length = std::abs(stated);
  return std::isfinite(length) && length > 0 ? length : 1;
}

}  // namespace kanbench

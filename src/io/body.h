#pragma once
// The voxels of a file whose header was read: sizes that are checked, bytes that are put in order.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/stored.h"

namespace kanbench {

/// The shape of `extents` (x first; 2 or 3 of them); throws Error naming `what` for one below 1 or
/// more voxels than can be.
Shape require_shape(std::span<const std::int64_t> extents, const std::string& what);

/// Sets the header's components; throws Error naming `what` where they are not 1 ... 4096.
void set_components(VolumeHeader& header, std::int64_t components, const std::string& what);

/// Bytes of all voxels; no header of the two above overflows.
std::uint64_t bytes_of(const VolumeHeader& header);

/// The bytes of the file; throws Error, `what` before it, where it is no regular file.
std::uint64_t size_of_file(const std::filesystem::path& path, const std::string& what);

/// The first bytes of the file, at most `most`.
std::string start_of_file(const std::filesystem::path& path, std::size_t most);

/// Memory for voxels. SystemError where there is not as much.
std::shared_ptr<std::byte[]> allocate_voxels(std::uint64_t bytes, const std::string& source);

/// Where voxels lie, and in what order.
struct Body {
  std::filesystem::path file;
  std::uint64_t offset = 0;
  /// A gzip or zlib stream begins at `offset`; so many of its bytes come before the voxels.
  bool compressed = false;
  std::uint64_t skip = 0;
  /// The other byte order.
  bool swapped = false;
  /// Components change fastest.
  bool interleaved = false;
};

/// The file of that header as messages name it: with the file of its voxels, where that is another.
std::string name_of(const Body& body, const std::filesystem::path& header);

/// The voxels: mapped where they lie as they are wanted, else read. Throws Error, `source` before
/// it, where the file is too short.
std::shared_ptr<const void> read_body(const VolumeHeader& header, const Body& body,
                                      const std::string& source);

/// `bytes` as voxels in memory, with what Body says of their order.
std::shared_ptr<const void> in_order(const VolumeHeader& header,
                                     std::shared_ptr<const std::byte[]> bytes, bool swapped,
                                     bool interleaved, const std::string& source);

/// Reverses each `size` bytes of `count` numbers in place.
void swap_bytes(std::byte* bytes, std::int64_t count, std::size_t size);

/// number * slope + offset in `to`, float32 or float64; where `missing` says so NaN.
std::shared_ptr<const void> scaled(const void* voxels, std::int64_t count, Dtype from, Dtype to,
                                   double slope, double offset, std::span<const VoxelBytes> missing,
                                   const std::string& source);

/// A length between voxels as files say it: its size, 1 for none that is above 0.
double spacing_of(double stated);

}  // namespace kanbench

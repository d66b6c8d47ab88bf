#pragma once
// What a reader of a file hands over, and what one that writes wants written.

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kanbench/volume.h"

namespace kanbench {

/// The bytes of one voxel, as many as its type has.
using VoxelBytes = std::array<std::byte, 8>;

/// A volume as its file has it.
struct StoredVolume {
  VolumeHeader header;
  /// The machine's byte order, x fastest, one component after the other.
  std::shared_ptr<const void> voxels;
  /// Values that stand for no value, beside NaN and infinity.
  std::vector<VoxelBytes> fills;
};

/// How a volume lies in files.
struct WrittenForm {
  /// The file of the voxels, and its bytes before and after them.
  std::filesystem::path body;
  std::string before, after;
  /// A file beside it and all that it holds; no name, no file.
  std::filesystem::path beside;
  std::string text;
  /// Whether components change fastest, not slowest.
  bool interleaved = false;
};

}  // namespace kanbench

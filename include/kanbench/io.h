#pragma once
// Volumes in files.

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kanbench/communicator.h"
#include "kanbench/volume.h"

namespace kanbench {

/// One file format: a row of a table; a new one is a file in src/io and a row.
struct Format {
  const char* name;
  /// What files of this format look like, for messages.
  const char* pattern;
  /// Whether `path` is of this format, by its name alone.
  bool (*matches)(const std::filesystem::path& path);
  /// The dataset's name by the file's name alone; empty where it says none.
  std::string (*dataset)(const std::filesystem::path& path);
  /// `communicator` as open_volume() has it.
  Volume (*read)(const std::filesystem::path& path, Communicator& communicator);
};
std::span<const Format> formats();

/// What a raw file's name says: name_XxYxZ_dtype.raw, matched from the right, so that the name
/// itself may hold underscores and digits.
struct RawName {
  std::string name;
  Shape shape;
  Dtype dtype = Dtype::uint8;
};
/// The name's parts. Throws Error, naming the file and the form it should have.
RawName parse_raw_name(const std::filesystem::path& path);
std::string raw_file_name(const RawName& name);

/// Opens a volume by path, memory-mapped where its format allows. Throws Error for an unknown
/// format, a size that does not match (expected and found bytes), NaN or constant voxels. Called by
/// all ranks: each reads its share of the voxels to find the range, and all agree on it.
Volume open_volume(const std::filesystem::path& path, Communicator& communicator);
Volume open_volume(const std::filesystem::path& path);

/// The one file in `directory` whose whole dataset name is `name` (or `name` itself if it is a path
/// to a file). Throws Error listing the datasets there, and the nearest, if there is none, or the
/// files if there are several.
std::filesystem::path find_dataset(const std::filesystem::path& directory, const std::string& name);

/// The dataset names in `directory`, sorted.
std::vector<std::string> list_datasets(const std::filesystem::path& directory);

/// Writes raw voxels, all ranks theirs into one file, then takes the name, with an .nhdr beside it
/// that ParaView and 3D Slicer open.
class RawWriter {
 public:
  /// Called by all ranks. `origin` is where the first voxel's centre lies; for a part of a volume,
  /// from the whole's.
  RawWriter(Communicator& communicator, std::filesystem::path path, Shape shape, Dtype dtype,
            std::array<double, 3> spacing, std::array<double, 3> origin = {0, 0, 0});
  ~RawWriter();
  RawWriter(RawWriter&&) noexcept;
  /// `count` voxels from number `first` on, x fastest; by this rank alone.
  void write(std::int64_t first, std::int64_t count, const void* voxels);
  /// Called by all ranks, whose voxels must make up the whole.
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Values in [0, 1] back into `dtype` by low + value * (high - low), rounded to nearest, held
/// within the type. `out` is count voxels.
void denormalise(const float* values, std::int64_t count, double low, double high, Dtype dtype,
                 void* out);

}  // namespace kanbench

#pragma once
// Volumes in files.

#include <array>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kanbench/communicator.h"
#include "kanbench/missing.h"
#include "kanbench/volume.h"

namespace kanbench {

struct StoredVolume;
struct WrittenForm;

/// One file format: a row of a table; a new one is a file in src/io and a row.
struct Format {
  const char* name;
  /// What files of this format look like, for messages.
  const char* pattern;
  /// How their names end, in lower case; null for no more.
  std::array<const char*, 5> endings;
  /// Whether a file may hold several arrays, which are told apart by "FILE:NAME".
  bool several;
  /// Called by each rank for itself. `variable` chooses arrays; empty: the only one.
  StoredVolume (*read)(const std::filesystem::path& path, const std::string& variable);
  /// The files that voxels are in, where that is not the file itself; may be null.
  std::vector<std::filesystem::path> (*files)(const std::filesystem::path& path);
  /// How a volume is written to `path`; null where this format is not written.
  WrittenForm (*write)(const std::filesystem::path& path, const VolumeHeader& header);
};
std::span<const Format> formats();
/// Whether `path` is of that format, by its name alone.
bool is_of(const Format& format, const std::filesystem::path& path);

/// A path as a user gives it: a file, and the arrays of it that are meant ("file.nc:u,v[3]").
struct VolumePath {
  std::filesystem::path file;
  std::string variable;
};
VolumePath split_volume_path(const std::filesystem::path& path);

/// The name that a volume has by its path alone: what a raw name says, else the file's name without
/// its ending; and what is meant of several arrays. Fit for names of files.
std::string dataset_name(const std::filesystem::path& path);

/// The files beside it that the voxels of `path` are in, as its header names them: from its own
/// directory, where they are not absolute.
std::vector<std::filesystem::path> data_files(const std::filesystem::path& path);

/// What a raw file's name says: name_XxYxZ_dtype.raw, or name_CxXxYxZ_dtype.raw where a voxel has C
/// numbers, side by side; matched from the right, so that the name itself may hold underscores and
/// digits.
struct RawName {
  std::string name;
  Shape shape;
  Dtype dtype = Dtype::uint8;
  int components = 1;
};
/// The name's parts. Throws Error, naming the file and the form it should have.
RawName parse_raw_name(const std::filesystem::path& path);
std::string raw_file_name(const RawName& name);

/// Opens a volume by path, memory-mapped where it lies as it is wanted, and fills what has no value
/// as `missing` says. Throws Error for an unknown format, a size that does not match (expected and
/// found bytes), NaN or constant voxels. Called by all ranks: each reads its share of the voxels to
/// find the range, and all agree on it.
Volume open_volume(const std::filesystem::path& path, Communicator& communicator,
                   const Missing& missing = {});
Volume open_volume(const std::filesystem::path& path, const Missing& missing = {});

/// The one file in `directory` whose whole dataset name is `name`, or the volume that `name` itself
/// is the path of, as it stands or from `directory`. A header is found before the raw file beside
/// it. Throws Error listing the datasets there, and the nearest, if there is none, or the files if
/// there are several.
std::filesystem::path find_dataset(const std::filesystem::path& directory, const std::string& name);
/// The same of `name` as a path alone: empty where no file of a known format has it.
std::filesystem::path find_volume_file(const std::filesystem::path& directory,
                                       const std::string& name);

/// The dataset names in `directory`, sorted.
std::vector<std::string> list_datasets(const std::filesystem::path& directory);

/// The files that writing a volume to `path` makes. Throws Error where its name is of no format
/// that is written.
std::vector<std::filesystem::path> files_written(const std::filesystem::path& path);

/// Writes a volume in the format that the file's name says, all ranks their voxels into one file,
/// which then takes its name. A raw file gets an .nhdr beside it that ParaView and 3D Slicer open.
class VolumeWriter {
 public:
  /// Called by all ranks. Error where the name is of no format that is written.
  VolumeWriter(Communicator& communicator, const std::filesystem::path& path,
               const VolumeHeader& header);
  ~VolumeWriter();
  VolumeWriter(VolumeWriter&&) noexcept;
  /// `count` voxels from number `first` on, x fastest, one array a component; by this rank alone.
  void write(std::int64_t first, std::int64_t count, std::span<const void* const> components);
  /// The same of a volume of one component.
  void write(std::int64_t first, std::int64_t count, const void* voxels) {
    write(first, count, std::span(&voxels, 1));
  }
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

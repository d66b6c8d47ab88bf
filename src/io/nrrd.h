#pragma once
// NRRD, attached and detached: rows of the table of formats.
// http://teem.sourceforge.net/nrrd/format.html

#include <filesystem>
#include <string>
#include <vector>

#include "io/stored.h"

namespace kanbench {

StoredVolume read_nrrd(const std::filesystem::path& path, const std::string& variable);

/// The data file that a header names, as it names it; none where the voxels are in the file itself.
std::vector<std::filesystem::path> nrrd_files(const std::filesystem::path& path);

/// One file, or header and FILE.raw.
WrittenForm nrrd_attached(const std::filesystem::path& path, const VolumeHeader& header);
WrittenForm nrrd_detached(const std::filesystem::path& path, const VolumeHeader& header);

}  // namespace kanbench

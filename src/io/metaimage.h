#pragma once
// MetaImage, .mha in one file and .mhd beside its voxels: rows of the table of formats.
// https://itk.org/Wiki/ITK/MetaIO/Documentation

#include <filesystem>
#include <string>
#include <vector>

#include "io/stored.h"

namespace kanbench {

StoredVolume read_metaimage(const std::filesystem::path& path, const std::string& variable);

/// The data file that a header names, as it names it; none where the voxels are in the file itself.
std::vector<std::filesystem::path> metaimage_files(const std::filesystem::path& path);

/// One file, or header and FILE.raw.
WrittenForm metaimage_attached(const std::filesystem::path& path, const VolumeHeader& header);
WrittenForm metaimage_detached(const std::filesystem::path& path, const VolumeHeader& header);

}  // namespace kanbench

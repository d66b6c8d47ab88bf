#pragma once
// HDF5, by data set: a row of the table of formats.

#include <filesystem>
#include <string>

#include "io/stored.h"

namespace kanbench {

/// Error where this build has no libhdf5.
StoredVolume read_hdf5(const std::filesystem::path& path, const std::string& variable);

}  // namespace kanbench

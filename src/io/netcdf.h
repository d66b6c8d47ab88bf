#pragma once
// NetCDF, classic and 4, by variable: a row of the table of formats.

#include <filesystem>
#include <string>

#include "io/stored.h"

namespace kanbench {

/// Error where this build has no libnetcdf.
StoredVolume read_netcdf(const std::filesystem::path& path, const std::string& variable);

}  // namespace kanbench

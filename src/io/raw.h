#pragma once
// Raw volumes, name_XxYxZ_dtype.raw: a row of the table of formats.

#include <filesystem>
#include <string>

#include "io/stored.h"

namespace kanbench {

/// The volume, mapped into memory.
StoredVolume read_raw(const std::filesystem::path& path, const std::string& variable);

}  // namespace kanbench

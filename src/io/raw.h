#pragma once
// Raw volumes, name_XxYxZ_dtype.raw: the row of the table of formats.

#include <filesystem>
#include <string>

#include "kanbench/communicator.h"
#include "kanbench/volume.h"

namespace kanbench {

/// Whether the file's extension is .raw.
bool is_raw(const std::filesystem::path& path);

/// The dataset's name, empty where the file's name has another form.
std::string raw_dataset(const std::filesystem::path& path);

/// The volume, mapped into memory; called by all ranks.
Volume read_raw(const std::filesystem::path& path, Communicator& communicator);

}  // namespace kanbench

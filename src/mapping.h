#pragma once
// Files mapped into memory whole; what was looked at can be let go of.

#include <cstddef>
#include <filesystem>
#include <memory>

#include "kanbench/range.h"

namespace kanbench {

/// The file's `bytes` bytes from `offset` on, read only, mapped as long as they have an owner.
/// Throws Error where it cannot be read.
std::shared_ptr<const void> map_file(const std::filesystem::path& path, std::size_t bytes,
                                     std::size_t offset = 0);

/// Lets go of bytes `part` of what map_file() gave, or of a part of it: they take no memory until
/// they are looked at again. Does nothing with other memory.
void forget_bytes(const std::shared_ptr<const void>& memory, Range part);

}  // namespace kanbench

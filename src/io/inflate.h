#pragma once
// Deflate streams, as gzip and zlib wrap them.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace kanbench {

/// Inflates `packed`, one stream or several in a row, and puts what comes after its first `skip`
/// bytes into all of `out`. Throws Error naming `source` for a stream that is damaged, ends before
/// or goes on after.
void inflate(std::span<const std::byte> packed, std::uint64_t skip, std::span<std::byte> out,
             const std::string& source);

/// The first bytes, as many as `out` has; returns how many there are. Error as above.
std::size_t inflate_start(std::span<const std::byte> packed, std::span<std::byte> out,
                          const std::string& source);

}  // namespace kanbench

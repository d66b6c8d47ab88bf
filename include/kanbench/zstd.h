#pragma once
// Zstandard (RFC 8878): lossless, entropy-coded bytes. src/absent/zstd.cpp stands in where libzstd
// was not found.

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace kanbench {

/// One frame that holds `bytes`; `level` from 1 (fast) to 22 (small).
std::vector<std::byte> zstd_compress(std::span<const std::byte> bytes, int level = 19);

/// The frame's bytes, which must be as many as `out` has. Throws Error naming `source` for anything
/// else.
void zstd_decompress(std::span<const std::byte> frame, std::span<std::byte> out,
                     const std::string& source);

/// Whether this build has Zstandard.
bool has_zstd();

/// Throws Error, with what to do, unless this build has Zstandard.
void require_zstd();

}  // namespace kanbench

// Stands in for Zstandard in builds without libzstd.

#include "kanbench/zstd.h"

#include "kanbench/error.h"

namespace kanbench {
namespace {

constexpr const char* kMissing =
    "this build has no Zstandard: install libzstd (Debian: libzstd-dev) and build again";

}  // namespace

std::vector<std::byte> zstd_compress(std::span<const std::byte>, int) { throw Error(kMissing); }

void zstd_decompress(std::span<const std::byte>, std::span<std::byte>, const std::string& source) {
  throw Error(source + ": stored through Zstandard, and " + kMissing);
}

bool has_zstd() { return false; }

void require_zstd() { throw Error(kMissing); }

}  // namespace kanbench

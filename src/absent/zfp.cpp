// Stands in for ZFP in builds without libzfp.

#include "kanbench/zfp.h"

#include "kanbench/error.h"

namespace kanbench {
namespace {

constexpr const char* kMissing =
    "this build has no ZFP: install libzfp (Debian: libzfp-dev) and build again, or set zfp_enc "
    "and zfp_mlp to 0";

}  // namespace

bool has_zfp() { return false; }

void require_zfp() { throw Error(kMissing); }

std::vector<std::byte> zfp_compress(std::span<const float>, std::int64_t, std::int64_t, double) {
  throw Error(kMissing);
}

void zfp_decompress(std::span<const std::byte>, std::int64_t, std::int64_t, double,
                    std::span<float>, const std::string& source) {
  throw Error(source + ": stored through ZFP, and " + kMissing);
}

std::vector<std::byte> zfp_compress_volume(const void*, const Shape&, bool, double) {
  throw Error(kMissing);
}

void zfp_decompress_volume(std::span<const std::byte>, const Shape&, bool, void*) {
  throw Error(kMissing);
}

}  // namespace kanbench

#include "kanbench/zstd.h"

#include <zstd.h>

#include "kanbench/error.h"

namespace kanbench {

std::vector<std::byte> zstd_compress(std::span<const std::byte> bytes, int level) {
  std::vector<std::byte> frame(ZSTD_compressBound(bytes.size()));
  const std::size_t size =
      ZSTD_compress(frame.data(), frame.size(), bytes.data(), bytes.size(), level);
  if (ZSTD_isError(size))
    throw SystemError(std::string("Zstandard did not compress: ") + ZSTD_getErrorName(size));
  frame.resize(size);
  return frame;
}

void zstd_decompress(std::span<const std::byte> frame, std::span<std::byte> out,
                     const std::string& source) {
  const std::size_t size = ZSTD_decompress(out.data(), out.size(), frame.data(), frame.size());
  if (ZSTD_isError(size))
    throw Error(source + ": a Zstandard frame of " + std::to_string(frame.size()) +
                " bytes that does not give its " + std::to_string(out.size()) +
                " bytes: " + ZSTD_getErrorName(size));
  if (size != out.size())
    throw Error(source + ": a Zstandard frame of " + std::to_string(size) + " bytes, where " +
                std::to_string(out.size()) + " are expected");
}

bool has_zstd() { return true; }

void require_zstd() {}

}  // namespace kanbench

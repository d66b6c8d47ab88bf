// Stands in for src/io/inflate.cpp where zlib is missing.
#include "io/inflate.h"

#include "kanbench/error.h"

namespace kanbench {
namespace {

[[noreturn]] void refuse(const std::string& source) {
  throw Error(source + ": is compressed, and this build has no zlib: install zlib (Debian: " +
              "zlib1g-dev) and build again, or store it uncompressed");
}

}  // namespace

void inflate(std::span<const std::byte>, std::uint64_t, std::span<std::byte>,
             const std::string& source) {
  refuse(source);
}

std::size_t inflate_start(std::span<const std::byte>, std::span<std::byte>,
                          const std::string& source) {
  refuse(source);
}

}  // namespace kanbench

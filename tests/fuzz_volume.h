#pragma once
// What fuzzers of volumes have in common.

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "io/body.h"
#include "kanbench/error.h"

namespace kanbench {

/// Reads the bytes as a file, and every voxel of the volume that it may be.
inline int fuzz_volume(StoredVolume (*read)(const std::filesystem::path&, const std::string&),
                       const char* ending, const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path path =
      std::filesystem::temp_directory_path() /
      ("kanbench-fuzz-" + std::to_string(::getpid()) + ending);
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    const StoredVolume volume = read(path, "");
    const auto* bytes = static_cast<const unsigned char*>(volume.voxels.get());
    unsigned sum = 0;
    for (std::uint64_t i = 0; i < bytes_of(volume.header); ++i) sum += bytes[i];
    static volatile unsigned looked_at;
    looked_at = sum;
  } catch (const Error& error) {
    if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
  } catch (const SystemError&) {
    // No memory for what the file asks for.
  }
  std::filesystem::remove(path);
  return 0;
}

}  // namespace kanbench

// libFuzzer's entry: any text either becomes a manifest that survives being written and read again,
// or is refused in one line.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "kanbench/ensemble.h"
#include "kanbench/error.h"

namespace {

// A manifest to begin with.
bool write_seed() {
  const char* corpus = std::getenv("KANBENCH_FUZZ_CORPUS");
  if (!corpus) return false;
  kanbench::Manifest manifest;
  manifest.dataset = "d";
  manifest.shape = {4, 2, 2};
  manifest.grid = {2, 1, 1};
  manifest.ghost = 1;
  manifest.bricks = {
      {{{0, 0, 0}, {2, 2, 2}}, {{0, 0, 0}, {3, 2, 2}}, 0, 1, "brick_000.safetensors"},
      {{{2, 0, 0}, {4, 2, 2}}, {{1, 0, 0}, {4, 2, 2}}, 0, 0, ""}};
  std::ofstream(std::filesystem::path(corpus) / "seed", std::ios::binary)
      << kanbench::to_json(manifest);
  return true;
}

const bool seeded = write_seed();

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  kanbench::Manifest manifest;
  try {
    manifest = kanbench::parse_manifest(text, "fuzz.ensemble.json");
  } catch (const kanbench::Error& error) {
    if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
    return 0;
  }
  const std::string written = kanbench::to_json(manifest);
  if (kanbench::to_json(kanbench::parse_manifest(written, "again.ensemble.json")) != written)
    std::abort();
  return 0;
}

// libFuzzer's entry: any text either becomes a site, or is refused in one line.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "kanbench/error.h"
#include "kanbench/site.h"

namespace {

// A site to begin with.
bool write_seed() {
  const char* corpus = std::getenv("KANBENCH_FUZZ_CORPUS");
  if (!corpus) return false;
  std::ofstream(std::filesystem::path(corpus) / "seed", std::ios::binary)
      << R"({"scheduler": "pbs", "account": "a", "filesystems": "f", "chunk": "c", "program": "p",
"directives": ["-x"], "before": ["b"], "launcher": ["mpiexec", "{processes}"], "network": "a=1:2",
"device": {"name": "n", "memory_gb": 40, "flops_per_second": 1e13, "bytes_per_second": 1e12},
"signal_seconds": 60, "max_jobs": 3, "array_limit": 10, "queues": [{"name": "q",
"gpus_per_node": 4, "cpus_per_process": 8, "memory_gb": 100, "min_nodes": 1, "max_nodes": 2,
"whole_nodes": true, "walltime": "1:00:00"}]})";
  return true;
}

const bool seeded = write_seed();

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const kanbench::Site site = kanbench::parse_site(text, "fuzz.json");
    if (site.queues.empty() || site.queues[0].minutes < 1) std::abort();
  } catch (const kanbench::Error& error) {
    if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
  }
  return 0;
}

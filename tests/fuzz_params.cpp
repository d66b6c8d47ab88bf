// libFuzzer's entry: any text either becomes runs that survive being written and read again, or is
// refused in one line.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "kanbench/error.h"
#include "kanbench/run.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  std::vector<kanbench::Run> runs;
  try {
    runs = kanbench::parse_runs(text, "fuzz.json", {"mlp", "fastkan"}, 1000);
  } catch (const kanbench::Error& error) {
    if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
    return 0;
  }
  for (const kanbench::Run& run : runs) {
    const auto again =
        kanbench::parse_runs("{\"d\": " + kanbench::to_json(run) + "}", "again.json");
    if (again.size() != 1 || kanbench::to_json(again[0]) != kanbench::to_json(run)) std::abort();
  }
  return 0;
}

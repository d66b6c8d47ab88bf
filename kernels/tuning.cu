#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "kernels/tuning.h"

namespace kanbench::cuda {

std::string tuning_key(const std::string& device, const FusedPlan& plan, const GridInfo& grid,
                       const DrawArguments& draw, std::int64_t rows) {
  std::ostringstream key;
  std::int64_t entries = 0;
  for (int l = 0; l < grid.count; ++l) entries += grid.levels[l].level.entries;
  key << device << ", " << (plan.kind == ExpansionKind::gaussians ? "fastkan " : "mlp ")
      << plan.count - 1 << "x" << plan.width << ", " << name(plan.precision) << ", " << grid.count
      << "x" << grid.features << ", " << entries << " entries, " << name(draw.dtype)
      << (draw.texture ? " texture" : "") << " of " << draw.held[0] * draw.held[1] * draw.held[2]
      << ", " << rows << " rows";
  return key.str();
}

std::optional<Tuning> read_tuning(const std::string& file, const std::string& key) {
  std::optional<Tuning> found;
  if (file.empty()) return found;
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(key + "\t", 0) != 0) continue;
    std::istringstream numbers(line.substr(key.size()));
    Tuning tuning;
    if (numbers >> tuning.split_seconds >> tuning.whole_seconds) found = tuning;
  }
  return found;
}

void write_tuning(const std::string& file, const std::string& key, const Tuning& tuning) {
  if (file.empty()) return;
  const std::filesystem::path path = file;
  std::error_code failed;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), failed);
  std::ostringstream line;
  line << key << '\t' << tuning.split_seconds << '\t' << tuning.whole_seconds << '\n';
  // One write, so that processes do not mix their lines.
  std::ofstream(file, std::ios::app) << line.str();
}

std::string describe(const Tuning& tuning) {
  const bool whole = tuning.whole_seconds < tuning.split_seconds;
  const double ratio = whole ? tuning.split_seconds / tuning.whole_seconds
                             : tuning.whole_seconds / tuning.split_seconds;
  char text[160];
  std::snprintf(text, sizeof text, "%s, %.2f times as fast as %s",
                whole ? "one kernel from samples to gradients" : "a kernel for each stage", ratio,
                whole ? "a kernel for each stage" : "one for all");
  return text;
}

}  // namespace kanbench::cuda

#include "trained_bricks.h"

#include <cstdio>

namespace kanbench {

namespace fs = std::filesystem;

TrainedBricks::TrainedBricks(const TrainingPlan& plan, fs::path directory, Manifest manifest,
                             std::int64_t batch_size, std::shared_ptr<void> assembly)
    : plan_(plan),
      batch_size_(batch_size),
      assembly_(std::move(assembly)),
      directory_(std::move(directory)),
      field_(plan.backend, std::move(manifest), directory_, name(plan.precision)) {}

std::string TrainedBricks::keep(const fs::path& directory, const std::string& stem) {
  const fs::path kept = directory / stem, manifest = kept / (stem + ".ensemble.json");
  together(plan_.communicator, [&] {
    if (plan_.communicator.rank() != 0) return;
    write_manifest(field_.manifest(), directory_ / manifest.filename());
    fs::create_directories(directory);
    fs::remove_all(kept);
    fs::rename(directory_, kept);
  });
  return manifest.string();
}

std::string brick_file_name(std::int64_t brick) {
  char text[48];
  std::snprintf(text, sizeof text, "brick_%03lld.safetensors", static_cast<long long>(brick));
  return text;
}

}  // namespace kanbench

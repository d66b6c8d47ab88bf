#include "trained_bricks.h"

#include <cstdio>

#include "kanbench/error.h"

namespace kanbench {

namespace fs = std::filesystem;

TrainedBricks::TrainedBricks(const TrainingPlan& plan, fs::path directory, Manifest manifest,
                             std::int64_t batch_size, std::shared_ptr<void> assembly)
    : plan_(plan),
      batch_size_(batch_size),
      assembly_(std::move(assembly)),
      directory_(std::move(directory)),
      field_(plan.backend, std::move(manifest), directory_, name(plan.precision)) {}

std::int64_t TrainedBricks::parameters() const {
  std::int64_t models = 0;
  for (const Brick& brick : field_.manifest().bricks) models += !brick.file.empty();
  return models * make_layout(plan_.spec).parameters;
}

// By links where the disk has them: a rerun of an unfinished run finds its bricks where they were.
void TrainedBricks::copy_to(const fs::path& kept) const {
  fs::remove_all(kept);
  fs::create_directories(kept);
  for (const Brick& brick : field_.manifest().bricks) {
    if (brick.file.empty()) continue;
    std::error_code failure;
    fs::create_hard_link(directory_ / brick.file, kept / brick.file, failure);
    if (failure) fs::copy_file(directory_ / brick.file, kept / brick.file);
  }
}

std::string TrainedBricks::keep(const fs::path& directory, const std::string& stem) {
  const fs::path kept = directory / stem, manifest = kept / (stem + ".ensemble.json");
  together(plan_.communicator, [&] {
    if (plan_.communicator.rank() != 0) return;
    try {
      copy_to(kept);
    } catch (const fs::filesystem_error& error) {
      throw Error(kept.string() + ": cannot be written: " + error.code().message());
    }
    write_manifest(field_.manifest(), manifest);
  });
  return manifest.string();
}

std::unique_ptr<Trained> open_bricks(const TrainingPlan& plan, const fs::path& directory,
                                     Manifest manifest, std::int64_t batch_size,
                                     std::shared_ptr<void> assembly) {
  std::unique_ptr<Trained> trained;
  together(plan.communicator, [&] {
    trained = std::make_unique<TrainedBricks>(plan, directory, std::move(manifest), batch_size,
                                              std::move(assembly));
  });
  return trained;
}

std::string brick_file_name(std::int64_t brick) {
  char text[48];
  std::snprintf(text, sizeof text, "brick_%03lld.safetensors", static_cast<long long>(brick));
  return text;
}

}  // namespace kanbench

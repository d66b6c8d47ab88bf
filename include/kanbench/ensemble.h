#pragma once
// A volume as several models, one a brick: what is known of them, and the field they make.

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kanbench/field.h"
#include "kanbench/volume.h"

namespace kanbench {

/// One brick. Its model's values in [0, 1] stand for [low, high].
struct Brick {
  /// What it stands for, and what it was trained on: the core and its ghosts.
  Box core, held;
  double low = 0, high = 1;
  /// Beside the manifest; empty for a brick that is `low` everywhere.
  std::string file;
};

/// What a manifest file (*.ensemble.json) says.
struct Manifest {
  std::string dataset;
  Shape shape;
  Dtype dtype = Dtype::uint8;
  double low = 0, high = 1;
  std::array<double, 3> spacing{1, 1, 1};
  /// Bricks an axis; `bricks` has them x fastest.
  Shape grid;
  int ghost = 0;
  /// Whether neighbours are blended linearly across what both were trained on.
  bool blend = true;
  /// Whether models see points in [0, 1]^3 of their `held` box, or of the whole volume.
  bool local = true;
  std::vector<Brick> bricks;
  /// Where the first voxel's centre lies; a file does without it where that is 0.
  std::array<double, 3> origin{0, 0, 0};
};

/// Whether `path` names a manifest.
bool is_manifest(const std::filesystem::path& path);
/// Throws Error naming file, key and value for anything that is not a whole manifest: bricks that
/// leave holes or overlap, a range that is empty, a file name that leaves the directory.
Manifest read_manifest(const std::filesystem::path& path);
Manifest parse_manifest(const std::string& text, const std::string& source);
void write_manifest(const Manifest& manifest, const std::filesystem::path& path);
/// What write_manifest() writes.
std::string to_json(const Manifest& manifest);

/// The field of a manifest's bricks: a point goes to its brick, or, across what neighbours share,
/// to all that hold it, blended linearly. Models are read when they are needed, from `directory`,
/// and kept while they fit a quarter of the backend's free memory.
class Ensemble : public Field {
 public:
  /// `precision` as resolve_precision() takes it.
  Ensemble(Backend& backend, Manifest manifest, std::filesystem::path directory,
           std::string precision = "auto");
  ~Ensemble() override;
  Backend& backend() const override;
  void decode(const Lattice& lattice, const Decoded& out) const override;

  const Manifest& manifest() const;
  /// Bytes of the manifest and of all models; parameters of all models.
  std::int64_t bytes() const;
  std::int64_t parameters() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kanbench

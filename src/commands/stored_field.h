#pragma once
// What a command is given to decode: a model's file, or an ensemble's manifest.

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "commands/options.h"
#include "kanbench/ensemble.h"
#include "kanbench/field.h"
#include "kanbench/model_file.h"

namespace kanbench {

class StoredField {
 public:
  /// Reads the file; throws Error where it is neither.
  explicit StoredField(const std::filesystem::path& path);

  std::string dataset;
  Shape shape;
  Dtype dtype = Dtype::uint8;
  /// Of each output.
  std::vector<ValueRange> ranges;
  std::array<double, 3> spacing{1, 1, 1}, origin{0, 0, 0};
  int outputs() const { return static_cast<int>(ranges.size()); }
  /// "mlp", "ensemble 2x2x2".
  std::string kind;

  /// The file, and those that an ensemble's manifest names.
  std::vector<std::filesystem::path> files() const;
  /// Of all of them.
  std::int64_t bytes() const;
  /// The field on `backend`, which outlives it.
  std::unique_ptr<Field> open(Backend& backend, const PrecisionOption& precision);

 private:
  std::filesystem::path path_;
  // One of them is there.
  std::unique_ptr<ModelFile> model_;
  std::unique_ptr<Manifest> manifest_;
};

/// Throws Error naming `what` if writing the file `output` would destroy one of `field`'s.
void require_apart(const std::filesystem::path& output, const StoredField& field,
                   const std::string& what);

}  // namespace kanbench

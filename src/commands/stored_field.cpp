#include "commands/stored_field.h"

#include "kanbench/error.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

class OwnedModel : public Field {
 public:
  explicit OwnedModel(std::unique_ptr<Model> model) : model_(std::move(model)), field_(*model_) {}
  Backend& backend() const override { return field_.backend(); }
  int outputs() const override { return field_.outputs(); }
  void decode(const Lattice& lattice, const Decoded& out) const override {
    field_.decode(lattice, out);
  }

 private:
  std::unique_ptr<Model> model_;
  ModelField field_;
};

}  // namespace

StoredField::StoredField(const fs::path& path) : path_(path) {
  const auto take = [this](const auto& file) {
    dataset = file.dataset;
    shape = file.shape;
    dtype = file.dtype;
    spacing = file.spacing;
    origin = file.origin;
  };
  if (is_manifest(path)) {
    manifest_ = std::make_unique<Manifest>(read_manifest(path));
    take(*manifest_);
    ranges = {{manifest_->low, manifest_->high}};
    kind = "ensemble " + text(manifest_->grid);
  } else {
    model_ = std::make_unique<ModelFile>(read_model(path));
    take(*model_);
    ranges = model_->ranges;
    kind = model_->spec.network_type;
  }
}

std::vector<fs::path> StoredField::files() const {
  std::vector<fs::path> all{path_};
  if (manifest_)
    for (const Brick& brick : manifest_->bricks)
      if (!brick.file.empty()) all.push_back(path_.parent_path() / brick.file);
  return all;
}

std::int64_t StoredField::bytes() const {
  std::int64_t all = 0;
  for (const fs::path& file : files()) all += static_cast<std::int64_t>(fs::file_size(file));
  return all;
}

std::unique_ptr<Field> StoredField::open(Backend& backend, const PrecisionOption& precision) {
  if (manifest_)
    return std::make_unique<Ensemble>(backend, *manifest_, path_.parent_path(), precision.word());
  auto model =
      std::make_unique<Model>(backend, model_->spec, precision.resolve(model_->spec, backend));
  model->upload(model_->parameters);
  return std::make_unique<OwnedModel>(std::move(model));
}

void require_apart(const fs::path& output, const StoredField& field, const std::string& what) {
  for (const fs::path& file : field.files()) require_apart(output, file, what);
}

}  // namespace kanbench

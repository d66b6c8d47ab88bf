#pragma once
// What can be decoded into voxels: one model, or an ensemble of them.

#include "kanbench/backend.h"
#include "kanbench/model.h"

namespace kanbench {

class Field {
 public:
  virtual ~Field() = default;
  virtual Backend& backend() const = 0;
  /// Numbers that it has at a point.
  virtual int outputs() const { return 1; }
  /// The values on a lattice, as Backend::decode().
  virtual void decode(const Lattice& lattice, const Decoded& out) const = 0;
};

/// One model; must be outlived by it.
class ModelField : public Field {
 public:
  explicit ModelField(const Model& model) : model_(model) {}
  Backend& backend() const override { return model_.backend(); }
  int outputs() const override { return model_.spec().outputs(); }
  void decode(const Lattice& lattice, const Decoded& out) const override {
    backend().decode(model_, lattice, out);
  }

 private:
  const Model& model_;
};

}  // namespace kanbench

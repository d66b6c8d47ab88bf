#pragma once
// What a model's parameters are worth on a volume, for those who try many.

#include <memory>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/communicator.h"
#include "kanbench/model.h"

namespace kanbench {

/// Decodes a model at the voxel centres of a box of a volume and compares. Errors are mean squares
/// on values in [0, 1], the same on all ranks, each of which does its share; every method is called
/// by all of them. `volume` outlives it.
class Judge {
 public:
  /// The model's values in [0, 1] stand for the range of their output; the lattice is the whole
  /// volume's.
  Judge(Backend& backend, const ModelSpec& spec, Precision precision, const Volume& volume,
        const Box& box, std::vector<ValueRange> ranges, Communicator& communicator);
  ~Judge();

  /// Over all of the box.
  double error(const std::vector<float>& parameters);
  /// Over a sample of it, of some million voxels, or all where it has fewer.
  double sampled_error(const std::vector<float>& parameters);
  /// Keeps what these decode to on the sample, and how far from it others are.
  void keep(const std::vector<float>& parameters);
  double sampled_change(const std::vector<float>& parameters);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kanbench

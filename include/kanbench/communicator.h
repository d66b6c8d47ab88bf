#pragma once
// The seam between ranks. One process alone is the communicator `single`.

#include <cstdint>
#include <memory>
#include <string>

namespace kanbench {

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual std::string name() const = 0;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Sums `count` numbers over the ranks, in place, in the same order on every rank.
  virtual void sum(float* values, std::int64_t count) = 0;
  virtual void sum(double* values, std::int64_t count) = 0;
  virtual void barrier() = 0;
};

/// Opens "auto", "single", "mpi" or "nccl"; throws Error, with what to do, for one that this build
/// or this machine lacks.
std::unique_ptr<Communicator> open_communicator(const std::string& name = "auto");

/// The seams behind it; src/absent stands in for what was not built.
std::unique_ptr<Communicator> open_mpi();
std::unique_ptr<Communicator> open_nccl();

}  // namespace kanbench

#pragma once
// The ranks that a test runs on: those that mpirun started (kanbench_add_mpi_test() of
// CMakeLists.txt), or this process alone. Every rank runs all tests, in the same order.

#include <gtest/gtest.h>

#include <memory>

#include "kanbench/backend.h"
#include "kanbench/communicator.h"

namespace kanbench::test {

/// MPI begins once a process, so all tests of one share its communicator.
class Ranks : public testing::Environment {
 public:
  void SetUp() override {
    const Launch launch = read_launch();
    communicator_ = open_communicator(launch.launcher.empty() ? "single" : "mpi", launch, 0, 60);
    backend_ = make_backend();
    communicator_->attach(*backend_);
  }
  void TearDown() override {
    communicator_.reset();
    backend_.reset();
  }
  Communicator& communicator() { return *communicator_; }
  Backend& backend() { return *backend_; }

  /// What computes; set before main() begins where it is not the CPU backend.
  inline static std::unique_ptr<Backend> (*make_backend)() = [] { return open_cpu(); };

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Communicator> communicator_;
};

inline Ranks& ranks_of_test() {
  static auto* const ranks = new Ranks;
  return *ranks;
}
inline testing::Environment* const registered_ranks =
    testing::AddGlobalTestEnvironment(&ranks_of_test());

inline Communicator& ranks() { return ranks_of_test().communicator(); }

}  // namespace kanbench::test

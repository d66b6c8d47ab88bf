// One process alone, and the choice among communicators.

#include "kanbench/communicator.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

class Single : public Communicator {
 public:
  std::string name() const override { return "single"; }
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void sum(float*, std::int64_t) override {}
  void sum(double*, std::int64_t) override {}
  void barrier() override {}
};

}  // namespace

std::unique_ptr<Communicator> open_communicator(const std::string& name) {
  if (name == "auto" || name == "single") return std::make_unique<Single>();
  if (name == "mpi") return open_mpi();
  if (name == "nccl") return open_nccl();
  throw Error("--communicator: unknown communicator '" + name + "': use auto, single, mpi or nccl");
}

}  // namespace kanbench

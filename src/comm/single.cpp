// One process alone, and the choice among communicators.

#include <algorithm>
#include <cstring>

#include "kanbench/communicator.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

class Single : public Communicator {
 public:
  std::string name() const override { return "single"; }
  int rank() const override { return 0; }
  int size() const override { return 1; }
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  void attach(Backend&) override {}
  void sum(double*, std::int64_t) override {}
  void maximum(double*, std::int64_t) override {}
  void broadcast(void*, std::size_t, int) override {}
  void all_gather(const void* mine, std::size_t bytes, void* all) override {
    if (all != mine && bytes > 0) std::memcpy(all, mine, bytes);
  }
  void barrier() override {}
  void begin_sum(float*, Range, Wire) override {}
  void begin_scatter_sum(float*, Range, std::span<const Range>, Wire) override {}
  void begin_gather(float*, std::span<const Range>) override {}
  void finish() override {}
};

std::string started(const Launch& launch) {
  return std::to_string(launch.size) + " processes were started by " + launch.launcher;
}

// MPI where it knows of all the processes that were started.
std::unique_ptr<Communicator> open_whole_mpi(const Launch& launch, double timeout) {
  if (const std::string why = why_no_mpi(); !why.empty())
    throw Error("--communicator mpi: " + why + " Use --communicator single for one process alone.");
  if (launch.launcher == "torchrun" && launch.size > 1)
    throw Error("--communicator mpi: " + started(launch) +
                ", which MPI knows nothing of: start them with mpirun or srun, or use "
                "--communicator nccl");
  std::unique_ptr<Communicator> communicator = open_mpi(timeout);
  if (launch.size > 1 && communicator->size() != launch.size)
    throw Error("--communicator mpi: " + started(launch) + ", of which MPI sees " +
                std::to_string(communicator->size()) +
                ": start them with this MPI's own mpirun, or with srun --mpi=pmix");
  return communicator;
}

bool mpi_reaches(const Launch& launch) {
  return launch.launcher != "torchrun" && why_no_mpi().empty();
}

// "" where every rank of this machine can have a device and NCCL is there.
std::string why_not_devices(const Launch& launch, int devices) {
  if (devices < 1) return "The ranks do not compute on CUDA devices.";
  if (devices < launch.local_size)
    return "There are " + std::to_string(devices) + " CUDA devices for " +
           std::to_string(launch.local_size) + " ranks of this machine.";
  return why_no_nccl();
}

std::unique_ptr<Communicator> open_best(const Launch& launch, int devices, double timeout) {
  if (launch.size == 1) return open_single();
  const std::string why_not = why_not_devices(launch, devices);
  if (mpi_reaches(launch)) {
    std::unique_ptr<Communicator> host = open_whole_mpi(launch, timeout);
    // What one machine lacks, all do without.
    double missing = why_not.empty() ? 0 : 1;
    host->maximum(&missing, 1);
    return missing > 0 ? std::move(host) : open_nccl(launch, std::move(host), timeout);
  }
  if (why_not.empty() && !launch.master_address.empty()) return open_nccl(launch, nullptr, timeout);
  const std::string without_mpi = launch.launcher == "torchrun"
                                      ? "MPI knows nothing of processes that torchrun started."
                                      : why_no_mpi();
  throw Error(started(launch) + " but cannot talk: " + without_mpi + " " +
              (why_not.empty() ? "MASTER_ADDR, where NCCL would meet, is not set." : why_not) +
              " Start one, or use --communicator single for processes that work alone");
}

}  // namespace

std::unique_ptr<Communicator> open_single() { return std::make_unique<Single>(); }

std::unique_ptr<Communicator> open_communicator(const std::string& name, const Launch& launch,
                                                int devices, double timeout) {
  if (name == "auto") return open_best(launch, devices, timeout);
  if (name == "single") return open_single();
  if (name == "mpi") return open_whole_mpi(launch, timeout);
  if (name == "nccl") {
    if (const std::string why = why_no_nccl(); !why.empty())
      throw Error("--communicator nccl: " + why + " Use mpi, or single for one process.");
    std::unique_ptr<Communicator> host;
    if (launch.size > 1 && mpi_reaches(launch)) host = open_whole_mpi(launch, timeout);
    return open_nccl(launch, std::move(host), timeout);
  }
  throw Error("--communicator: unknown communicator '" + name + "': use auto, single, mpi or nccl");
}

}  // namespace kanbench

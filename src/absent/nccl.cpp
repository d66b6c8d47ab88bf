// Stands in for the NCCL communicator in builds without CUDA.

#include "kanbench/communicator.h"
#include "kanbench/error.h"

namespace kanbench {

std::string why_no_nccl() { return "This build has no CUDA backend, which NCCL needs."; }

std::unique_ptr<Communicator> open_nccl(const Launch&, std::unique_ptr<Communicator>, double) {
  throw Error("--communicator nccl: " + why_no_nccl() + " Use mpi, or single for one process.");
}

}  // namespace kanbench

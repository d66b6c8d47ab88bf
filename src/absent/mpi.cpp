// Stands in for the MPI communicator in builds without it.

#include "kanbench/communicator.h"
#include "kanbench/error.h"

namespace kanbench {

std::string why_no_mpi() {
  return "This build has no MPI: install one (Debian: libopenmpi-dev) and build again.";
}

std::unique_ptr<Communicator> open_mpi(double) {
  throw Error("--communicator mpi: " + why_no_mpi());
}

}  // namespace kanbench

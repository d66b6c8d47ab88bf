// Stands in for the MPI communicator in builds without it.

#include "kanbench/communicator.h"
#include "kanbench/error.h"

namespace kanbench {

std::unique_ptr<Communicator> open_mpi() {
  throw Error("--communicator mpi: this build has no MPI; use --communicator single");
}

}  // namespace kanbench

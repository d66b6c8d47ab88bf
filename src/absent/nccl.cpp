// Stands in for the NCCL communicator in builds without it.

#include "kanbench/communicator.h"
#include "kanbench/error.h"

namespace kanbench {

std::unique_ptr<Communicator> open_nccl() {
  throw Error("--communicator nccl: this build has no NCCL; use --communicator single");
}

}  // namespace kanbench

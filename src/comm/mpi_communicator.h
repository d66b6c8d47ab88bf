#pragma once
// Ranks that talk through MPI.

#include <functional>
#include <memory>

#include "comm/mpi_plugin.h"
#include "kanbench/communicator.h"

namespace kanbench {

/// `open` gives MPI; it is called by the thread that alone will use it.
std::unique_ptr<Communicator> open_mpi_communicator(std::function<std::unique_ptr<Mpi>()> open,
                                                    double timeout);

}  // namespace kanbench

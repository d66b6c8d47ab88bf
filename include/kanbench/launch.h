#pragma once
// How this process was started: alone, or as one of many by a launcher.

#include <functional>
#include <string>

namespace kanbench {

/// What a launcher's variables say. Alone: rank 0 of 1, `launcher` empty.
struct Launch {
  /// "mpirun", "srun", "pmi" or "torchrun".
  std::string launcher;
  int rank = 0, size = 1;
  /// Among the processes of this machine.
  int local_rank = 0, local_size = 1;
  /// MASTER_ADDR and MASTER_PORT; empty and 0 where they are not set.
  std::string master_address;
  int master_port = 0;
};

/// Reads OMPI_COMM_WORLD_*, PMI_*, SLURM_* (of a step, not of a batch script) or RANK, WORLD_SIZE,
/// LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT, the first of these that is there;
/// the last where torchrun says that it runs, since srun may have started it.
/// `variable` gives a variable's value or null. Throws Error naming the variable where one is
/// missing beside another, no number, or out of range.
Launch read_launch(const std::function<const char*(const char*)>& variable);
/// The same from the environment.
Launch read_launch();

}  // namespace kanbench

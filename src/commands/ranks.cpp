#include "commands/ranks.h"

namespace kanbench {

void RanksOptions::attach(CLI::App& app, const std::string& group) {
  CLI::Option* communicator =
      add_option(app, "--communicator", communicator_, "auto|single|mpi|nccl",
                 "How processes that were started together talk to each other (default\n"
                 "auto: NCCL where each has a CUDA device of its own, else MPI; single:\n"
                 "not at all)")
          ->check(one_of({"auto", "single", "mpi", "nccl"}));
  CLI::Option* timeout = add_option(app, "--timeout", timeout_, "SECONDS",
                                    "How long to wait for a process that does not answer (default\n"
                                    "600)")
                             ->check(number(1, 1e6));
  if (group.empty()) return;
  communicator->group(group);
  timeout->group(group);
}

std::unique_ptr<Communicator> RanksOptions::open(const DeviceOptions& device,
                                                 std::unique_ptr<Backend>& backend,
                                                 std::string* said) const {
  const Launch launch = read_launch();
  std::unique_ptr<Communicator> communicator =
      open_communicator(communicator_, launch, device.count_cuda(), timeout_);
  backend = device.open(said, communicator->local_rank(), communicator->local_size());
  communicator->attach(*backend);
  device.share_cores(*communicator);
  return communicator;
}

}  // namespace kanbench

// Reads what mpirun, srun, PMI launchers and torchrun tell a process in its environment.

#include "kanbench/launch.h"

#include <charconv>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include "kanbench/error.h"

namespace kanbench {
namespace {

constexpr long kMostRanks = std::numeric_limits<int>::max();

class Variables {
 public:
  explicit Variables(const std::function<const char*(const char*)>& variable)
      : variable_(variable) {}

  std::optional<std::string> text(const char* name) const {
    const char* value = variable_(name);
    return value && *value ? std::optional<std::string>(value) : std::nullopt;
  }

  std::optional<int> number(const char* name, long least, long most) const {
    const std::optional<std::string> word = text(name);
    if (!word) return std::nullopt;
    long value = 0;
    const char* end = word->data() + word->size();
    const auto [stopped, failure] = std::from_chars(word->data(), end, value);
    if (failure != std::errc() || stopped != end || value < least || value > most)
      throw Error(std::string(name) + "=" + *word + ": expected a number from " +
                  std::to_string(least) +
                  (most == kMostRanks ? " on" : " to " + std::to_string(most)));
    return static_cast<int>(value);
  }

  /// `rank` and `size` from the variables of these names; false where neither is set.
  bool pair(const char* rank_name, const char* size_name, int& rank, int& size) const {
    const std::optional<int> found_rank = number(rank_name, 0, kMostRanks);
    const std::optional<int> found_size = number(size_name, 1, kMostRanks);
    if (!found_rank && !found_size) return false;
    if (!found_rank || !found_size) {
      const char* set = found_rank ? rank_name : size_name;
      const char* missing = found_rank ? size_name : rank_name;
      throw Error(std::string(set) + " is set but " + missing +
                  " is not: a launcher sets both; set or unset them together");
    }
    if (*found_rank >= *found_size)
      throw Error(std::string(rank_name) + "=" + std::to_string(*found_rank) +
                  ": expected less than " + size_name + "=" + std::to_string(*found_size));
    rank = *found_rank;
    size = *found_size;
    return true;
  }

 private:
  const std::function<const char*(const char*)>& variable_;
};

// Slurm's "4(x2),3": four tasks on each of two machines, three on the next.
int tasks_of_node(const std::string& list, int node) {
  const char* at = list.data();
  const char* const end = at + list.size();
  int first = 0;
  while (at < end) {
    int tasks = 0, nodes = 1;
    const auto count = std::from_chars(at, end, tasks);
    if (count.ec != std::errc()) return 0;
    at = count.ptr;
    if (std::string_view(at, end).substr(0, 2) == "(x") {
      const auto repeated = std::from_chars(at + 2, end, nodes);
      if (repeated.ec != std::errc() || repeated.ptr == end) return 0;
      at = repeated.ptr + 1;
    }
    if (node < first + nodes) return tasks;
    first += nodes;
    if (at < end) ++at;
  }
  return 0;
}

// A batch script's own step has a name or one of the highest numbers, and is no step of srun.
bool in_slurm_step(const Variables& variables) {
  const std::optional<std::string> step = variables.text("SLURM_STEP_ID");
  if (!step) return false;
  unsigned long id = 0;
  const auto read = std::from_chars(step->data(), step->data() + step->size(), id);
  return read.ec == std::errc() && read.ptr == step->data() + step->size() && id < 0xfffffff0ul;
}

bool read_slurm(const Variables& variables, Launch& launch) {
  if (!in_slurm_step(variables)) return false;
  const bool of_step = variables.text("SLURM_STEP_NUM_TASKS").has_value();
  if (!variables.pair("SLURM_PROCID", of_step ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS",
                      launch.rank, launch.size))
    return false;
  launch.local_rank = variables.number("SLURM_LOCALID", 0, kMostRanks).value_or(0);
  std::optional<std::string> tasks = variables.text("SLURM_STEP_TASKS_PER_NODE");
  if (!tasks) tasks = variables.text("SLURM_TASKS_PER_NODE");
  if (tasks)
    launch.local_size =
        tasks_of_node(*tasks, variables.number("SLURM_NODEID", 0, kMostRanks).value_or(0));
  launch.launcher = "srun";
  return true;
}

/// The four variables of a launcher that has one for each.
struct Names {
  const char *launcher, *rank, *size, *local_rank, *local_size;
};

bool read_names(const Variables& variables, const Names& names, Launch& launch) {
  if (!variables.pair(names.rank, names.size, launch.rank, launch.size)) return false;
  const std::optional<int> local_rank = variables.number(names.local_rank, 0, kMostRanks);
  const std::optional<int> local_size = variables.number(names.local_size, 1, kMostRanks);
  if (local_rank && local_size && *local_rank >= *local_size)
    throw Error(std::string(names.local_rank) + "=" + std::to_string(*local_rank) +
                ": expected less than " + names.local_size + "=" + std::to_string(*local_size));
  launch.local_rank = local_rank.value_or(0);
  launch.local_size = local_size.value_or(0);
  launch.launcher = names.launcher;
  return true;
}

constexpr Names kOpenMpi = {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                            "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"};
constexpr Names kPmi = {"pmi", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"};
constexpr Names kTorchrun = {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"};

bool read_any(const Variables& variables, Launch& launch) {
  // Where srun starts one torchrun a machine, its processes inherit the variables of both.
  if (variables.text("TORCHELASTIC_RUN_ID") && read_names(variables, kTorchrun, launch))
    return true;
  // srun sets the variables of PMI beside its own, which say more.
  return read_names(variables, kOpenMpi, launch) || read_slurm(variables, launch) ||
         read_names(variables, kPmi, launch) || read_names(variables, kTorchrun, launch);
}

}  // namespace

Launch read_launch(const std::function<const char*(const char*)>& variable) {
  const Variables variables(variable);
  Launch launch;
  if (!read_any(variables, launch)) return launch;
  if (launch.local_size < launch.local_rank + 1) launch.local_size = launch.local_rank + 1;
  launch.master_address = variables.text("MASTER_ADDR").value_or("");
  launch.master_port = variables.number("MASTER_PORT", 1, 65535).value_or(0);
  return launch;
}

Launch read_launch() {
  return read_launch([](const char* name) -> const char* { return std::getenv(name); });
}

}  // namespace kanbench

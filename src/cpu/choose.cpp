// Which kernels run on this processor.

#include "cpu/kernels.h"
#include "kanbench/error.h"
#include "kanbench/math/platform.h"

namespace kanbench::cpu {

const Kernels& choose_kernels(const std::string& instruction_set) {
  std::vector<std::string> known;
  for (const Kernels* kernels : instruction_sets()) {
    const bool runs = processor_has(kernels->name);
    if (runs) known.push_back(kernels->name);
    if (runs && (instruction_set.empty() || instruction_set == kernels->name)) return *kernels;
  }
  throw Error("instruction set '" + instruction_set + "' is not to be had here: use one of " +
              join(known));
}

}  // namespace kanbench::cpu

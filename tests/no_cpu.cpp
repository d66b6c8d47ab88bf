// Stands in for the CPU backend in the fuzzers, whose parsers reach none.

#include "kanbench/backend.h"
#include "kanbench/error.h"

namespace kanbench {

std::unique_ptr<Backend> open_cpu(const std::string&) {
  throw SystemError("a fuzzer has no backend");
}

}  // namespace kanbench

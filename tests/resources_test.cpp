// What ptxas reported of every kernel when it was built: those of fast paths keep all they have in
// registers, no more of them than kernels/resources.json states.

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>
#include <vector>

#include "support.h"

namespace kanbench::test {
namespace {

/// One kernel as compiled for one architecture.
struct Compiled {
  std::string name, architecture;
  int registers = 0;
  /// Bytes of local memory: stack frame, spill stores and spill loads together.
  int spilled = 0;
};

std::string demangled(const std::string& symbol) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? text.get() : symbol;
}

// The kernels that a report tells of. What it says of functions that a kernel calls counts as the
// kernel's.
std::vector<Compiled> parse_report(std::istream& report) {
  static const std::regex begins(R"(Compiling entry function '([^']+)' for '([^']+)')");
  static const std::regex memory(
      R"(([0-9]+) bytes stack frame, ([0-9]+) bytes spill stores, ([0-9]+) bytes spill loads)");
  static const std::regex uses(R"(Used ([0-9]+) registers)");
  std::vector<Compiled> kernels;
  std::smatch found;
  for (std::string line; std::getline(report, line);) {
    if (std::regex_search(line, found, begins))
      kernels.push_back({demangled(found[1]), found[2], 0, 0});
    else if (kernels.empty())
      continue;
    else if (std::regex_search(line, found, memory))
      kernels.back().spilled += std::stoi(found[1]) + std::stoi(found[2]) + std::stoi(found[3]);
    else if (std::regex_search(line, found, uses))
      kernels.back().registers = std::max(kernels.back().registers, std::stoi(found[1]));
  }
  return kernels;
}

struct Limit {
  std::string pattern;
  /// Most registers by architecture.
  std::map<std::string, int> registers;
};

struct Limits {
  /// A kernel whose name holds one of these words must be within some limit.
  std::string fast;
  std::vector<Limit> limits;
};

Limits parse_limits(const nlohmann::json& json) {
  Limits all{json.at("fast_paths"), {}};
  for (const auto& entry : json.at("kernels"))
    all.limits.push_back({entry.at("name"), entry.at("registers")});
  return all;
}

// The first part of a demangled name that is the function's own, without arguments.
std::string function_name(const std::string& name) {
  static const std::regex own(R"(([A-Za-z_0-9]+_kernel))");
  std::smatch found;
  return std::regex_search(name, found, own) ? found[1].str() : name;
}

/// What breaks the limits, a line each.
std::vector<std::string> breaches(const std::vector<Compiled>& kernels, const Limits& all) {
  std::vector<std::string> found;
  std::vector<int> matched(all.limits.size());
  const std::regex fast(all.fast);
  for (const Compiled& kernel : kernels) {
    const std::string where = kernel.architecture + ", " + kernel.name;
    const Limit* limit = nullptr;
    for (std::size_t i = 0; i < all.limits.size(); ++i)
      if (std::regex_search(kernel.name, std::regex(all.limits[i].pattern))) {
        if (!limit) limit = &all.limits[i];
        ++matched[i];
      }
    if (!limit) {
      if (std::regex_search(function_name(kernel.name), fast))
        found.push_back(where + ": a fast path without a limit; it has " +
                        std::to_string(kernel.registers) + " registers");
      continue;
    }
    if (kernel.spilled)
      found.push_back(where + ": spills or has a stack, " + std::to_string(kernel.spilled) +
                      " bytes in all");
    const auto most = limit->registers.find(kernel.architecture);
    if (most != limit->registers.end() && kernel.registers > most->second)
      found.push_back(where + ": " + std::to_string(kernel.registers) + " registers, stated are " +
                      std::to_string(most->second));
  }
  for (std::size_t i = 0; i < all.limits.size(); ++i)
    if (!matched[i]) found.push_back("no kernel is named like '" + all.limits[i].pattern + "'");
  return found;
}

TEST(Resources, KernelsStayWithinTheirLimits) {
  const std::string listed = KANBENCH_CUDA_OBJECTS;
  if (listed.empty())
    GTEST_SKIP() << "the CUDA backend was not built (no nvcc here, or KANBENCH_CUDA is OFF)";
  std::vector<Compiled> kernels;
  std::istringstream objects(listed);
  for (std::string object; std::getline(objects, object, '|');) {
    // NCCL's side is C++.
    if (object.find(".cpp.") != std::string::npos) continue;
    std::ifstream report(object + ".ptxas");
    ASSERT_TRUE(report) << "no report beside " << object << ": it was not built through "
                        << "cmake/keep_ptxas_report.sh";
    for (const Compiled& kernel : parse_report(report)) kernels.push_back(kernel);
  }
  EXPECT_FALSE(kernels.empty());
  std::ifstream stated(source_directory() / "kernels" / "resources.json");
  ASSERT_TRUE(stated) << "kernels/resources.json is missing";
  for (const std::string& breach : breaches(kernels, parse_limits(nlohmann::json::parse(stated))))
    ADD_FAILURE() << breach;
}

TEST(Resources, ReportsAreReadAndLimitsRefuse) {
  std::istringstream report(
      "ptxas info    : 0 bytes gmem\n"
      "ptxas info    : Compiling entry function '_ZN8kanbench13encode_kernelEPfi' for 'sm_80'\n"
      "ptxas info    : Function properties for _ZN8kanbench13encode_kernelEPfi\n"
      "    16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads\n"
      "ptxas info    : Used 40 registers, used 0 barriers, 364 bytes cmem[0]\n"
      "ptxas info    : Compiling entry function '_ZN8kanbench13encode_kernelEPfi' for 'sm_90'\n"
      "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
      "ptxas info    : Used 38 registers, used 1 barriers\n");
  const std::vector<Compiled> kernels = parse_report(report);
  ASSERT_EQ(kernels.size(), 2u);
  EXPECT_EQ(kernels[0].name, "kanbench::encode_kernel(float*, int)");
  EXPECT_EQ(kernels[0].spilled, 28);
  EXPECT_EQ(kernels[1].registers, 38);
  EXPECT_EQ(kernels[1].spilled, 0);

  const auto count = [&](const std::vector<Limit>& limits) {
    return breaches(kernels, {"encode|fused", limits}).size();
  };
  EXPECT_EQ(count({{"encode_kernel", {{"sm_80", 40}, {"sm_90", 40}}}}), 1u) << "the spill";
  EXPECT_EQ(count({{"encode_kernel", {{"sm_80", 32}, {"sm_90", 32}}}}), 3u) << "and registers";
  EXPECT_EQ(count({{"decode_kernel", {}}}), 3u) << "two without a limit, one limit without use";
}

}  // namespace
}  // namespace kanbench::test

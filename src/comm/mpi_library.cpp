// Finds the module that links MPI and opens it.

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "comm/mpi_communicator.h"
#include "comm/mpi_plugin.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFile = "libkanbench_mpi.so";

struct Module {
  OpenMpi open = nullptr;
  /// Why it cannot be used, one sentence; empty where it can.
  std::string absence;
};

std::vector<std::string> places() {
  if (const char* set = std::getenv("KANBENCH_MPI_PLUGIN"); set && *set) return {set};
  std::vector<std::string> found;
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  for (const fs::path& place : {program / kFile, program / ".." / "lib" / "kanbench" / kFile})
    if (fs::exists(place, ignored)) found.push_back(place.string());
  found.emplace_back(kFile);
  return found;
}

Module open_module() {
  Module module;
  const std::string place = places().front();
  // MPI opens modules of its own, which look for its functions among all that are there.
  void* opened = dlopen(place.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!opened) {
    const char* why = dlerror();
    module.absence = std::string("MPI cannot be used here (") + (why ? why : place.c_str()) +
                     "): install the MPI that kanbench was built with.";
    return module;
  }
  const auto version = reinterpret_cast<MpiVersion>(dlsym(opened, kMpiVersionSymbol));
  module.open = reinterpret_cast<OpenMpi>(dlsym(opened, kOpenMpiSymbol));
  const std::string found = version ? version() : "none";
  if (!module.open || found != KANBENCH_MPI_VERSION)
    module.absence = place + " is of another kanbench (" + found + ", this is " +
                     KANBENCH_MPI_VERSION + "): install both from one build.";
  return module;
}

const Module& opened_module() {
  static const Module module = open_module();
  return module;
}

}  // namespace

std::string why_no_mpi() { return opened_module().absence; }

std::unique_ptr<Communicator> open_mpi(double timeout) {
  const Module& module = opened_module();
  if (!module.absence.empty()) throw Error("--communicator mpi: " + module.absence);
  return open_mpi_communicator([&module] { return std::unique_ptr<Mpi>(module.open()); }, timeout);
}

}  // namespace kanbench

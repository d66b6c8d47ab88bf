// Finds NCCL and looks up its functions.

#include "comm/nccl_library.h"

#include <dlfcn.h>

#include <cstdlib>

namespace kanbench::nccl {
namespace {

constexpr const char* kName = "libnccl.so.2";
constexpr int kOldest = 21000;
constexpr const char* kOldestName = "2.10";

template <class Function>
void look_up(void* opened, const char* symbol, Function& function, std::string& missing) {
  function = reinterpret_cast<Function>(dlsym(opened, symbol));
  if (!function && missing.empty()) missing = symbol;
}

// The first function that `opened` lacks; empty where it has all.
std::string look_up_all(void* opened, Functions& f) {
  std::string missing, optional;
  look_up(opened, "ncclGetVersion", f.get_version, missing);
  look_up(opened, "ncclGetUniqueId", f.get_unique_id, missing);
  look_up(opened, "ncclCommInitRank", f.init_rank, missing);
  look_up(opened, "ncclCommDestroy", f.destroy, missing);
  look_up(opened, "ncclCommAbort", f.abort, missing);
  look_up(opened, "ncclCommGetAsyncError", f.get_async_error, missing);
  look_up(opened, "ncclGetErrorString", f.get_error_string, missing);
  look_up(opened, "ncclAllReduce", f.all_reduce, missing);
  look_up(opened, "ncclReduce", f.reduce, missing);
  look_up(opened, "ncclBroadcast", f.broadcast, missing);
  look_up(opened, "ncclAllGather", f.all_gather, missing);
  look_up(opened, "ncclGroupStart", f.group_start, missing);
  look_up(opened, "ncclGroupEnd", f.group_end, missing);
  look_up(opened, "ncclGetLastError", f.get_last_error, optional);
  return missing;
}

// Before 2.9 a version was major * 1000 + minor * 100 + patch, since then ten times the first two.
std::string text_of(int version) {
  const int scale = version >= 10000 ? 10 : 1;
  return std::to_string(version / (1000 * scale)) + "." +
         std::to_string(version / 100 % (10 * scale)) + "." + std::to_string(version % 100);
}

}  // namespace

Library open_library(const std::string& file) {
  Library found;
  const std::string name = file.empty() ? kName : file;
  void* opened = RTLD_DEFAULT;
  if (!file.empty() || !dlsym(RTLD_DEFAULT, "ncclGetUniqueId")) {
    opened = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!opened) {
      const char* why = dlerror();
      found.absence = std::string("NCCL was not found (") + (why ? why : name.c_str()) +
                      "): install it, or set KANBENCH_NCCL to the library.";
      return found;
    }
  }
  const std::string missing = look_up_all(opened, found.functions);
  int version = 0;
  if (!missing.empty()) {
    found.absence = name + " is not NCCL " + kOldestName + " or newer: it lacks " + missing + ".";
  } else if (found.functions.get_version(&version) != Result::success || version < kOldest) {
    found.absence =
        name + " is NCCL " + text_of(version) + ", kanbench needs " + kOldestName + " or newer.";
  }
  found.version = text_of(version);
  return found;
}

const Library& library() {
  static const Library opened = [] {
    const char* file = std::getenv("KANBENCH_NCCL");
    return open_library(file ? file : "");
  }();
  return opened;
}

}  // namespace kanbench::nccl

#pragma once
// NCCL, opened by name when it is wanted, so that the program runs where it is missing. What is
// declared here is what NCCL 2.10 and later have in common.

#include <cstddef>
#include <string>

namespace kanbench::nccl {

/// A rank's end of a communicator.
using Handle = struct ncclComm*;

enum class Result : int {
  success = 0,
  unhandled_cuda_error = 1,
  system_error = 2,
  internal_error = 3,
  invalid_argument = 4,
  invalid_usage = 5,
  remote_error = 6,
  in_progress = 7,
};
enum class Type : int { uint8 = 1, uint32 = 3, float16 = 6, float32 = 7, float64 = 8 };
enum class Operation : int { sum = 0, maximum = 2 };

/// What rank 0 gives the others to find it by.
struct UniqueId {
  char bytes[128];
};

/// The functions; a stream is a cudaStream_t, and memory the device's.
struct Functions {
  Result (*get_version)(int* version);
  Result (*get_unique_id)(UniqueId* id);
  Result (*init_rank)(Handle* handle, int ranks, UniqueId id, int rank);
  Result (*destroy)(Handle handle);
  Result (*abort)(Handle handle);
  Result (*get_async_error)(Handle handle, Result* error);
  const char* (*get_error_string)(Result result);
  Result (*all_reduce)(const void* from, void* to, std::size_t count, Type type,
                       Operation operation, Handle handle, void* stream);
  Result (*reduce)(const void* from, void* to, std::size_t count, Type type, Operation operation,
                   int root, Handle handle, void* stream);
  Result (*broadcast)(const void* from, void* to, std::size_t count, Type type, int root,
                      Handle handle, void* stream);
  Result (*all_gather)(const void* from, void* to, std::size_t count, Type type, Handle handle,
                       void* stream);
  Result (*group_start)();
  Result (*group_end)();
  /// From 2.13 on; else null.
  const char* (*get_last_error)(Handle handle);
};

struct Library {
  Functions functions{};
  /// "2.21.5".
  std::string version;
  /// Why it cannot be used, one sentence; empty where it can.
  std::string absence;
};

/// Opens `file`, or, where that is empty, what the program already has, else libnccl.so.2.
Library open_library(const std::string& file);

/// The library that KANBENCH_NCCL names, else open_library(""); opened at the first call.
const Library& library();

}  // namespace kanbench::nccl

#pragma once
// What the program asks of MPI. The module that links MPI implements it and is opened by name, so
// that the program starts without; nothing but this header is shared.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace kanbench {

/// A rank of this machine and its process.
struct MpiPeer {
  int rank = 0;
  std::int64_t process = 0;
};

/// One thread at a time calls it. Failures are SystemErrors naming MPI's call and its reason.
class Mpi {
 public:
  /// Without end(), MPI stays as it is.
  virtual ~Mpi() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// The ranks of this machine, this one among them, in order.
  virtual std::vector<MpiPeer> peers() const = 0;
  /// Zero at first, in memory that the ranks of this machine share; null where there is none.
  virtual std::atomic<int>* shared_number() = 0;
  /// Whether device memory may be handed to the methods on_device.
  virtual bool reads_devices() const = 0;

  /// What was begun is done when done() says so, and may not be touched until then. At most 2^30
  /// bytes at once.
  virtual void begin_send(const void* data, std::size_t bytes, int to) = 0;
  virtual void begin_receive(void* data, std::size_t bytes, int from) = 0;
  virtual void begin_broadcast(void* data, std::size_t bytes, int root) = 0;
  virtual void begin_all_gather(const void* mine, std::size_t bytes, void* all) = 0;
  virtual void begin_barrier() = 0;
  /// A barrier of its own, which nothing else can be taken for.
  virtual void begin_leave() = 0;
  virtual bool done() = 0;

  virtual void sum_on_device(float* numbers, std::int64_t count) = 0;
  /// The sum is `root`'s alone.
  virtual void reduce_on_device(float* numbers, std::int64_t count, int root) = 0;
  virtual void broadcast_on_device(float* numbers, std::int64_t count, int root) = 0;

  /// An existing file, by this rank alone; the number names it below.
  virtual std::int64_t open_file(const std::string& path) = 0;
  virtual void write_file(std::int64_t file, std::int64_t offset, const void* data,
                          std::size_t bytes) = 0;
  /// Flushes first where `flush`.
  virtual void close_file(std::int64_t file, bool flush) = 0;

  /// Takes leave of MPI, with all ranks.
  virtual void end() = 0;
};

/// The module's two functions; versions that differ do not fit together.
extern "C" {
using MpiVersion = const char* (*)();
using OpenMpi = Mpi* (*)();
}
constexpr const char* kMpiVersionSymbol = "kanbench_mpi_version";
constexpr const char* kOpenMpiSymbol = "kanbench_open_mpi";

}  // namespace kanbench

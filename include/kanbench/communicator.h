#pragma once
// The seam between ranks. One process alone is the communicator `single`.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "kanbench/launch.h"
#include "kanbench/range.h"

namespace kanbench {

class Backend;

/// What a sum of gradients is sent as. fp16 is scaled by a power of two, the same on all ranks,
/// such that nothing overflows; the sums themselves may be rounded to it.
enum class Wire { fp32, fp16 };

/// A file that all ranks write, each its parts, and that takes its name when it is whole.
class ParallelFile {
 public:
  /// Uncommitted, nothing stays.
  virtual ~ParallelFile() = default;
  /// Called by this rank alone. Error where the disk is full, as AtomicFile.
  virtual void write(std::int64_t offset, const void* data, std::size_t bytes) = 0;
  /// Called by all ranks, when none will write any more: flushes and renames.
  virtual void commit() = 0;
};

/// Every method but those that say otherwise is called by all ranks, in the same order. Where
/// another rank has gone, it throws SystemError within --timeout seconds.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual std::string name() const = 0;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Among the ranks of this machine.
  virtual int local_rank() const = 0;
  virtual int local_size() const = 0;

  /// Blocks that are summed lie in this backend's memory, which outlives the communicator. Called
  /// once, before anything below; NCCL connects here, and refuses two ranks on one device.
  virtual void attach(Backend& backend) = 0;

  /// On host memory, in place, with the same bits on every rank.
  virtual void sum(double* values, std::int64_t count) = 0;
  virtual void maximum(double* values, std::int64_t count) = 0;
  virtual void broadcast(void* data, std::size_t bytes, int root) = 0;
  /// `bytes` from each rank, in the ranks' order, into `all`.
  virtual void all_gather(const void* mine, std::size_t bytes, void* all) = 0;
  virtual void barrier() = 0;

  /// Begins to sum floats `part` of `block`, in the backend's memory, over the ranks, in place and
  /// with the same bits everywhere; goes on beside what the backend is told next. The part must be
  /// final by what the backend was told before.
  virtual void begin_sum(float* block, Range part, Wire wire) = 0;
  /// The same, but rank r needs, and gets, only what lies in shares[r]; the rest is left undefined.
  virtual void begin_scatter_sum(float* block, Range part, std::span<const Range> shares,
                                 Wire wire) = 0;
  /// Begins to give every rank, in `block`, what rank r has in shares[r].
  virtual void begin_gather(float* block, std::span<const Range> shares) = 0;
  /// What the backend is told from now on sees the results of all that was begun.
  virtual void finish() = 0;

  /// A file of `bytes` bytes, named `path` when committed. Error as AtomicFile, on every rank.
  virtual std::unique_ptr<ParallelFile> create_file(const std::filesystem::path& path,
                                                    std::int64_t bytes);
};

/// One process alone.
std::unique_ptr<Communicator> open_single();

/// Opens "auto", "single", "mpi" or "nccl"; throws Error, with what to do, for one that this build
/// or this machine lacks, and where several processes were started that could not talk. "auto" is
/// single for a process alone; else NCCL where it is there and `devices`, the CUDA devices that
/// this machine's ranks compute on (0: they compute on the CPU), are enough for one a rank; else
/// MPI. `timeout`: seconds after which a rank that does not answer is given up.
std::unique_ptr<Communicator> open_communicator(const std::string& name, const Launch& launch,
                                                int devices = 0, double timeout = 600);

/// The seams behind it; src/absent stands in for what was not built. NCCL exchanges its id, and
/// does everything on host memory, over `host`, or by itself at the launch's master address where
/// that is null.
std::unique_ptr<Communicator> open_mpi(double timeout);
std::unique_ptr<Communicator> open_nccl(const Launch& launch, std::unique_ptr<Communicator> host,
                                        double timeout);
/// Why open_mpi() or open_nccl() would fail on this machine, one sentence; empty where they work.
std::string why_no_mpi();
std::string why_no_nccl();

/// Runs `part` on every rank. Where it throws on some, throws on all: an exception of the same kind
/// (Error, SystemError, Interrupted or std::runtime_error) with the message of the lowest such
/// rank, "rank 2: " before it unless it failed everywhere with that message. `part` itself must not
/// use the communicator in ways that ranks which threw would be missed.
void together(Communicator& communicator, const std::function<void()>& part);
/// Whether together() has thrown: what this process ends with, all ranks end with.
bool failed_together();

/// Rank 0's text, on all ranks.
void broadcast_text(Communicator& communicator, std::string& text);

/// Throws Error on all ranks unless `text` is the same on all: names `what` and the ranks whose
/// text differs from most.
void require_same(Communicator& communicator, const std::string& text, const std::string& what);

}  // namespace kanbench

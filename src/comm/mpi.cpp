// The module that links MPI: what mpi_plugin.h asks for, in MPI's words.

#include <dlfcn.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <new>

#include "comm/mpi_plugin.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

constexpr std::int64_t kMostFloats = std::int64_t{1} << 28;
constexpr std::size_t kMostWritten = std::size_t{1} << 28;

void checked(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char reason[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, reason, &length);
  throw SystemError(std::string("MPI: ") + call + " failed: " + reason);
}

class Library : public Mpi {
 public:
  Library();

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::vector<MpiPeer> peers() const override { return peers_; }
  std::atomic<int>* shared_number() override { return shared_; }
  bool reads_devices() const override;

  void begin_send(const void* data, std::size_t bytes, int to) override {
    checked(MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, to, 0, all_, next()), "MPI_Isend");
  }
  void begin_receive(void* data, std::size_t bytes, int from) override {
    checked(MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, from, 0, all_, next()), "MPI_Irecv");
  }
  void begin_broadcast(void* data, std::size_t bytes, int root) override {
    checked(MPI_Ibcast(data, static_cast<int>(bytes), MPI_BYTE, root, all_, next()), "MPI_Ibcast");
  }
  void begin_all_gather(const void* mine, std::size_t bytes, void* all) override {
    const int count = static_cast<int>(bytes);
    checked(MPI_Iallgather(mine, count, MPI_BYTE, all, count, MPI_BYTE, all_, next()),
            "MPI_Iallgather");
  }
  void begin_barrier() override { checked(MPI_Ibarrier(all_, next()), "MPI_Ibarrier"); }
  void begin_leave() override { checked(MPI_Ibarrier(leaving_, next()), "MPI_Ibarrier"); }
  bool done() override;

  void sum_on_device(float* numbers, std::int64_t count) override;
  void reduce_on_device(float* numbers, std::int64_t count, int root) override;
  void broadcast_on_device(float* numbers, std::int64_t count, int root) override;

  std::int64_t open_file(const std::string& path) override;
  void write_file(std::int64_t file, std::int64_t offset, const void* data,
                  std::size_t bytes) override;
  void close_file(std::int64_t file, bool flush) override;

  void end() override;

 private:
  void meet_peers();
  MPI_Request* next() { return &requests_.emplace_back(MPI_REQUEST_NULL); }

  MPI_Comm all_ = MPI_COMM_NULL, leaving_ = MPI_COMM_NULL, machine_ = MPI_COMM_NULL;
  MPI_Win window_ = MPI_WIN_NULL;
  int rank_ = 0, size_ = 1;
  bool began_ = false;
  std::vector<MpiPeer> peers_;
  std::atomic<int>* shared_ = nullptr;
  std::vector<MPI_Request> requests_;
  std::map<std::int64_t, MPI_File> files_;
  std::int64_t opened_ = 0;
};

Library::Library() {
  int initialised = 0, finalised = 0;
  MPI_Initialized(&initialised);
  MPI_Finalized(&finalised);
  if (finalised) throw SystemError("MPI: it was ended in this process and cannot begin again");
  if (!initialised) {
    int provided = MPI_THREAD_SINGLE;
    checked(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
    began_ = true;
    if (provided < MPI_THREAD_FUNNELED)
      throw SystemError("MPI: MPI_Init_thread failed: this MPI cannot run beside threads");
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  checked(MPI_Comm_dup(MPI_COMM_WORLD, &all_), "MPI_Comm_dup");
  checked(MPI_Comm_dup(MPI_COMM_WORLD, &leaving_), "MPI_Comm_dup");
  checked(MPI_Comm_rank(all_, &rank_), "MPI_Comm_rank");
  checked(MPI_Comm_size(all_, &size_), "MPI_Comm_size");
  meet_peers();
}

void Library::meet_peers() {
  checked(MPI_Comm_split_type(all_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &machine_),
          "MPI_Comm_split_type");
  int count = 0, local = 0;
  checked(MPI_Comm_size(machine_, &count), "MPI_Comm_size");
  checked(MPI_Comm_rank(machine_, &local), "MPI_Comm_rank");
  const std::int64_t mine[2] = {rank_, ::getpid()};
  std::vector<std::int64_t> found(2 * static_cast<std::size_t>(count));
  checked(MPI_Allgather(mine, 2, MPI_INT64_T, found.data(), 2, MPI_INT64_T, machine_),
          "MPI_Allgather");
  for (std::size_t i = 0; i < found.size(); i += 2)
    peers_.push_back({static_cast<int>(found[i]), found[i + 1]});
  // A convenience: without it two ranks may say the same.
  void* memory = nullptr;
  const MPI_Aint bytes = local == 0 ? 64 : 0;
  if (MPI_Win_allocate_shared(bytes, 1, MPI_INFO_NULL, machine_, &memory, &window_) != MPI_SUCCESS)
    return;
  MPI_Aint size = 0;
  int unit = 1;
  if (MPI_Win_shared_query(window_, 0, &size, &unit, &memory) != MPI_SUCCESS) return;
  if (local == 0) new (memory) std::atomic<int>(0);
  shared_ = static_cast<std::atomic<int>*>(memory);
  checked(MPI_Barrier(machine_), "MPI_Barrier");
}

bool Library::reads_devices() const {
  // Open MPI's extension; looked up by name since other MPIs lack it.
  using Query = int (*)();
  const auto query = reinterpret_cast<Query>(dlsym(RTLD_DEFAULT, "MPIX_Query_cuda_support"));
  return query && query() == 1;
}

bool Library::done() {
  int all = 0;
  checked(
      MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &all, MPI_STATUSES_IGNORE),
      "MPI_Testall");
  if (all) requests_.clear();
  return all != 0;
}

void Library::sum_on_device(float* numbers, std::int64_t count) {
  for (std::int64_t at = 0; at < count; at += kMostFloats)
    checked(MPI_Allreduce(MPI_IN_PLACE, numbers + at,
                          static_cast<int>(std::min(kMostFloats, count - at)), MPI_FLOAT, MPI_SUM,
                          all_),
            "MPI_Allreduce");
}

void Library::reduce_on_device(float* numbers, std::int64_t count, int root) {
  for (std::int64_t at = 0; at < count; at += kMostFloats)
    checked(MPI_Reduce(rank_ == root ? MPI_IN_PLACE : numbers + at, numbers + at,
                       static_cast<int>(std::min(kMostFloats, count - at)), MPI_FLOAT, MPI_SUM,
                       root, all_),
            "MPI_Reduce");
}

void Library::broadcast_on_device(float* numbers, std::int64_t count, int root) {
  for (std::int64_t at = 0; at < count; at += kMostFloats)
    checked(MPI_Bcast(numbers + at, static_cast<int>(std::min(kMostFloats, count - at)), MPI_FLOAT,
                      root, all_),
            "MPI_Bcast");
}

std::int64_t Library::open_file(const std::string& path) {
  // Each rank opens it for itself: writes are its own affair, and a close that waits for nobody
  // cannot hang where another rank has failed.
  MPI_File file = MPI_FILE_NULL;
  checked(MPI_File_open(MPI_COMM_SELF, path.c_str(), MPI_MODE_WRONLY, MPI_INFO_NULL, &file),
          "MPI_File_open");
  files_[++opened_] = file;
  return opened_;
}

void Library::write_file(std::int64_t file, std::int64_t offset, const void* data,
                         std::size_t bytes) {
  const char* at = static_cast<const char*>(data);
  for (std::size_t part; bytes > 0; at += part, bytes -= part) {
    part = std::min(bytes, kMostWritten);
    MPI_Status status;
    checked(
        MPI_File_write_at(files_.at(file), offset, at, static_cast<int>(part), MPI_BYTE, &status),
        "MPI_File_write_at");
    int written = 0;
    checked(MPI_Get_count(&status, MPI_BYTE, &written), "MPI_Get_count");
    if (written != static_cast<int>(part))
      throw SystemError("MPI: MPI_File_write_at failed: it wrote " + std::to_string(written) +
                        " of " + std::to_string(part) + " bytes");
    offset += static_cast<std::int64_t>(part);
  }
}

void Library::close_file(std::int64_t file, bool flush) {
  MPI_File handle = files_.at(file);
  files_.erase(file);
  const int flushed = flush ? MPI_File_sync(handle) : MPI_SUCCESS;
  checked(MPI_File_close(&handle), "MPI_File_close");
  checked(flushed, "MPI_File_sync");
}

void Library::end() {
  if (window_ != MPI_WIN_NULL) MPI_Win_free(&window_);
  for (MPI_Comm* communicator : {&machine_, &leaving_, &all_}) MPI_Comm_free(communicator);
  if (began_) checked(MPI_Finalize(), "MPI_Finalize");
}

}  // namespace
}  // namespace kanbench

extern "C" const char* kanbench_mpi_version() { return KANBENCH_MPI_VERSION; }

extern "C" kanbench::Mpi* kanbench_open_mpi() { return new kanbench::Library; }

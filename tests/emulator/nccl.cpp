// NCCL among processes of emulated devices, on this machine alone: its functions that kanbench
// uses, their order on streams, groups, and errors for what would hang or lie on devices.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cuda_fp16.h"
#include "meeting.h"
#include "streams.h"

using namespace emulator;

namespace {

enum Result {
  kSuccess,
  kCudaError,
  kSystemError,
  kInternal,
  kInvalidArgument,
  kInvalidUsage,
  kRemoteError
};
enum Kind { kAllReduce = 1, kReduce, kBroadcast, kAllGather };
enum Operation { kSum = 0, kMaximum = 2 };

std::string last_error;

int explain(int result, const std::string& why) {
  last_error = why;
  return result;
}

/// One operation of one rank.
struct Task {
  Order order;
  const unsigned char* from = nullptr;
  unsigned char* to = nullptr;
  std::atomic<bool> done = false;
};

std::size_t size_of(int type) {
  switch (type) {
    case 0:
    case 1:
      return 1;
    case 6:
      return 2;
    case 2:
    case 3:
    case 7:
      return 4;
    case 4:
    case 5:
    case 8:
      return 8;
    default:
      return 0;
  }
}

// In the ranks' order and, for halves, rounded after each.
template <class T>
void combine(SharedRoom& room, std::size_t count, int operation, unsigned char* to) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto number = [&](int rank) {
      T value;
      std::memcpy(&value, room.slot(rank) + i * sizeof(T), sizeof(T));
      return value;
    };
    T all = number(0);
    for (int r = 1; r < room.ranks(); ++r)
      all = operation == kSum ? static_cast<T>(all + number(r)) : std::max(all, number(r));
    std::memcpy(to + i * sizeof(T), &all, sizeof(T));
  }
}

void combine(SharedRoom& room, std::size_t count, const Order& order, unsigned char* to) {
  if (order.type == 3) combine<std::uint32_t>(room, count, order.operation, to);
  if (order.type == 6) combine<__half>(room, count, order.operation, to);
  if (order.type == 7) combine<float>(room, count, order.operation, to);
  if (order.type == 8) combine<double>(room, count, order.operation, to);
}

// One slot's worth of an operation; false where a rank is gone.
bool exchange(SharedRoom& room, const Task& task, std::size_t first, std::size_t count) {
  const Order& order = task.order;
  const std::size_t size = size_of(order.type), bytes = count * size, at = first * size;
  const int rank = room.rank();
  if (order.kind != kBroadcast || rank == order.root)
    std::memcpy(room.slot(rank), task.from + at, bytes);
  if (!room.meet()) return false;
  if (order.kind == kAllReduce || (order.kind == kReduce && rank == order.root))
    combine(room, count, order, task.to + at);
  if (order.kind == kBroadcast && rank != order.root)
    std::memcpy(task.to + at, room.slot(order.root), bytes);
  if (order.kind == kAllGather)
    for (int r = 0; r < room.ranks(); ++r)
      std::memcpy(task.to + (static_cast<std::size_t>(r) * order.count + first) * size,
                  room.slot(r), bytes);
  return room.meet();
}

void run(SharedRoom& room, Task& task) {
  room.place(room.rank()).order = task.order;
  if (!room.meet()) return;
  for (int r = 0; r < room.ranks(); ++r)
    if (room.place(r).order != task.order) return room.fail(kInvalidUsage);
  if (!room.meet()) return;
  const std::size_t most = kSlotBytes / size_of(task.order.type);
  for (std::size_t first = 0; first < task.order.count; first += most)
    if (!exchange(room, task, first, std::min<std::size_t>(most, task.order.count - first))) return;
  task.done = true;
}

}  // namespace

/// A rank's end. Its tasks are done one after the other by a thread of its own.
struct ncclComm {
  std::unique_ptr<SharedRoom> room;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::shared_ptr<Task>> tasks;
  bool ends = false;
  /// Streams hold it longer than there is a communicator.
  std::shared_ptr<std::atomic<bool>> aborted = std::make_shared<std::atomic<bool>>(false);
  std::thread worker;

  void add(std::shared_ptr<Task> task) {
    const std::lock_guard lock(mutex);
    tasks.push_back(std::move(task));
    changed.notify_one();
  }
  void work() {
    for (;;) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return ends || !tasks.empty(); });
      if (tasks.empty()) return;
      const std::shared_ptr<Task> task = tasks.front();
      tasks.pop_front();
      lock.unlock();
      run(*room, *task);
    }
  }
  void end() {
    {
      const std::lock_guard lock(mutex);
      ends = true;
      changed.notify_one();
    }
    worker.join();
  }
};

namespace {

struct Id {
  char bytes[128];
};

struct Pending {
  ncclComm* comm;
  std::shared_ptr<Task> task;
  cudaStream_t stream;
};
thread_local int depth = 0;
thread_local std::vector<Pending> grouped;

int issue(const Pending& p) {
  const auto aborted = p.comm->aborted;
  const auto start = [comm = p.comm, task = p.task, aborted] {
    if (!*aborted) comm->add(task);
  };
  const auto done = [task = p.task, aborted] { return task->done || *aborted; };
  const cudaError_t error = enqueue_outside(p.stream, start, done);
  return error == cudaSuccess ? kSuccess : explain(kCudaError, cudaGetErrorString(error));
}

bool on_device(const void* memory) {
  cudaPointerAttributes attributes{};
  return cudaPointerGetAttributes(&attributes, memory) == cudaSuccess &&
         attributes.type == cudaMemoryTypeDevice;
}

int begin(const Order& order, const void* from, void* to, ncclComm* comm, cudaStream_t stream) {
  if (!comm || size_of(order.type) == 0) return explain(kInvalidArgument, "no such type");
  const bool reduces = order.kind == kAllReduce || order.kind == kReduce;
  if (reduces && order.type != 3 && order.type < 6)
    return explain(kInvalidArgument, "a sum of a type that is not emulated");
  if (order.root < 0 || order.root >= comm->room->ranks())
    return explain(kInvalidArgument, "Broadcast/Reduce : invalid root");
  if (order.count > 0 && (!on_device(from) || !on_device(to)))
    return explain(kInvalidArgument, "a pointer that is not to device memory");
  const auto task = std::make_shared<Task>();
  task->order = order;
  task->from = static_cast<const unsigned char*>(from);
  task->to = static_cast<unsigned char*>(to);
  const Pending pending{comm, task, stream};
  if (depth == 0) return issue(pending);
  grouped.push_back(pending);
  return kSuccess;
}

// Whether a server could listen at "address:port" of this machine.
bool is_free(const char* place) {
  const char* colon = std::strrchr(place, ':');
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<std::uint16_t>(std::atoi(colon ? colon + 1 : "0")));
  const int server = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  const bool free =
      bind(server, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0 && listen(server, 1) == 0;
  close(server);
  return free;
}

int enter(ncclComm& comm, int ranks, const Id& id, int rank) {
  if (ranks > kMostRanks) return explain(kInvalidArgument, "more ranks than are emulated");
  int device = 0;
  char bus[32] = {};
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetPCIBusId(bus, sizeof bus, device) != cudaSuccess)
    return explain(kCudaError, "no device");
  const bool by_address = std::strchr(id.bytes, ':') != nullptr;
  if (rank == 0 && by_address && !is_free(id.bytes))
    return explain(kSystemError, "Bind failed : Address already in use");
  std::string name = "/kanbench-nccl-" + std::to_string(getuid()) + "-" + id.bytes;
  std::replace(name.begin() + 1, name.end(), '/', '_');
  comm.room = std::make_unique<SharedRoom>(name, ranks, rank, bus);
  if (comm.room->failure()) return explain(comm.room->failure(), "ranks of different numbers");
  for (int b = 1; b < ranks; ++b)
    for (int a = 0; a < b; ++a)
      if (std::strcmp(comm.room->place(a).bus, comm.room->place(b).bus) == 0)
        return explain(kInvalidUsage, "Duplicate GPU detected : rank " + std::to_string(b) +
                                          " and rank " + std::to_string(a) +
                                          " both on CUDA device " + bus);
  return kSuccess;
}

}  // namespace

extern "C" {

int ncclGetVersion(int* version) {
  *version = 21805;
  return kSuccess;
}

int ncclGetUniqueId(Id* id) {
  *id = {};
  const char* place = std::getenv("NCCL_COMM_ID");
  const std::string drawn = std::to_string(getpid()) + "." + std::to_string(std::random_device{}());
  std::strncpy(id->bytes, place ? place : drawn.c_str(), sizeof id->bytes - 1);
  return kSuccess;
}

int ncclCommInitRank(ncclComm** made, int ranks, Id id, int rank) {
  *made = nullptr;
  if (ranks < 1 || rank < 0 || rank >= ranks) return explain(kInvalidArgument, "no such rank");
  auto comm = std::make_unique<ncclComm>();
  const int result = enter(*comm, ranks, id, rank);
  if (result != kSuccess) return result;
  comm->worker = std::thread([at = comm.get()] { at->work(); });
  *made = comm.release();
  return kSuccess;
}

int ncclCommDestroy(ncclComm* comm) {
  comm->end();
  delete comm;
  return kSuccess;
}

int ncclCommAbort(ncclComm* comm) {
  *comm->aborted = true;
  comm->room->fail(kRemoteError);
  comm->room->leave();
  comm->end();
  delete comm;
  return kSuccess;
}

int ncclCommGetAsyncError(ncclComm* comm, int* error) {
  *error = comm->room->failure();
  return kSuccess;
}

const char* ncclGetErrorString(int result) {
  constexpr const char* kWords[] = {"no error",
                                    "unhandled cuda error",
                                    "unhandled system error",
                                    "internal error",
                                    "invalid argument",
                                    "invalid usage",
                                    "remote process exited or there was a network error"};
  return result >= 0 && result <= kRemoteError ? kWords[result] : "unknown result code";
}

const char* ncclGetLastError(ncclComm*) { return last_error.c_str(); }

int ncclAllReduce(const void* from, void* to, std::size_t count, int type, int operation,
                  ncclComm* comm, cudaStream_t stream) {
  return begin({kAllReduce, type, operation, 0, count}, from, to, comm, stream);
}

int ncclReduce(const void* from, void* to, std::size_t count, int type, int operation, int root,
               ncclComm* comm, cudaStream_t stream) {
  return begin({kReduce, type, operation, root, count}, from, to, comm, stream);
}

int ncclBroadcast(const void* from, void* to, std::size_t count, int type, int root, ncclComm* comm,
                  cudaStream_t stream) {
  return begin({kBroadcast, type, 0, root, count}, from, to, comm, stream);
}

int ncclAllGather(const void* from, void* to, std::size_t count, int type, ncclComm* comm,
                  cudaStream_t stream) {
  return begin({kAllGather, type, 0, 0, count}, from, to, comm, stream);
}

int ncclGroupStart() {
  ++depth;
  return kSuccess;
}

int ncclGroupEnd() {
  if (depth == 0) return explain(kInvalidUsage, "ncclGroupEnd: not in a group call.");
  if (--depth > 0) return kSuccess;
  int result = kSuccess;
  for (const Pending& pending : std::exchange(grouped, {}))
    if (result == kSuccess) result = issue(pending);
  return result;
}

}  // extern "C"

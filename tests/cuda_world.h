#pragma once
// Ranks over an emulated NCCL, each a process with an emulated device of its own.

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "emulator.h"
#include "forked_ranks.h"
#include "kanbench/backend.h"
#include "kanbench/communicator.h"
#include "kanbench/error.h"
#include "meeting.h"
#include "port.h"

namespace kanbench::test {

/// What ranks that MPI had started would talk over.
class RoomCommunicator : public Communicator {
 public:
  RoomCommunicator(const std::string& name, int ranks, int rank)
      : room_(name, ranks, rank, std::to_string(rank).c_str()) {}
  std::string name() const override { return "room"; }
  int rank() const override { return room_.rank(); }
  int size() const override { return room_.ranks(); }
  int local_rank() const override { return rank(); }
  int local_size() const override { return size(); }
  void attach(Backend&) override {}
  void sum(double* values, std::int64_t count) override {
    combine(values, count, [](double a, double b) { return a + b; });
  }
  void maximum(double* values, std::int64_t count) override {
    combine(values, count, [](double a, double b) { return std::max(a, b); });
  }
  void broadcast(void* data, std::size_t bytes, int root) override {
    if (rank() == root) std::memcpy(room_.slot(root), data, bytes);
    barrier();
    std::memcpy(data, room_.slot(root), bytes);
    barrier();
  }
  void all_gather(const void* mine, std::size_t bytes, void* all) override {
    std::memcpy(room_.slot(rank()), mine, bytes);
    barrier();
    for (int r = 0; r < size(); ++r)
      std::memcpy(static_cast<char*>(all) + static_cast<std::size_t>(r) * bytes, room_.slot(r),
                  bytes);
    barrier();
  }
  void barrier() override {
    if (!room_.meet()) throw SystemError("a rank has left the room");
  }
  void begin_sum(float*, Range, Wire) override { std::abort(); }
  void begin_scatter_sum(float*, Range, std::span<const Range>, Wire) override { std::abort(); }
  void begin_gather(float*, std::span<const Range>) override { std::abort(); }
  void finish() override { std::abort(); }

 private:
  template <class Join>
  void combine(double* values, std::int64_t count, Join join) {
    std::vector<double> all(static_cast<std::size_t>(count * size()));
    all_gather(values, static_cast<std::size_t>(count) * sizeof(double), all.data());
    for (std::int64_t i = 0; i < count; ++i)
      for (int r = 0; r < size(); ++r) {
        const double other = all[static_cast<std::size_t>(r * count + i)];
        values[i] = r ? join(values[i], other) : other;
      }
  }
  emulator::SharedRoom room_;
};

/// What `body` throws, its kind before it; empty where it throws nothing.
inline std::string said_by(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return std::string("Error: ") + error.what();
  } catch (const SystemError& error) {
    return std::string("SystemError: ") + error.what();
  } catch (const std::exception& error) {
    return std::string("exception: ") + error.what();
  }
  return "";
}

/// How ranks meet.
enum class Way { address, host };

struct World {
  int ranks = 2;
  Way way = Way::address;
  double timeout = 20;
  /// All ranks on the first device.
  bool one_device = false;
  bool lazy = false;
  int port = 0;
};

/// One rank of a world.
struct Rank {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Communicator> communicator;

  Rank(const World& world, int rank) {
    emulator::set_first_device(world.one_device ? 0 : rank);
    emulator::set_lazy(world.lazy);
    emulator::set_schedule(static_cast<std::uint64_t>(rank));
    backend = open_cuda(0, {});
    const Launch launch{"torchrun", rank, world.ranks, rank, world.ranks, "127.0.0.1", world.port};
    std::unique_ptr<Communicator> host;
    if (world.way == Way::host)
      host = std::make_unique<RoomCommunicator>("/kanbench-room-" + std::to_string(world.port),
                                                world.ranks, rank);
    communicator = open_nccl(world.ranks == 1 ? Launch{} : launch, std::move(host), world.timeout);
    communicator->attach(*backend);
  }
};

inline std::vector<RankEnd> run_world(World world, const std::function<void(Rank&)>& body) {
  Port port;
  world.port = port.number();
  port.free();
  return fork_ranks(world.ranks, [&](int rank) {
    return said_by([&] {
      Rank one(world, rank);
      body(one);
    });
  });
}

inline void expect_fine(const std::vector<RankEnd>& ends) {
  for (std::size_t r = 0; r < ends.size(); ++r) {
    EXPECT_EQ(ends[r].thrown, "") << "rank " << r;
    EXPECT_EQ(ends[r].status, 0) << "rank " << r;
  }
}

}  // namespace kanbench::test

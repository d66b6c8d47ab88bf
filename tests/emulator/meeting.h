#pragma once
// Where the processes of an emulated NCCL communicator meet: shared memory with a slot a rank, and
// barriers that a rank which is gone holds up until somebody gives up.

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace emulator {

inline constexpr int kMostRanks = 16;
inline constexpr std::size_t kSlotBytes = std::size_t{256} << 10;

/// What a rank was told to do; ranks that were told different things have misused NCCL.
struct Order {
  int kind = 0, type = 0, operation = 0, root = 0;
  std::uint64_t count = 0;
  bool operator==(const Order&) const = default;
};

struct Place {
  std::atomic<std::uint64_t> arrived;
  Order order;
  char bus[32];
};

struct Room {
  std::atomic<std::uint32_t> open;
  std::atomic<int> present;
  /// An ncclResult_t that holds for all ranks.
  std::atomic<int> failure;
  pid_t creator;
  int ranks;
  Place places[kMostRanks];
  unsigned char slots[kMostRanks][kSlotBytes];
};

class SharedRoom {
 public:
  /// Waits, without end, for all `ranks` to enter the room of that name.
  SharedRoom(const std::string& name, int ranks, int rank, const char* bus);
  SharedRoom(const SharedRoom&) = delete;
  SharedRoom& operator=(const SharedRoom&) = delete;
  ~SharedRoom();

  Place& place(int rank) { return room_->places[rank]; }
  unsigned char* slot(int rank) { return room_->slots[rank]; }
  int rank() const { return rank_; }
  int ranks() const { return ranks_; }

  /// Waits for all ranks; false where somebody failed or left.
  bool meet();
  int failure() const { return room_->failure; }
  /// Makes all ranks fail, unless they have already.
  void fail(int result);
  /// Lets this rank's meet() end.
  void leave() { left_ = true; }

 private:
  void create(const std::string& name);
  void join(const std::string& name);

  Room* room_ = nullptr;
  int ranks_, rank_;
  std::uint64_t meetings_ = 0;
  std::atomic<bool> left_ = false;
};

}  // namespace emulator

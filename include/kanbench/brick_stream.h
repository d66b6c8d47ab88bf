#pragma once
// Samples of a volume that the device cannot hold. Bricks of it go by in random order, up to a
// thousand on the device at a time; while some are trained on, threads gather the next from the
// file.

#include <cstdint>
#include <future>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/buffer.h"
#include "kanbench/volume.h"

namespace kanbench {

/// How a box is cut: into `count` bricks an axis, as equal as can be.
struct BrickPlan {
  Box box;
  Shape count;
  /// Bricks that come and go together, and the bytes that each takes, ghosts included. There is
  /// room for kBrickGroups groups.
  int per_group = 0;
  std::size_t brick_bytes = 0;

  std::int64_t bricks() const { return count.count(); }
  /// The voxels whose samples brick `index` gives; all of them make up the box, none twice.
  Box brick(std::int64_t index) const;
};

/// Groups of bricks on the device: one is on its way there, the others are trained on.
inline constexpr int kBrickGroups = 8;

/// Bricks of 16^3 to 128^3 voxels, as large as 1024 of them fit `budget` bytes, or else as many of
/// the smallest as do: what is learnt depends on how many places a step sees. Throws Error where
/// fewer than 16 fit.
BrickPlan plan_bricks(const Volume& volume, const Box& box, std::size_t budget);

/// What decides the order of bricks, and how many samples a step draws on average.
struct BrickOrder {
  std::uint64_t seed = 0;
  int rank = 0;
  std::int64_t batch_size = 1;
};

/// Passes over all bricks, each in another random order, several an epoch. A step's rows are spread
/// over all bricks that are there, by their voxels, and a group makes way for the next after as
/// many steps as its voxels are worth. So every point of the box is as likely as any other, and the
/// samples are a function of plan and order alone.
class BrickStream {
 public:
  /// Takes the plan's room on the device and one group's on the host. `volume` must outlive it.
  BrickStream(Backend& backend, const Volume& volume, const BrickPlan& plan,
              const BrickOrder& order);
  ~BrickStream();
  BrickStream(const BrickStream&) = delete;
  BrickStream& operator=(const BrickStream&) = delete;

  /// The next step's points and targets, as Backend::sample() gives them; `stream` is the step's.
  void sample(const Stream& stream, Rows points, Rows targets);
  /// As after so many steps more, without their samples.
  void skip(std::int64_t steps);

 private:
  struct Group {
    std::vector<Box> bricks;
    std::int64_t voxels = 0;
  };

  std::byte* slot(int group, std::size_t brick) const;
  std::int64_t brick_at(std::int64_t place) const;
  void choose();
  void gather(int group);
  void stage(int group);
  void bring_in();
  void turn();
  void begin_turn();

  Backend& backend_;
  const Volume& volume_;
  BrickPlan plan_;
  BrickOrder order_;
  Buffer<std::byte> device_;
  std::byte* host_;
  Group groups_[kBrickGroups];
  // The group on its way, what gathers one, and whether it has been handed to the device.
  int coming_ = 0;
  std::vector<std::future<void>> gathering_;
  bool staged_ = false;
  std::int64_t drawn_ = 0, voxels_ = 0, steps_left_ = 0;
  double steps_per_voxel_ = 0, worth_ = 0;
};

}  // namespace kanbench

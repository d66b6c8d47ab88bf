#include "kanbench/brick_stream.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "kanbench/decomposition.h"
#include "kanbench/error.h"
#include "kanbench/math/random.h"

namespace kanbench {
namespace {

constexpr std::int64_t kLeastEdge = 16, kMostEdge = 128;
constexpr std::int64_t kLeastBricks = 16, kMostBricks = 1024;
constexpr std::size_t kAlignment = 256;
// Samples that are drawn of a brick for each of its voxels while it is there. Fewer would mix
// better and keep the link busier.
constexpr double kSamplesPerVoxel = 0.25;
constexpr unsigned kMostThreads = 4;
// A float's places along an axis are then a quarter of a voxel apart at most, so that a point
// rounded over its brick's border still lies among the ghosts.
constexpr std::int64_t kMostVoxels = std::int64_t{1} << 22;

std::int64_t ceil_divide(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

BrickPlan cut(const Volume& volume, const Box& box, std::int64_t edge, std::size_t budget) {
  const Shape n = box.shape(), all = volume.shape;
  BrickPlan plan{box, {ceil_divide(n.x, edge), ceil_divide(n.y, edge), ceil_divide(n.z, edge)}};
  const auto held = [](std::int64_t voxels, std::int64_t count, std::int64_t most) {
    return static_cast<std::size_t>(std::min(ceil_divide(voxels, count) + 2, most));
  };
  const std::size_t bytes = held(n.x, plan.count.x, all.x) * held(n.y, plan.count.y, all.y) *
                            held(n.z, plan.count.z, all.z) * size_of(volume.dtype) *
                            static_cast<std::size_t>(volume.components);
  plan.brick_bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const auto fit = static_cast<std::int64_t>(budget / plan.brick_bytes);
  plan.per_group = static_cast<int>(std::min({fit, plan.bricks(), kMostBricks}) / kBrickGroups);
  return plan;
}

// Copies the box's voxels together, one component after the other.
void gather_box(const Volume& volume, const Box& box, std::byte* to) {
  const std::size_t voxel = size_of(volume.dtype);
  const Shape& n = volume.shape;
  const std::size_t row = static_cast<std::size_t>(box.shape().x) * voxel;
  for (int c = 0; c < volume.components; ++c)
    for (std::int64_t z = box.low[2]; z < box.high[2]; ++z)
      for (std::int64_t y = box.low[1]; y < box.high[1]; ++y, to += row) {
        const auto first = static_cast<std::size_t>(((c * n.z + z) * n.y + y) * n.x + box.low[0]);
        std::memcpy(to, static_cast<const std::byte*>(volume.data()) + first * voxel, row);
      }
}

// In [0, 1): what ends between two whole numbers, plus this, rounded down, is right on average.
double phase_of(const BrickOrder& order, std::uint64_t place) {
  const Stream stream =
      make_stream(order.seed, static_cast<std::uint32_t>(order.rank), Purpose::brick_rows, place);
  return unit_float(stream.words(0).v[0]);
}

}  // namespace

Box BrickPlan::brick(std::int64_t index) const { return part_of(box, count, index); }

BrickPlan plan_bricks(const Volume& volume, const Box& box, std::size_t budget) {
  const std::string what = volume.name + ": its " + std::to_string(volume.bytes()) +
                           " bytes do not fit the device's memory; ";
  if (std::max({volume.shape.x, volume.shape.y, volume.shape.z}) > kMostVoxels)
    throw Error(what +
                "an axis of more than 2^22 voxels cannot be cut into bricks: use another "
                "--device");
  BrickPlan plan;
  for (std::int64_t edge = kMostEdge; edge >= kLeastEdge; edge -= 8) {
    plan = cut(volume, box, edge, budget);
    if (plan.per_group * kBrickGroups == kMostBricks) return plan;
  }
  if (plan.per_group * kBrickGroups >= kLeastBricks) return plan;
  throw Error(what + "to train on it in bricks takes " +
              std::to_string(kLeastBricks * static_cast<std::int64_t>(plan.brick_bytes)) +
              " bytes beside model and batch, " + std::to_string(budget) +
              " are left: use a larger --device-memory-limit or a smaller --batch-size");
}

BrickStream::BrickStream(Backend& backend, const Volume& volume, const BrickPlan& plan,
                         const BrickOrder& order)
    : backend_(backend), volume_(volume), plan_(plan), order_(order) {
  const auto group_bytes = static_cast<std::int64_t>(plan.brick_bytes) * plan.per_group;
  device_ = Buffer<std::byte>(backend, group_bytes * kBrickGroups);
  // A group stays for kBrickGroups - 1 turns, and a turn is a step at least.
  const double batch = static_cast<double>(order.batch_size);
  const double group_voxels = static_cast<double>(plan.box.shape().count()) /
                              static_cast<double>(plan.bricks()) * plan.per_group;
  steps_per_voxel_ = std::max(kSamplesPerVoxel / (kBrickGroups - 1) / batch,
                              1 / (group_voxels * (kBrickGroups - 1)));
  host_ = static_cast<std::byte*>(backend.allocate_host(static_cast<std::size_t>(group_bytes)));
  choose();
  gather(coming_);
  for (int i = 1; i < kBrickGroups; ++i) bring_in();
  worth_ = phase_of(order, UINT64_MAX);
  begin_turn();
}

BrickStream::~BrickStream() {
  for (std::future<void>& part : gathering_) part.wait();
  // What is being copied must not lose its ends.
  backend_.finish_staging();
  backend_.release_host(host_);
}

std::byte* BrickStream::slot(int group, std::size_t brick) const {
  const std::size_t place = static_cast<std::size_t>(group * plan_.per_group) + brick;
  return device_.data() + place * plan_.brick_bytes;
}

// A keyed permutation of the bricks for each pass, by Feistel's network on their numbers: no list
// is kept.
std::int64_t BrickStream::brick_at(std::int64_t place) const {
  const auto bricks = static_cast<std::uint64_t>(plan_.bricks());
  const Stream stream = make_stream(order_.seed, static_cast<std::uint32_t>(order_.rank),
                                    Purpose::bricks, static_cast<std::uint64_t>(place) / bricks);
  const int half = std::max(1, (static_cast<int>(std::bit_width(bricks - 1)) + 1) / 2);
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  std::uint64_t number = static_cast<std::uint64_t>(place) % bricks;
  // The network permutes a power of four; what falls outside goes round again.
  do {
    std::uint64_t left = number >> half, right = number & mask;
    for (std::uint64_t round = 0; round < 8; ++round) {
      const std::uint64_t mixed = stream.words((round << 56) | right).v[0];
      left = std::exchange(right, (left ^ mixed) & mask);
    }
    number = (left << half) | right;
  } while (number >= bricks);
  return static_cast<std::int64_t>(number);
}

// The bricks that take the coming group's place.
void BrickStream::choose() {
  Group& group = groups_[coming_];
  voxels_ -= group.voxels;
  group = {};
  for (int i = 0; i < plan_.per_group; ++i) {
    group.bricks.push_back(plan_.brick(brick_at(drawn_++)));
    group.voxels += group.bricks.back().shape().count();
  }
}

void BrickStream::gather(int number) {
  const Group& group = groups_[number];
  staged_ = false;
  const unsigned threads = std::clamp(std::thread::hardware_concurrency() / 2, 1u, kMostThreads);
  gathering_.clear();
  for (unsigned t = 0; t < threads; ++t)
    gathering_.push_back(std::async(std::launch::async, [this, &group, t, threads] {
      for (std::size_t i = t; i < group.bricks.size(); i += threads)
        gather_box(volume_, grow(group.bricks[i], 1, volume_.shape), host_ + i * plan_.brick_bytes);
    }));
}

// Hands what is gathered to the device, which goes on computing.
void BrickStream::stage(int number) {
  for (std::future<void>& part : gathering_) part.get();
  gathering_.clear();
  const Group& group = groups_[number];
  for (std::size_t i = 0; i < group.bricks.size(); ++i) {
    const Box held = grow(group.bricks[i], 1, volume_.shape);
    backend_.stage(slot(number, i), host_ + i * plan_.brick_bytes,
                   static_cast<std::size_t>(held.shape().count() * volume_.components) *
                       size_of(volume_.dtype));
  }
  staged_ = true;
}

// The coming group takes part from now on, and the one that was there longest makes way.
void BrickStream::bring_in() {
  if (!staged_) stage(coming_);
  backend_.finish_staging();
  turn();
  gather(coming_);
}

void BrickStream::turn() {
  voxels_ += groups_[coming_].voxels;
  coming_ = (coming_ + 1) % kBrickGroups;
  choose();
}

void BrickStream::begin_turn() {
  worth_ += steps_per_voxel_ * static_cast<double>(voxels_);
  steps_left_ = static_cast<std::int64_t>(worth_);
  worth_ -= static_cast<double>(steps_left_);
}

void BrickStream::skip(std::int64_t steps) {
  if (steps <= steps_left_) {
    steps_left_ -= steps;
    return;
  }
  for (std::future<void>& part : gathering_) part.get();
  gathering_.clear();
  while (steps > steps_left_) {
    steps -= steps_left_;
    turn();
    begin_turn();
  }
  steps_left_ -= steps;
  for (int g = 0; g < kBrickGroups; ++g) {
    if (g == coming_) continue;
    backend_.finish_staging();
    gather(g);
    stage(g);
  }
  backend_.finish_staging();
  gather(coming_);
}

void BrickStream::sample(const Stream& stream, Rows points, Rows targets) {
  const auto ready = [](const std::future<void>& part) {
    return part.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  };
  if (!staged_ && std::all_of(gathering_.begin(), gathering_.end(), ready)) stage(coming_);
  while (steps_left_ == 0) {
    bring_in();
    begin_turn();
  }
  --steps_left_;
  const double phase = phase_of(order_, stream.step);
  const double rows_per_voxel = static_cast<double>(points.rows) / static_cast<double>(voxels_);
  std::vector<BrickRows> all;
  std::int64_t voxels = 0, first = 0;
  for (int g = 0; g < kBrickGroups; ++g) {
    if (g == coming_) continue;
    for (std::size_t i = 0; i < groups_[g].bricks.size(); ++i) {
      BrickRows part{volume_.view(), groups_[g].bricks[i], first, 0};
      voxels += part.box.shape().count();
      const double end = rows_per_voxel * static_cast<double>(voxels) + phase;
      part.rows = (voxels == voxels_ ? points.rows : static_cast<std::int64_t>(end)) - first;
      first += part.rows;
      part.view.data = slot(g, i);
      part.view.held = grow(part.box, 1, volume_.shape);
      if (part.rows > 0) all.push_back(part);
    }
  }
  backend_.sample_bricks(all, stream, points, targets);
}

}  // namespace kanbench

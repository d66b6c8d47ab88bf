// The NCCL communicator over an emulated NCCL, among processes that each have an emulated device:
// sums as they should be, on time, and one line for each way in which ranks cannot meet.

#include <chrono>
#include <cmath>

#include "comm/nccl_connection.h"
#include "cuda_world.h"
#include "kanbench/buffer.h"
#include "support.h"

namespace kanbench::test {
namespace {

std::vector<World> worlds() {
  return {{1, Way::address}, {2, Way::address}, {3, Way::address}, {2, Way::host}, {3, Way::host}};
}

TEST(Nccl, CombinesWhatLiesOnTheHost) {
  for (const World& world : worlds())
    expect_fine(run_world(world, [&](Rank& one) {
      Communicator& c = *one.communicator;
      const int n = c.size(), rank = c.rank();
      // More than goes through the device at a time.
      std::vector<double> sums(world.way == Way::host ? 20000 : 200000, rank + 0.5),
          largest{-1.0 * rank, 1.0 * rank};
      c.sum(sums.data(), static_cast<std::int64_t>(sums.size()));
      EXPECT_EQ(sums, std::vector<double>(sums.size(), n * (n - 1) / 2.0 + n * 0.5));
      c.maximum(largest.data(), 2);
      EXPECT_EQ(largest, (std::vector<double>{0, n - 1.0}));
      std::vector<std::int32_t> data(60000, rank);
      c.broadcast(data.data(), data.size() * sizeof(int), n - 1);
      EXPECT_EQ(data, std::vector<std::int32_t>(data.size(), n - 1));
      std::vector<std::int32_t> mine(50001, rank),
          all(mine.size() * static_cast<std::size_t>(n), -1);
      c.all_gather(mine.data(), mine.size() * sizeof(int), all.data());
      for (std::size_t i = 0; i < all.size(); ++i)
        ASSERT_EQ(all[i], static_cast<int>(i / mine.size()));
      c.barrier();
    }));
}

float number(int rank, std::size_t i) {
  return std::ldexp(static_cast<float>((i * 37 + static_cast<std::size_t>(rank) * 11) % 201) - 100,
                    -static_cast<int>(i % 9) - 12);
}

std::vector<float> numbers(int rank, std::size_t count) {
  std::vector<float> all(count);
  for (std::size_t i = 0; i < count; ++i) all[i] = number(rank, i);
  return all;
}

std::vector<float> download(Backend& backend, const Buffer<float>& block) {
  std::vector<float> all(static_cast<std::size_t>(block.size()));
  backend.download(all.data(), block.data(), block.bytes());
  return all;
}

constexpr std::int64_t kCount = 1 << 17;

void expect_sum(const std::vector<float>& found, Range where, int ranks, Wire wire) {
  for (std::int64_t i = where.begin; i < where.end; ++i) {
    double wanted = 0;
    for (int r = 0; r < ranks; ++r) wanted += double{number(r, static_cast<std::size_t>(i))};
    const double rounding = wire == Wire::fp16 ? 100.0 / 4096 * ranks / 1024 : 1e-7;
    ASSERT_NEAR(found[static_cast<std::size_t>(i)], wanted, rounding) << i;
  }
}

// The backend is told to write the block, NCCL to sum it, and the backend to copy it, with nothing
// but their own order between them.
TEST(Nccl, SumsOnTheDeviceInTheOrderOfWhatWasTold) {
  for (const World& world : worlds())
    for (const bool lazy : {false, true})
      for (const Wire wire : {Wire::fp32, Wire::fp16}) {
        World drawn = world;
        drawn.lazy = lazy;
        expect_fine(run_world(drawn, [wire](Rank& one) {
          Communicator& c = *one.communicator;
          Buffer<float> source(*one.backend, kCount), block(*one.backend, kCount),
              result(*one.backend, kCount);
          const std::vector<float> mine = numbers(c.rank(), kCount);
          one.backend->upload(source.data(), mine.data(), source.bytes());
          one.backend->copy(block.data(), source.data(), block.bytes());
          c.begin_sum(block.data(), {kCount / 2, kCount}, wire);
          c.begin_sum(block.data(), {16, kCount / 2}, wire);
          c.begin_sum(block.data(), {16, 16}, wire);
          c.finish();
          one.backend->copy(result.data(), block.data(), block.bytes());
          const std::vector<float> found = download(*one.backend, result);
          for (std::size_t i = 0; i < 16; ++i) EXPECT_EQ(found[i], mine[i]);
          expect_sum(found, {16, kCount}, c.size(), wire);
        }));
      }
}

TEST(Nccl, ScattersSumsAndGathersShares) {
  for (const World& world : worlds())
    for (const Wire wire : {Wire::fp32, Wire::fp16})
      expect_fine(run_world(world, [wire](Rank& one) {
        Communicator& c = *one.communicator;
        Buffer<float> block(*one.backend, kCount);
        const std::vector<float> mine = numbers(c.rank(), kCount);
        one.backend->upload(block.data(), mine.data(), block.bytes());
        // The last has nothing.
        std::vector<Range> shares;
        for (std::int64_t r = 0; r < c.size(); ++r)
          shares.push_back({std::min(kCount, r * 90000), std::min(kCount, (r + 1) * 90000)});
        if (c.size() == 1) shares[0] = {0, kCount};
        c.begin_scatter_sum(block.data(), {64000, kCount}, shares, wire);
        c.begin_scatter_sum(block.data(), {0, 64000}, shares, wire);
        c.finish();
        const Range share = shares[static_cast<std::size_t>(c.rank())];
        expect_sum(download(*one.backend, block), share, c.size(), wire);
        c.begin_gather(block.data(), shares);
        c.finish();
        expect_sum(download(*one.backend, block), {0, kCount}, c.size(), wire);
      }));
}

TEST(Nccl, HalvesKeepWhatIsNotFinite) {
  for (const float bad : {INFINITY, NAN})
    expect_fine(run_world({}, [bad](Rank& one) {
      Communicator& c = *one.communicator;
      Buffer<float> block(*one.backend, 64);
      std::vector<float> mine(64, 1.0f);
      if (c.rank() == 1) mine[5] = bad;
      one.backend->upload(block.data(), mine.data(), block.bytes());
      c.begin_sum(block.data(), {0, 64}, Wire::fp16);
      c.finish();
      EXPECT_TRUE(std::isnan(download(*one.backend, block)[5]));
    }));
}

TEST(Nccl, HasEveryRankOnADeviceOfItsOwn) {
  for (const Way way : {Way::address, Way::host}) {
    World world{3, way};
    world.one_device = true;
    for (const RankEnd& end : run_world(world, [](Rank&) {})) {
      EXPECT_EQ(end.thrown.rfind("Error: --communicator nccl: ", 0), 0u) << end.thrown;
      EXPECT_NE(end.thrown.find("0000:00:00.0"), std::string::npos) << end.thrown;
      if (way == Way::host)
        EXPECT_NE(end.thrown.find("ranks 0 and 1 are on one GPU"), std::string::npos) << end.thrown;
      else
        EXPECT_NE(end.thrown.find("rank 1 and rank 0"), std::string::npos) << end.thrown;
    }
  }
}

TEST(Nccl, SumsNothingOfTheCpu) {
  const auto communicator = open_nccl({}, nullptr, 5);
  const auto cpu = open_cpu();
  const std::string said = message_of<Error>([&] { communicator->attach(*cpu); });
  EXPECT_EQ(said.rfind("--communicator nccl: cpu ", 0), 0u) << said;
}

TEST(Nccl, SaysWhatIsMissingToMeet) {
  Launch launch{"srun", 1, 2, 1, 2, "", 0};
  EXPECT_NE(message_of<Error>([&] {
              open_nccl(launch, nullptr, 5);
            }).find("MASTER_ADDR and MASTER_PORT are not set"),
            std::string::npos);
  launch.master_address = "here";
  EXPECT_NE(
      message_of<Error>([&] { open_nccl(launch, nullptr, 5); }).find("MASTER_PORT is not set"),
      std::string::npos);
  launch.master_port = 29500;
  EXPECT_EQ(nccl::meeting_point(launch, false), "here:29500");
  EXPECT_EQ(nccl::meeting_point(launch, true), "here:29501");
  launch.master_address = "::1";
  EXPECT_EQ(nccl::meeting_point(launch, false), "[::1]:29500");
}

TEST(Nccl, SaysWhereThereIsNoMeeting) {
  Port port;
  const std::string place = "127.0.0.1:" + std::to_string(port.number());
  const std::string taken = message_of<Error>([&] { nccl::require_free_port(place); });
  EXPECT_EQ(taken, "MASTER_PORT " + std::to_string(port.number()) +
                       " of 127.0.0.1 is taken: set it to a free port, the same for all ranks");
  port.free();
  nccl::require_free_port(place);
  EXPECT_NE(message_of<Error>([] {
              nccl::require_free_port("192.0.2.1:29500");
            }).find("MASTER_ADDR 192.0.2.1 is not of this machine"),
            std::string::npos);
  EXPECT_NE(message_of<Error>([] {
              nccl::require_free_port("no.such.host.invalid:29500");
            }).find("MASTER_ADDR no.such.host.invalid"),
            std::string::npos);
}

// The rank that finds it says so; the other has nobody to meet.
TEST(Nccl, SaysThatThePortIsTaken) {
  Port port;
  World world;
  world.timeout = 1;
  world.port = port.number();
  const std::vector<RankEnd> ends =
      fork_ranks(2, [&](int rank) { return said_by([&] { Rank(world, rank); }); });
  EXPECT_NE(ends[0].thrown.find("Error: MASTER_PORT " + std::to_string(port.number())),
            std::string::npos)
      << ends[0].thrown;
  EXPECT_EQ(ends[1].thrown.rfind("SystemError: NCCL: rank 1 of 2 waited 1 s", 0), 0u)
      << ends[1].thrown;
}

TEST(Nccl, GivesUpOnARankThatIsGone) {
  World world{3, Way::address, 1};
  const auto began = std::chrono::steady_clock::now();
  const std::vector<RankEnd> ends = run_world(world, [](Rank& one) {
    Communicator& c = *one.communicator;
    Buffer<float> block(*one.backend, 64);
    c.begin_sum(block.data(), {0, 64}, Wire::fp32);
    c.finish();
    if (c.rank() == 2) _exit(0);
    c.begin_sum(block.data(), {0, 64}, Wire::fp32);
    // The others' messages may come before this rank's own.
    EXPECT_NE(message_of<SystemError>([&] { c.finish(); }).find("NCCL: "), std::string::npos);
    EXPECT_THROW(c.barrier(), SystemError);
  });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
  expect_fine(ends);
  EXPECT_LT(seconds.count(), 10);
}

TEST(Nccl, SeesThatRanksDoNotWantTheSame) {
  for (const RankEnd& end : run_world({2, Way::address, 5}, [](Rank& one) {
         Communicator& c = *one.communicator;
         Buffer<float> block(*one.backend, 64);
         c.begin_sum(block.data(), {0, c.rank() ? 64 : 32}, Wire::fp32);
         c.finish();
       }))
    EXPECT_NE(end.thrown.find("SystemError: NCCL: exchanging with the other ranks failed: invalid"),
              std::string::npos)
        << end.thrown;
}

TEST(NcclLibrary, IsOpenedByNameOrAbsent) {
  EXPECT_EQ(nccl::open_library("").absence, "");
  const nccl::Library file = nccl::open_library(KANBENCH_NCCL_EMULATED);
  EXPECT_EQ(file.absence, "");
  EXPECT_EQ(file.version, "2.18.5");
  EXPECT_NE(file.functions.all_reduce, nccl::open_library("").functions.all_reduce);
  const std::string missing = nccl::open_library("/nowhere/libnccl.so.2").absence;
  EXPECT_EQ(missing.rfind("NCCL was not found (/nowhere/libnccl.so.2", 0), 0u) << missing;
  EXPECT_NE(missing.find("KANBENCH_NCCL"), std::string::npos) << missing;
  EXPECT_EQ(nccl::open_library("libm.so.6").absence,
            "libm.so.6 is not NCCL 2.10 or newer: it lacks ncclGetVersion.");
}

}  // namespace
}  // namespace kanbench::test

// What communicators promise, on as many ranks as there are: alone, and under mpirun. Blocks lie
// in host memory, or (KANBENCH_TEST_STAGED=1) where the host does not see them.

#include "kanbench/communicator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include "comm/half.h"
#include "kanbench/error.h"
#include "kanbench/interruption.h"
#include "mpi_ranks.h"
#include "support.h"
#include "wrapped_backend.h"

namespace kanbench {
namespace {

using test::ranks;

/// Copies arrive when they are waited for, as from a device.
class Apart : public test::Wrapped {
 public:
  bool is_host() const override { return false; }
  std::int64_t begin_fetch(void* to, const void* from, std::size_t bytes) override {
    const std::lock_guard lock(mutex_);
    fetches_.push_back({to, std::vector<char>(bytes)});
    if (bytes > 0) std::memcpy(fetches_.back().content.data(), from, bytes);
    return static_cast<std::int64_t>(fetches_.size()) - 1;
  }
  void finish_fetch(std::int64_t number) override {
    const std::lock_guard lock(mutex_);
    const Copy& copy = fetches_[static_cast<std::size_t>(number)];
    std::copy(copy.content.begin(), copy.content.end(), static_cast<char*>(copy.to));
  }
  void stage(void* to, const void* from, std::size_t bytes) override {
    const std::lock_guard lock(mutex_);
    const char* first = static_cast<const char*>(from);
    staged_.push_back({to, std::vector<char>(first, first + bytes)});
  }
  void finish_staging() override {
    const std::lock_guard lock(mutex_);
    for (const Copy& copy : staged_)
      std::copy(copy.content.begin(), copy.content.end(), static_cast<char*>(copy.to));
    staged_.clear();
  }

 private:
  struct Copy {
    void* to;
    std::vector<char> content;
  };
  std::mutex mutex_;
  std::vector<Copy> fetches_, staged_;
};

const bool chosen = [] {
  if (std::getenv("KANBENCH_TEST_STAGED"))
    test::Ranks::make_backend = []() -> std::unique_ptr<Backend> {
      return std::make_unique<Apart>();
    };
  return true;
}();

// A number that rank r has at i, small enough for sums of a few to be exact.
float number(int rank, std::int64_t i) {
  return static_cast<float>((i * 7 + rank * 31) % 101 - 50) / 8;
}

float sum_at(std::int64_t i) {
  float sum = 0;
  for (int r = 0; r < ranks().size(); ++r) sum += number(r, i);
  return sum;
}

std::vector<float> numbers(std::int64_t count) {
  std::vector<float> all(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i)
    all[static_cast<std::size_t>(i)] = number(ranks().rank(), i);
  return all;
}

// Uneven shares of `count` floats, those of odd ranks empty.
std::vector<Range> uneven_shares(std::int64_t count) {
  std::vector<Range> shares;
  std::int64_t at = 0;
  for (int r = 0; r < ranks().size(); ++r) {
    const std::int64_t end = r % 2 == 1 ? at : std::min(count, at + 10 + 100 * r);
    shares.push_back({at, end});
    at = end;
  }
  shares[static_cast<std::size_t>((ranks().size() - 1) / 2 * 2)].end = count;
  return shares;
}

template <class T>
void expect_same_everywhere(const std::vector<T>& values) {
  std::vector<T> all(values.size() * static_cast<std::size_t>(ranks().size()));
  ranks().all_gather(values.data(), values.size() * sizeof(T), all.data());
  for (std::size_t r = 0; r < static_cast<std::size_t>(ranks().size()); ++r)
    EXPECT_EQ(std::memcmp(all.data() + r * values.size(), values.data(), values.size() * sizeof(T)),
              0)
        << "rank " << r;
}

TEST(Communicator, KnowsItsRanks) {
  const Launch launch = read_launch();
  EXPECT_EQ(ranks().rank(), launch.rank);
  EXPECT_EQ(ranks().size(), launch.size);
  EXPECT_EQ(ranks().local_rank(), launch.local_rank);
  EXPECT_EQ(ranks().local_size(), launch.local_size);
}

TEST(Communicator, SumsAndMaximaOfHostNumbersAreTheSameEverywhere) {
  // More than are on one rank at once.
  const std::size_t count = 1200001;
  std::vector<double> sums(count), maxima(count);
  for (std::size_t i = 0; i < count; ++i) {
    sums[i] = 0.1 * (ranks().rank() + 1) + static_cast<double>(i);
    maxima[i] = static_cast<double>((i + static_cast<std::size_t>(ranks().rank())) % 5);
  }
  ranks().sum(sums.data(), static_cast<std::int64_t>(count));
  ranks().maximum(maxima.data(), static_cast<std::int64_t>(count));
  const int n = ranks().size();
  for (std::size_t i = 0; i < count; i += 997) {
    EXPECT_NEAR(sums[i], 0.05 * n * (n + 1) + n * static_cast<double>(i), 1e-6);
    double largest = 0;
    for (int r = 0; r < n; ++r)
      largest = std::max(largest, static_cast<double>((i + static_cast<std::size_t>(r)) % 5));
    EXPECT_EQ(maxima[i], largest);
  }
  sums.resize(5000);
  expect_same_everywhere(sums);
}

TEST(Communicator, AMaximumBesideNoNumberIsNone) {
  double value = ranks().rank() == ranks().size() - 1 ? std::nan("") : 3.0;
  ranks().maximum(&value, 1);
  EXPECT_TRUE(std::isnan(value));
}

TEST(Communicator, BroadcastsAndGathers) {
  for (int root = 0; root < ranks().size(); ++root) {
    std::vector<int> text(1000, ranks().rank() == root ? 42 + root : 0);
    ranks().broadcast(text.data(), text.size() * sizeof(int), root);
    EXPECT_EQ(text, std::vector<int>(1000, 42 + root));
  }
  const int mine[2] = {ranks().rank(), 10 * ranks().rank()};
  std::vector<int> all(2 * static_cast<std::size_t>(ranks().size()));
  ranks().all_gather(mine, sizeof mine, all.data());
  for (int r = 0; r < ranks().size(); ++r) {
    EXPECT_EQ(all[2 * static_cast<std::size_t>(r)], r);
    EXPECT_EQ(all[2 * static_cast<std::size_t>(r) + 1], 10 * r);
  }
  ranks().broadcast(nullptr, 0, 0);
  ranks().all_gather(nullptr, 0, nullptr);
  ranks().barrier();
}

TEST(Communicator, BegunSumsGoOnBesideEachOtherAndHostNumbers) {
  const std::int64_t count = 300007;
  std::vector<float> block = numbers(count);
  ranks().begin_sum(block.data(), {200000, count}, Wire::fp32);
  ranks().begin_sum(block.data(), {5, 200000}, Wire::fp32);
  double one = 1;
  ranks().sum(&one, 1);
  EXPECT_EQ(one, ranks().size());
  ranks().begin_sum(block.data(), {3, 3}, Wire::fp32);
  ranks().begin_sum(block.data(), {0, 5}, Wire::fp32);
  ranks().finish();
  for (std::int64_t i = 0; i < count; ++i)
    ASSERT_EQ(block[static_cast<std::size_t>(i)], sum_at(i)) << i;
  ranks().finish();
}

TEST(Communicator, SumsHaveTheSameBitsEverywhereAndEachTime) {
  std::vector<float> first(10001);
  for (std::size_t i = 0; i < first.size(); ++i)
    first[i] =
        std::sin(static_cast<float>(i * 3 + 1) * (1.3f + static_cast<float>(ranks().rank())));
  std::vector<float> again = first;
  ranks().begin_sum(first.data(), {0, 10001}, Wire::fp32);
  ranks().finish();
  ranks().begin_sum(again.data(), {0, 10001}, Wire::fp32);
  ranks().finish();
  EXPECT_EQ(std::memcmp(first.data(), again.data(), first.size() * sizeof(float)), 0);
  expect_same_everywhere(first);
}

TEST(Communicator, HalvesOnTheWireErrByTheirOwnRounding) {
  for (const float size : {1.0f, 1e-20f, 3e30f}) {
    std::vector<float> block(5003);
    std::vector<double> sums(block.size()), parts(block.size());
    for (std::size_t i = 0; i < block.size(); ++i) {
      block[i] =
          size * std::cos(static_cast<float>(i + 1) * (0.7f + static_cast<float>(ranks().rank())));
      sums[i] = block[i];
      parts[i] = std::abs(block[i]);
    }
    ranks().sum(sums.data(), 5003);
    ranks().sum(parts.data(), 5003);
    ranks().begin_sum(block.data(), {0, 5003}, Wire::fp16);
    ranks().finish();
    for (std::size_t i = 0; i < block.size(); ++i)
      ASSERT_NEAR(block[i], sums[i], parts[i] * 0x1p-10 + size * ranks().size() * 0x1p-22) << i;
    expect_same_everywhere(block);
  }
}

TEST(Communicator, WhatIsNotFiniteIsSoOnAllRanks) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Wire wire : {Wire::fp32, Wire::fp16})
    for (const float bad : {infinity, -infinity, std::nanf("")}) {
      std::vector<float> block(100, 1.0f);
      if (ranks().rank() == ranks().size() - 1) block[70] = bad;
      ranks().begin_sum(block.data(), {0, 100}, wire);
      ranks().finish();
      EXPECT_FALSE(std::isfinite(block[70]));
    }
  std::vector<float> zeros(100, 0.0f);
  ranks().begin_sum(zeros.data(), {0, 100}, Wire::fp16);
  ranks().finish();
  EXPECT_EQ(zeros, std::vector<float>(100, 0.0f));
}

TEST(Communicator, ScattersSumsIntoUnevenAndEmptyShares) {
  const std::int64_t count = 5000;
  const std::vector<Range> shares = uneven_shares(count);
  const Range mine = shares[static_cast<std::size_t>(ranks().rank())];
  for (const Wire wire : {Wire::fp32, Wire::fp16}) {
    std::vector<float> block = numbers(count);
    ranks().begin_scatter_sum(block.data(), {1000, count}, shares, wire);
    ranks().begin_scatter_sum(block.data(), {0, 1000}, shares, wire);
    ranks().finish();
    for (std::int64_t i = mine.begin; i < mine.end; ++i)
      ASSERT_NEAR(block[static_cast<std::size_t>(i)], sum_at(i),
                  wire == Wire::fp32 ? 0 : 0.01 * ranks().size())
          << i;
  }
}

TEST(Communicator, GathersUnevenAndEmptyShares) {
  const std::int64_t count = 5000;
  const std::vector<Range> shares = uneven_shares(count);
  const Range mine = shares[static_cast<std::size_t>(ranks().rank())];
  std::vector<float> block(static_cast<std::size_t>(count), -1);
  for (std::int64_t i = mine.begin; i < mine.end; ++i)
    block[static_cast<std::size_t>(i)] = static_cast<float>(i);
  ranks().begin_gather(block.data(), shares);
  ranks().finish();
  for (std::int64_t i = 0; i < count; ++i) ASSERT_EQ(block[static_cast<std::size_t>(i)], i);
}

TEST(Communicator, PassesMoreThanGoesAtOnce) {
  const std::int64_t count = (std::int64_t{1} << 22) + 12345;
  std::vector<float> block = numbers(count);
  ranks().begin_sum(block.data(), {0, count}, Wire::fp32);
  ranks().finish();
  for (std::int64_t i = 0; i < count; i += 101)
    ASSERT_EQ(block[static_cast<std::size_t>(i)], sum_at(i)) << i;
}

TEST(Together, ThrowsWhatTheLowestRankThrew) {
  if (ranks().size() < 3) GTEST_SKIP() << "for three ranks or more";
  const auto thrown = [](const std::function<void()>& part) {
    return [part] { together(ranks(), part); };
  };
  EXPECT_EQ(test::message_of<Error>(thrown([] {
              if (ranks().rank() >= 1) throw Error("rank's own " + std::to_string(ranks().rank()));
            })),
            "rank 1: rank's own 1");
  EXPECT_TRUE(failed_together());
  EXPECT_EQ(test::message_of<SystemError>(thrown([] { throw SystemError("the same"); })),
            "the same");
  EXPECT_EQ(test::message_of<Interrupted>(thrown([] {
              if (ranks().rank() == 2) throw Interrupted("stop");
            })),
            "rank 2: stop");
  EXPECT_EQ(test::message_of<std::runtime_error>(thrown([] {
              if (ranks().rank() == 2) throw std::bad_alloc();
            })),
            "rank 2: out of memory");
  together(ranks(), [] {});
  EXPECT_FALSE(failed_together());
}

TEST(Together, AloneThrowsAsItIs) {
  if (ranks().size() > 1) GTEST_SKIP() << "for one rank";
  EXPECT_EQ(test::message_of<std::logic_error>(
                [] { together(ranks(), [] { throw std::logic_error("ours"); }); }),
            "ours");
  EXPECT_FALSE(failed_together());
}

TEST(Together, ComparesTextsOfAllRanks) {
  require_same(ranks(), "one", "the volume");
  if (ranks().size() < 3) return;
  const std::string text = ranks().rank() == 1 ? "another" : "one";
  EXPECT_EQ(test::message_of<Error>([&] { require_same(ranks(), text, "the volume"); }),
            "the volume: not the same on all ranks: rank 1 differs from rank 0: give all ranks "
            "the same");
}

TEST(Half, RoundsToTheNearestAndBack) {
  for (std::uint32_t half = 0; half < 0x7c00; ++half) {
    const float exact = from_half(static_cast<std::uint16_t>(half));
    EXPECT_EQ(to_half(exact), half);
    EXPECT_EQ(to_half(-exact), half | 0x8000u);
    if (half + 1 == 0x7c00) break;
    const float next = from_half(static_cast<std::uint16_t>(half + 1));
    EXPECT_EQ(to_half((exact + next) / 2), half + (half & 1)) << half;
    EXPECT_EQ(to_half(std::nextafter((exact + next) / 2, 1e9f)), half + 1) << half;
  }
  EXPECT_EQ(from_half(0x3c00), 1.0f);
  EXPECT_EQ(from_half(0x0001), 0x1p-24f);
  EXPECT_EQ(from_half(0xfbff), -65504.0f);
}

}  // namespace
}  // namespace kanbench

#pragma once
// Ranks that are threads of one process, so that a test can run on many without a launcher.

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <functional>
#include <limits>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kanbench/communicator.h"
#include "kanbench/error.h"
#include "kanbench/parallel.h"

namespace kanbench::test {

/// Where the ranks meet. Each shows the others one address at a time.
class Meeting {
 public:
  explicit Meeting(int size) : shown_(static_cast<std::size_t>(size)), size_(size) {}
  int size() const { return size_; }

  /// Waits for all; SystemError once a rank has left, as from a launcher that lost one.
  void wait() {
    std::unique_lock lock(mutex_);
    if (gone_ < 0 && ++here_ == size_) {
      here_ = 0;
      ++round_;
      all_here_.notify_all();
      return;
    }
    const long round = round_;
    all_here_.wait(lock, [&] { return round_ != round || gone_ >= 0; });
    if (round_ == round) throw SystemError("rank " + std::to_string(gone_) + " has gone");
  }
  void leave(int rank) {
    const std::lock_guard lock(mutex_);
    if (gone_ < 0) gone_ = rank;
    all_here_.notify_all();
  }
  /// Every rank's address, until the next wait().
  const std::vector<const void*>& exchange(int rank, const void* mine) {
    shown_[static_cast<std::size_t>(rank)] = mine;
    wait();
    return shown_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_here_;
  std::vector<const void*> shown_;
  int size_, here_ = 0, gone_ = -1;
  long round_ = 0;
};

/// One of the ranks. Blocks lie in host memory; what is begun is done at once.
class ThreadRank : public Communicator {
 public:
  ThreadRank(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}
  std::string name() const override { return "threads"; }
  int rank() const override { return rank_; }
  int size() const override { return meeting_.size(); }
  int local_rank() const override { return rank_; }
  int local_size() const override { return meeting_.size(); }
  void attach(Backend&) override {}

  void sum(double* values, std::int64_t count) override {
    store(values, combine<double>(values, {0, count}, [](double a, double b) { return a + b; }));
  }
  void maximum(double* values, std::int64_t count) override {
    store(values,
          combine<double>(values, {0, count}, [](double a, double b) { return std::max(a, b); }));
  }
  void broadcast(void* data, std::size_t bytes, int root) override {
    const void* source = meeting_.exchange(rank_, data)[static_cast<std::size_t>(root)];
    if (rank_ != root) std::memcpy(data, source, bytes);
    meeting_.wait();
  }
  void all_gather(const void* mine, std::size_t bytes, void* all) override {
    char* to = static_cast<char*>(all);
    for (const void* source : meeting_.exchange(rank_, mine)) {
      std::memcpy(to, source, bytes);
      to += bytes;
    }
    meeting_.wait();
  }
  void barrier() override { meeting_.wait(); }

  void begin_sum(float* block, Range part, Wire wire) override {
    store(block + part.begin, sum_of(block, part, wire));
  }
  void begin_scatter_sum(float* block, Range part, std::span<const Range> shares,
                         Wire wire) override {
    std::vector<float> sums = sum_of(block, part, wire);
    const Range mine = shares[static_cast<std::size_t>(rank_)];
    for (std::int64_t i = part.begin; i < part.end; ++i)
      if (i < mine.begin || i >= mine.end)
        sums[static_cast<std::size_t>(i - part.begin)] = std::numeric_limits<float>::quiet_NaN();
    store(block + part.begin, sums);
  }
  void begin_gather(float* block, std::span<const Range> shares) override {
    const std::vector<const void*>& blocks = meeting_.exchange(rank_, block);
    for (std::size_t r = 0; r < shares.size(); ++r)
      if (static_cast<int>(r) != rank_ && shares[r].size() > 0)
        std::copy_n(static_cast<const float*>(blocks[r]) + shares[r].begin, shares[r].size(),
                    block + shares[r].begin);
    meeting_.wait();
  }
  void finish() override {}

 private:
  // Rank after rank, so that all get the same bits.
  template <class T, class Join>
  std::vector<T> combine(const T* values, Range part, Join join) {
    const std::vector<const void*>& all = meeting_.exchange(rank_, values);
    const T* first = static_cast<const T*>(all[0]);
    std::vector<T> result(first + part.begin, first + part.end);
    for (std::size_t r = 1; r < all.size(); ++r)
      for (std::size_t i = 0; i < result.size(); ++i)
        result[i] = join(result[i],
                         static_cast<const T*>(all[r])[part.begin + static_cast<std::int64_t>(i)]);
    meeting_.wait();
    return result;
  }
  std::vector<float> sum_of(const float* block, Range part, Wire wire) {
    const bool half = wire == Wire::fp16;
    return combine<float>(block, part, [half](float a, float b) {
      return half ? eleven_bits(eleven_bits(a) + eleven_bits(b)) : a + b;
    });
  }
  template <class T>
  static void store(T* to, const std::vector<T>& values) {
    std::copy(values.begin(), values.end(), to);
  }
  // Rounded to a half's digits (Veltkamp's split); its range is a scale's to see to.
  static float eleven_bits(float value) {
    const float spread = value * 8193.0f;
    return spread - (spread - value);
  }

  Meeting& meeting_;
  int rank_;
};

/// Runs `body` on `size` ranks and returns what each threw, null where it threw nothing. parallel()
/// is serial meanwhile, and has as many threads as there are cores afterwards.
inline std::vector<std::exception_ptr> try_on_ranks(
    int size, const std::function<void(Communicator&)>& body) {
  set_threads(1);
  threads();
  Meeting meeting(size);
  std::vector<std::exception_ptr> thrown(static_cast<std::size_t>(size));
  {
    std::vector<std::jthread> ranks;
    for (int rank = 0; rank < size; ++rank)
      ranks.emplace_back([&, rank] {
        ThreadRank communicator(meeting, rank);
        try {
          body(communicator);
        } catch (...) {
          thrown[static_cast<std::size_t>(rank)] = std::current_exception();
        }
        meeting.leave(rank);
      });
  }
  set_threads(0);
  return thrown;
}

/// The same, but throws what the lowest rank that threw did.
inline void on_ranks(int size, const std::function<void(Communicator&)>& body) {
  for (const std::exception_ptr& thrown : try_on_ranks(size, body))
    if (thrown) std::rethrow_exception(thrown);
}

/// What each of `size` ranks says when it throws an `Exception`; empty where it throws nothing.
template <class Exception>
std::vector<std::string> messages_on_ranks(int size,
                                           const std::function<void(Communicator&)>& body) {
  std::vector<std::string> messages;
  for (const std::exception_ptr& thrown : try_on_ranks(size, body)) {
    messages.emplace_back();
    if (!thrown) continue;
    try {
      std::rethrow_exception(thrown);
    } catch (const Exception& error) {
      messages.back() = error.what();
    }
  }
  return messages;
}

}  // namespace kanbench::test

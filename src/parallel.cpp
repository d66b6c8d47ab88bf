#include "kanbench/parallel.h"

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "kanbench/error.h"
#include "kanbench/math/platform.h"

namespace kanbench {
namespace {

thread_local bool inside_task = false;

// Workers spin for a while between jobs, since a training step comes back within microseconds,
// and sleep after that.
class Pool {
 public:
  explicit Pool(int count) {
    try {
      for (int i = 1; i < count; ++i) workers_.emplace_back([this] { work(); });
    } catch (const std::system_error& failure) {
      const std::string started = std::to_string(workers_.size() + 1);
      stop();
      throw SystemError("cannot start " + std::to_string(count) + " threads: after " + started +
                        ": " + failure.code().message() + "; use fewer --threads");
    }
  }
  ~Pool() { stop(); }
  int count() const { return static_cast<int>(workers_.size()) + 1; }

  void run(std::int64_t tasks, const std::function<void(std::int64_t)>& task) {
    task_ = &task;
    tasks_ = tasks;
    next_ = 0;
    busy_ = static_cast<int>(workers_.size());
    ++job_;
    job_.notify_all();
    take();
    for (int spin = 0; busy_ != 0; ++spin) pause(spin);
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  static constexpr int kSpins = 20000;

  void stop() {
    stop_ = true;
    ++job_;
    job_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void work() {
    int seen = 0;
    for (;;) {
      for (int spin = 0; job_ == seen && spin < kSpins; ++spin) pause(spin);
      job_.wait(seen);
      seen = job_;
      if (stop_) return;
      take();
      --busy_;
    }
  }

  void take() {
    inside_task = true;
    for (std::int64_t i = next_++; i < tasks_; i = next_++) {
      try {
        (*task_)(i);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::current_exception();
      }
    }
    inside_task = false;
  }

  static void pause(int spin) {
    if (spin % 1024 == 1023) std::this_thread::yield();
    pause_processor();
  }

  std::vector<std::thread> workers_;
  std::atomic<int> job_{0}, busy_{0};
  std::atomic<bool> stop_{false};
  std::atomic<std::int64_t> next_{0};
  std::int64_t tasks_ = 0;
  const std::function<void(std::int64_t)>* task_ = nullptr;
  std::mutex mutex_;
  std::exception_ptr failure_;
};

int wanted = 0;
std::unique_ptr<Pool> pool;

}  // namespace

void set_threads(int count) {
  wanted = count;
  pool.reset();
}

int threads() {
  if (!pool) {
    const int cores = static_cast<int>(std::thread::hardware_concurrency());
    pool = std::make_unique<Pool>(wanted > 0 ? wanted : cores > 0 ? cores : 1);
  }
  return pool->count();
}

void parallel(std::int64_t tasks, const std::function<void(std::int64_t)>& task) {
  if (inside_task || tasks <= 1 || threads() == 1) {
    for (std::int64_t i = 0; i < tasks; ++i) task(i);
    return;
  }
  pool->run(tasks, task);
}

}  // namespace kanbench

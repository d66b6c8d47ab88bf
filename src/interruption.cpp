#include "kanbench/interruption.h"

#include <signal.h>

#include <atomic>

namespace kanbench {
namespace {

std::atomic<bool> wished{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may not wait for a lock");

extern "C" void wish_from_signal(int) { wished.store(true, std::memory_order_relaxed); }

}  // namespace

void catch_interruption() {
  struct sigaction action {};
  action.sa_handler = wish_from_signal;
  // What a thread waits for in the system goes on, rather than fail with EINTR.
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGUSR1, &action, nullptr);
}

bool interruption_wished() { return wished.load(std::memory_order_relaxed); }

void wish_interruption(bool wish) { wished.store(wish, std::memory_order_relaxed); }

}  // namespace kanbench

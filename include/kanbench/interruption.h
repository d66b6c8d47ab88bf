#pragma once
// A wish to stop soon, from SIGTERM or SIGUSR1, which schedulers send before they kill.

#include <stdexcept>

namespace kanbench {

/// What ends a command that was asked to stop; its message says what was kept and how to go on.
class Interrupted : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// From now on both signals set the wish instead of ending the process.
void catch_interruption();
/// Whether to stop at the next place where nothing is lost.
bool interruption_wished();
/// Sets or takes back the wish, as a signal does.
void wish_interruption(bool wished = true);

}  // namespace kanbench

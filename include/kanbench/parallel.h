#pragma once
// The process's threads. Work is cut into numbered tasks whose results do not depend on who runs
// them, so that any thread count gives the same bits.

#include <cstdint>
#include <functional>

namespace kanbench {

/// Uses `count` threads from now on; 0 means one per available core. Not to be called from a task.
void set_threads(int count);
/// Threads in use.
int threads();

/// Runs task(0) ... task(tasks - 1), each once, and returns when all are done. The first exception
/// is rethrown. Within a task it runs serially.
void parallel(std::int64_t tasks, const std::function<void(std::int64_t)>& task);

}  // namespace kanbench

#pragma once
// Work in the order of its streams.

#include <functional>

#include "cuda_runtime.h"

namespace emulator {

/// Work for `stream`: recorded while it is captured, done at once, or later in a lazy device.
cudaError_t enqueue(cudaStream_t stream, std::function<void()> work);
/// Calls `begin` in its turn; what was asked of `stream` after it goes on when `done`, which other
/// threads bring about.
cudaError_t enqueue_outside(cudaStream_t stream, std::function<void()> begin,
                            std::function<bool()> done);
/// Does all that was asked of `stream`, and as much of others as the schedule has it.
void finish(cudaStream_t stream);
void finish_all();
/// Forgets all work under way.
void drop_all();
/// cudaSuccess, or how a call is refused that waits while a capture is under way; it spoils that.
cudaError_t refuse_while_capturing();
bool is_capturing(cudaStream_t stream);

}  // namespace emulator

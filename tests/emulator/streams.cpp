// Streams, events, captures and graphs. Work is done when it is asked for, or, on a lazy device,
// when something waits, streams then taking turns as the schedule draws them.

#include "streams.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "graphs.h"
#include "state.h"

namespace emulator {

/// What is left of an event when its handle is gone and a stream still waits for it.
struct Occurrence {
  std::uint64_t asked = 0, happened = 0;
  std::chrono::steady_clock::time_point time;
};

struct Operation {
  std::function<void()> work;
  /// Not before `awaited` has happened for the `ticket`th time.
  std::shared_ptr<Occurrence> awaited;
  std::uint64_t ticket = 0;
  /// Not before other threads have done something.
  std::function<bool()> done = nullptr;
  bool ready() const { return (!awaited || awaited->happened >= ticket) && (!done || done()); }
};

struct Capture {
  cudaStream_t origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  bool spoiled = false;
  std::vector<std::function<void()>> work;
  /// Streams drawn in by events whose last work the origin does not wait for.
  std::set<cudaStream_t> loose;
};

}  // namespace emulator

using namespace emulator;

struct CUstream_st {
  bool blocking = true;
  std::deque<Operation> queue;
  std::shared_ptr<Capture> capture;
};
struct CUevent_st {
  std::shared_ptr<Occurrence> occurrence = std::make_shared<Occurrence>();
  bool timed = true;
  /// Where it was last recorded, if while capturing.
  std::shared_ptr<Capture> capture;
  cudaStream_t stream = nullptr;
};
namespace emulator {
namespace {

std::vector<cudaStream_t>& streams() {
  static std::vector<cudaStream_t> all;
  return all;
}

bool known(cudaStream_t stream) {
  return !stream || std::find(streams().begin(), streams().end(), stream) != streams().end();
}

void run_first(cudaStream_t stream) {
  const Operation operation = std::move(stream->queue.front());
  stream->queue.pop_front();
  if (operation.work) operation.work();
}

// One piece of work of any stream; false where there is none that could be done.
bool run_any() {
  std::vector<cudaStream_t> able;
  for (cudaStream_t stream : streams())
    if (!stream->queue.empty() && stream->queue.front().ready()) able.push_back(stream);
  if (able.empty()) return false;
  run_first(able[state().streams.below(able.size())]);
  return true;
}

// As run_any(), but waits for other threads where only they keep a stream from going on.
bool go_on() {
  if (run_any()) return true;
  const bool outside = std::any_of(streams().begin(), streams().end(), [](cudaStream_t stream) {
    return !stream->queue.empty() && stream->queue.front().done;
  });
  if (outside) std::this_thread::sleep_for(std::chrono::microseconds(50));
  return outside;
}

void finish_blocking() {
  for (cudaStream_t stream : streams())
    while (stream->blocking && !stream->queue.empty() && go_on()) {
    }
}

void mark(const std::shared_ptr<Occurrence>& occurrence, std::uint64_t ticket) {
  occurrence->happened = std::max(occurrence->happened, ticket);
  occurrence->time = std::chrono::steady_clock::now();
}

cudaError_t submit(cudaStream_t stream, Operation operation) {
  if (stream && stream->capture) {
    Capture& capture = *stream->capture;
    if (capture.spoiled) return answer(cudaErrorStreamCaptureInvalidated);
    if (operation.work) capture.work.push_back(std::move(operation.work));
    if (stream != capture.origin) capture.loose.insert(stream);
    return cudaSuccess;
  }
  if (!stream) {
    for (cudaStream_t other : streams()) {
      if (!other->blocking || !other->capture) continue;
      other->capture->spoiled = true;
      return answer(cudaErrorStreamCaptureImplicit);
    }
    finish_blocking();
    while (!operation.ready() && go_on()) {
    }
    if (operation.work) operation.work();
  } else if (state().lazy || !stream->queue.empty() || !operation.ready()) {
    stream->queue.push_back(std::move(operation));
  } else if (operation.work) {
    operation.work();
  }
  return cudaSuccess;
}

cudaError_t create(cudaStream_t* stream, unsigned flags) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  *stream = new CUstream_st;
  (*stream)->blocking = !(flags & cudaStreamNonBlocking);
  streams().push_back(*stream);
  return cudaSuccess;
}

}  // namespace

cudaError_t enqueue(cudaStream_t stream, std::function<void()> work) {
  if (!known(stream)) return answer(cudaErrorInvalidResourceHandle);
  return submit(stream, {std::move(work), nullptr, 0});
}
cudaError_t enqueue_outside(cudaStream_t stream, std::function<void()> begin,
                            std::function<bool()> done) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (!known(stream)) return answer(cudaErrorInvalidResourceHandle);
  if (is_capturing(stream)) return answer(cudaErrorStreamCaptureUnsupported);
  submit(stream, {std::move(begin), nullptr, 0});
  return submit(stream, {nullptr, nullptr, 0, std::move(done)});
}

void finish(cudaStream_t stream) {
  if (!stream) return finish_blocking();
  while (!stream->queue.empty() && go_on()) {
  }
}
void finish_all() {
  while (go_on()) {
  }
}
void drop_all() {
  for (cudaStream_t stream : streams()) {
    stream->queue.clear();
    stream->capture = nullptr;
  }
}

cudaError_t refuse_while_capturing() {
  for (cudaStream_t stream : streams()) {
    if (!stream->capture || stream->capture->mode == cudaStreamCaptureModeRelaxed) continue;
    stream->capture->spoiled = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  return cudaSuccess;
}
bool is_capturing(cudaStream_t stream) { return stream && stream->capture; }

}  // namespace emulator

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return create(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return create(stream, flags);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return create(stream, flags);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Call call(Call::does_not_throw);
  if (!stream || !known(stream)) return answer(cudaErrorInvalidResourceHandle);
  postpone_faults([&] { finish(stream); });
  std::erase(streams(), stream);
  delete stream;
  return call.error;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (!known(stream)) return answer(cudaErrorInvalidResourceHandle);
  if (is_capturing(stream)) {
    stream->capture->spoiled = true;
    return answer(cudaErrorStreamCaptureUnsupported);
  }
  finish(stream);
  check_guards();
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  const cudaError_t refused = refuse_while_capturing();
  if (refused != cudaSuccess) return answer(refused);
  finish_all();
  check_guards();
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  run_any();
  return !stream || stream->queue.empty() ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  return enqueue(stream, [=] { function(data); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  *event = new CUevent_st;
  (*event)->timed = !(flags & cudaEventDisableTiming);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Call call(Call::does_not_throw);
  delete event;
  return call.error;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (!known(stream)) return answer(cudaErrorInvalidResourceHandle);
  event->stream = stream;
  event->capture = stream ? stream->capture : nullptr;
  if (event->capture) return cudaSuccess;
  const std::uint64_t ticket = ++event->occurrence->asked;
  return submit(stream, {[kept = event->occurrence, ticket] { mark(kept, ticket); }, nullptr, 0});
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (!known(stream)) return answer(cudaErrorInvalidResourceHandle);
  if (event->capture) {
    if (!stream || (stream->capture && stream->capture != event->capture))
      return answer(cudaErrorStreamCaptureIsolation);
    stream->capture = event->capture;
    if (stream == event->capture->origin)
      event->capture->loose.erase(event->stream);
    else
      event->capture->loose.insert(stream);
    return cudaSuccess;
  }
  if (is_capturing(stream)) return answer(cudaErrorStreamCaptureIsolation);
  return submit(stream, {nullptr, event->occurrence, event->occurrence->asked});
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (event->capture) {
    event->capture->spoiled = true;
    return answer(cudaErrorCapturedEvent);
  }
  while (event->occurrence->happened < event->occurrence->asked && go_on()) {
  }
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  run_any();
  return event->occurrence->happened < event->occurrence->asked ? cudaErrorNotReady : cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  const Occurrence &from = *start->occurrence, &to = *end->occurrence;
  if (!start->timed || !end->timed || from.asked == 0 || to.asked == 0)
    return answer(cudaErrorInvalidResourceHandle);
  if (from.happened < from.asked || to.happened < to.asked) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(to.time - from.time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (!stream) return answer(cudaErrorStreamCaptureUnsupported);
  if (stream->capture) return answer(cudaErrorStreamCaptureInvalidated);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream;
  stream->capture->mode = mode;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Call call;
  if (graph) *graph = nullptr;
  if (!stream || !stream->capture || stream->capture->origin != stream)
    return answer(cudaErrorStreamCaptureUnmatched);
  const std::shared_ptr<Capture> capture = stream->capture;
  for (cudaStream_t other : streams())
    if (other->capture == capture) other->capture = nullptr;
  if (call.error != cudaSuccess) return call.error;
  if (capture->spoiled) return answer(cudaErrorStreamCaptureInvalidated);
  if (!capture->loose.empty()) return answer(cudaErrorStreamCaptureUnjoined);
  *graph = new CUgraph_st{capture->work};
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  *status = !is_capturing(stream)      ? cudaStreamCaptureStatusNone
            : stream->capture->spoiled ? cudaStreamCaptureStatusInvalidated
                                       : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

// Runs the threads of a launch. Threads that need not wait run one after the other on one stack;
// one that waits keeps its stack, and the next goes on with another. Who is next is drawn: a warp
// runs as far as it can, its lanes in an order drawn anew each time they meet, then any other warp.

#include "grid.h"

#include <algorithm>
#include <exception>
#include <numeric>

#include "allocations.h"
#include "fiber.h"

namespace emulator {
namespace {

constexpr std::uint32_t kAll = 0xffffffffu;

struct Run {
  const std::function<void()>* body = nullptr;
  Random random{0};
  std::vector<Block> blocks;
  std::vector<Warp> warps;
  /// Warps with lanes that could run, the running one aside.
  std::vector<Warp*> queue;
  Warp* running = nullptr;
  std::exception_ptr fault;
};

Run run;

void begin_round(Warp& warp) {
  const std::uint64_t drawn = run.random.next();
  warp.start = static_cast<unsigned>(drawn) & 31u;
  warp.stride = (static_cast<unsigned>(drawn >> 8) & 31u) | 1u;
  warp.position = 0;
}

// One round of meeting ends: the lanes may go on.
void complete(Warp& warp) {
  warp.collective->compute(warp.in, warp.out);
  warp.ready = std::exchange(warp.meeting, 0u);
  warp.collective = nullptr;
  begin_round(warp);
  // Now and then others overtake.
  if (run.queue.empty() || (run.random.next() >> 40) % 8) return;
  run.queue.push_back(&warp);
  if (run.running == &warp) run.running = nullptr;
}

// True if the lanes of `warp` go on without those that ended.
bool settle(Warp& warp) {
  if (!warp.meeting) return false;
  if (!warp.collective->without_ended || (warp.meeting | warp.ended) != kAll) return false;
  complete(warp);
  return true;
}

Thread* next_of(Warp& warp) {
  while (warp.ready && warp.position < 32) {
    const unsigned lane = (warp.start + warp.stride * warp.position++) & 31u;
    if (!(warp.ready >> lane & 1u)) continue;
    warp.ready &= ~(1u << lane);
    return &warp.threads[lane];
  }
  return nullptr;
}

// The thread that runs next, null where none can.
Thread* next_thread() {
  for (;;) {
    if (Warp* warp = run.running) {
      if (Thread* thread = next_of(*warp)) return thread;
      if (settle(*warp)) continue;
      run.running = nullptr;
    }
    if (run.queue.empty()) return nullptr;
    auto& drawn = run.queue[run.random.below(run.queue.size())];
    run.running = std::exchange(drawn, run.queue.back());
    run.queue.pop_back();
    begin_round(*run.running);
  }
}

void run_threads();

Stack& stack_of(Thread* thread) {
  if (!thread) return main_stack();
  if (!thread->stack) thread->stack = take_stack(run_threads);
  current = thread;
  return *thread->stack;
}

void wait() {
  Thread* self = current;
  Thread* next = next_thread();
  if (next == self) return;
  switch_stack(*self->stack, stack_of(next));
}

void end_thread(Thread& thread) {
  copy_async_wait();
  thread.warp->ended |= 1u << thread.lane;
  ++thread.block->ended;
  thread.stack = nullptr;
}

// What runs on each stack: threads, until one has to be continued that already has a stack.
void run_threads() {
  arrive();
  for (;;) {
    Stack* const stack = current->stack;
    try {
      (*run.body)();
      end_thread(*current);
    } catch (...) {
      run.fault = std::current_exception();
    }
    Thread* next = run.fault ? nullptr : next_thread();
    if (next && !next->stack) {
      next->stack = stack;
      current = next;
      continue;
    }
    if (run.fault) current->stack = nullptr;
    give_back(stack);
    leave_stack(stack_of(next));
  }
}

void begin_block(std::size_t place, dim3 index, dim3 grid, dim3 size, SharedMemory& shared) {
  Block& block = run.blocks[place];
  block = {};
  block.index = index;
  block.grid = grid;
  block.size = size;
  block.threads = size.x * size.y * size.z;
  block.shared = shared.fill();
  block.shared_bytes = shared.bytes();
  const unsigned warps = block.threads / 32;
  for (unsigned w = 0; w < warps; ++w) {
    Warp& warp = run.warps[place * warps + w];
    warp.ready = kAll;
    warp.meeting = warp.at_barrier = warp.ended = 0;
    for (unsigned lane = 0; lane < 32; ++lane) {
      const unsigned t = w * 32 + lane;
      Thread& thread = warp.threads[lane];
      thread.index = {t % size.x, t / size.x % size.y, t / (size.x * size.y)};
      thread.lane = static_cast<int>(lane);
      thread.warp = &warp;
      thread.block = &block;
      thread.stack = nullptr;
      thread.copies.clear();
    }
    run.queue.push_back(&warp);
  }
}

// "lanes 3, 5-7"
std::string listed(std::uint32_t lanes) {
  std::string text;
  for (int first = 0; first < 32; ++first) {
    if (!(lanes >> first & 1u)) continue;
    int last = first;
    while (last < 31 && (lanes >> (last + 1) & 1u)) ++last;
    text += (text.empty() ? "" : ", ") + std::to_string(first);
    if (last > first) text += "-" + std::to_string(last);
    first = last;
  }
  return text;
}

std::string place_of(const Block& block) {
  return "block (" + std::to_string(block.index.x) + "," + std::to_string(block.index.y) + "," +
         std::to_string(block.index.z) + ")";
}

// Why nobody can go on.
std::string stuck() {
  std::string text = "threads wait for others that never come:";
  int said = 0;
  for (const Block& block : run.blocks) {
    if (block.ended == block.threads) continue;
    text += " " + place_of(block);
    for (const Warp& warp : run.warps) {
      if (warp.threads[0].block != &block || ++said > 4) continue;
      text += ", warp " +
              std::to_string(&warp - run.warps.data() -
                             (&block - run.blocks.data()) * (block.threads / 32)) +
              ":";
      if (warp.meeting)
        text += " lanes " + listed(warp.meeting) + " at " + warp.collective->name + ";";
      if (warp.at_barrier) text += " lanes " + listed(warp.at_barrier) + " at a barrier;";
      if (warp.ended) text += " lanes " + listed(warp.ended) + " have ended;";
    }
  }
  return text;
}

void run_blocks() {
  if (Thread* first = next_thread()) switch_stack(main_stack(), stack_of(first));
  current = nullptr;
  const bool ended = std::all_of(run.blocks.begin(), run.blocks.end(),
                                 [](const Block& b) { return b.ended == b.threads; });
  if (!run.fault && !ended) run.fault = std::make_exception_ptr(Fault(stuck()));
  if (!run.fault) return;
  for (Warp& warp : run.warps)
    for (Thread& thread : warp.threads)
      if (thread.stack) give_back(std::exchange(thread.stack, nullptr));
  run.queue.clear();
  run.running = nullptr;
  std::rethrow_exception(std::exchange(run.fault, nullptr));
}

}  // namespace

void fail(const std::string& what) {
  const Thread& t = *current;
  throw Fault(place_of(*t.block) + ", thread (" + std::to_string(t.index.x) + "," +
              std::to_string(t.index.y) + "," + std::to_string(t.index.z) + "): " + what);
}

void meet(const Collective& what, const void* in, void* out) {
  Warp& warp = *current->warp;
  const std::uint32_t bit = 1u << current->lane;
  if (warp.collective && warp.collective != &what)
    fail("at " + std::string(what.name) + " while lanes " + listed(warp.meeting) + " are at " +
         warp.collective->name);
  warp.collective = &what;
  warp.in[current->lane] = in;
  warp.out[current->lane] = out;
  warp.meeting |= bit;
  if (warp.meeting == kAll) complete(warp);
  wait();
}

bool barrier_or(bool vote) {
  Block& block = *current->block;
  block.votes |= vote;
  current->warp->at_barrier |= 1u << current->lane;
  if (++block.waiting == block.threads) {
    block.waiting = 0;
    block.result = std::exchange(block.votes, false);
    for (Warp& warp : run.warps) {
      if (warp.threads[0].block != &block) continue;
      warp.ready = std::exchange(warp.at_barrier, 0u);
      run.queue.push_back(&warp);
    }
    run.running = nullptr;
  }
  wait();
  return block.result;
}
void barrier() { barrier_or(false); }

bool draw(unsigned one_in) { return run.random.below(one_in) == 0; }

void run_grid(dim3 grid, dim3 size, std::size_t shared_bytes, const std::function<void()>& body) {
  const std::uint64_t count = std::uint64_t{grid.x} * grid.y * grid.z;
  run.body = &body;
  run.random = next_random();
  // Blocks alone or in pairs, in an order drawn: every `stride`th, around and around.
  const std::size_t together =
      static_cast<std::size_t>(std::min<std::uint64_t>(count, 1 + run.random.below(2)));
  std::uint64_t stride = 1 + run.random.below(count), at = run.random.below(count);
  while (std::gcd(stride, count) != 1) ++stride;
  const std::size_t warps = std::size_t{size.x} * size.y * size.z / 32;
  std::vector<SharedMemory> shared;
  for (std::size_t i = 0; i < together; ++i) shared.emplace_back(shared_bytes);
  for (std::uint64_t begun = 0; begun < count;) {
    run.blocks.resize(std::min<std::uint64_t>(together, count - begun));
    run.warps.resize(run.blocks.size() * warps);
    for (std::size_t i = 0; i < run.blocks.size(); ++i, ++begun) {
      begin_block(i, dim3(at % grid.x, at / grid.x % grid.y, at / (std::uint64_t{grid.x} * grid.y)),
                  grid, size, shared[i]);
      at = (at + stride) % count;
    }
    run_blocks();
    for (std::size_t i = 0; i < run.blocks.size(); ++i)
      if (!shared[i].intact())
        throw Fault(place_of(run.blocks[i]) + ": wrote outside its " +
                    std::to_string(shared_bytes) + " bytes of shared memory");
  }
}

}  // namespace emulator

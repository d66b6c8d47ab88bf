// Fibers: a dozen instructions on x86-64, ucontext elsewhere.

#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <deque>
#include <new>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define KB_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define KB_ADDRESS_SANITIZER 1
#endif
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulator {
namespace {

constexpr std::size_t kStackBytes = 256 << 10, kPage = 4096;

std::vector<Stack*>& free_stacks() {
  static auto& stacks = *new std::vector<Stack*>;
  return stacks;
}

// Beneath each stack lies a page that may not be touched.
Stack* new_stack() {
  void* memory = mmap(nullptr, kPage + kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kPage, PROT_NONE) != 0) throw std::bad_alloc();
  // Kept for as long as the program runs.
  static auto& all = *new std::deque<Stack>;
  Stack* stack = &all.emplace_back();
  stack->bottom = static_cast<char*>(memory) + kPage;
  // Tops at different places of a page, else all would want the same lines of the cache.
  static std::size_t made = 0;
  stack->bytes = kStackBytes - made++ * 1088 % 16384 / 64 * 64;
  return stack;
}

#if defined(KB_ADDRESS_SANITIZER)
void announce(Stack* from, const Stack& to) {
  __sanitizer_start_switch_fiber(from ? &from->fake : nullptr, to.bottom, to.bytes);
}
void announce_arrival(Stack* at) {
  const void* bottom = nullptr;
  std::size_t bytes = 0;
  __sanitizer_finish_switch_fiber(at ? at->fake : nullptr, &bottom, &bytes);
  // The main stack is the first to be left, and only here does one learn where it lies.
  if (!main_stack().bottom) {
    main_stack().bottom = static_cast<char*>(const_cast<void*>(bottom));
    main_stack().bytes = bytes;
  }
}
void clean(Stack& stack) { __asan_unpoison_memory_region(stack.bottom, stack.bytes); }
#else
void announce(Stack*, const Stack&) {}
void announce_arrival(Stack*) {}
void clean(Stack&) {}
#endif

}  // namespace

#if defined(__x86_64__)

extern "C" void kanbench_switch_stack(void** save, void* to);
asm(R"(
.text
.globl kanbench_switch_stack
.hidden kanbench_switch_stack
.type kanbench_switch_stack, @function
kanbench_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size kanbench_switch_stack, .-kanbench_switch_stack
)");

namespace {

void prepare(Stack& stack, void (*entry)()) {
  const auto top =
      reinterpret_cast<std::uintptr_t>(stack.bottom + stack.bytes) & ~std::uintptr_t{15};
  // From the top down: where `entry` would return to, `entry`, six registers.
  auto* slots = reinterpret_cast<void**>(top) - 8;
  for (int i = 0; i < 8; ++i) slots[i] = nullptr;
  slots[6] = reinterpret_cast<void*>(entry);
  stack.context = slots;
}
void go(void** save, void* to) { kanbench_switch_stack(save, to); }

}  // namespace

#else

namespace {

void prepare(Stack& stack, void (*entry)()) {
  auto* context = new (stack.bottom) ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = stack.bottom + sizeof(ucontext_t);
  context->uc_stack.ss_size = stack.bytes - sizeof(ucontext_t);
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  stack.context = context;
}
void go(void** save, void* to) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, static_cast<ucontext_t*>(to));
}

}  // namespace

#endif

Stack& main_stack() {
  static Stack stack;
  return stack;
}

Stack* take_stack(void (*entry)()) {
  auto& free = free_stacks();
  if (free.empty()) free.push_back(new_stack());
  Stack* stack = free.back();
  free.pop_back();
  clean(*stack);
  stack->fake = nullptr;
  prepare(*stack, entry);
  return stack;
}

void give_back(Stack* stack) { free_stacks().push_back(stack); }

void switch_stack(Stack& from, Stack& to) {
  announce(&from, to);
  go(&from.context, to.context);
  announce_arrival(&from);
}

void leave_stack(Stack& to) {
  // Not on the stack, of which the announcement leaves nothing.
  static void* nowhere = nullptr;
  announce(nullptr, to);
  go(&nowhere, to.context);
  __builtin_unreachable();
}

void arrive() { announce_arrival(nullptr); }

}  // namespace emulator

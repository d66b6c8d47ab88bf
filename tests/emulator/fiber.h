#pragma once
// Stacks, and going from one to another within a thread of the machine.

#include <cstddef>

namespace emulator {

/// A stack and, while nobody runs on it, where it was left.
struct Stack {
  void* context = nullptr;
  char* bottom = nullptr;
  std::size_t bytes = 0;
  /// AddressSanitizer's.
  void* fake = nullptr;
};

/// A stack on which `entry` begins when switched to; from those given back, if any is left.
Stack* take_stack(void (*entry)());
/// Its content is lost, but not before the next switch.
void give_back(Stack* stack);

/// The stack of whoever runs no fiber.
Stack& main_stack();

/// Leaves `from` for `to`; returns when something switches back to `from`.
void switch_stack(Stack& from, Stack& to);
/// Leaves a stack for good.
[[noreturn]] void leave_stack(Stack& to);
/// To be called first on a new stack.
void arrive();

}  // namespace emulator

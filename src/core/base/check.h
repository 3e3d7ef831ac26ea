// CHECK: an invariant of our own. When it does not hold the kernel is broken and stops, with the reason.
#pragma once

namespace umk {

/// Prints `message` with its place, registers and backtrace, and ends the machine. Defined by the engine in the kernel
/// image and by `hosted_panic.cpp` in hosted builds.
[[noreturn]] void panic(const char* message, const char* file = __builtin_FILE(), int line = __builtin_LINE());

}  // namespace umk

/// Stops the kernel unless `condition` holds. `reason` says why it must.
#define CHECK(condition, reason)                                          \
  do {                                                                    \
    if (!(condition)) [[unlikely]]                                        \
      ::umk::panic("CHECK(" #condition "): " reason, __FILE__, __LINE__); \
  } while (0)

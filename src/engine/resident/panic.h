// Panic: the kernel found itself broken. Prints reason, task, registers and backtrace, and has the monitor end the machine.
#pragma once

namespace umk::engine {

/// A panic out of a host signal handler; `context` is the host's ucontext_t of the place that faulted.
[[noreturn]] void panic_with_registers(const char* reason, void* context);

}  // namespace umk::engine

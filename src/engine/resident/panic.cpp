#include "engine/resident/panic.h"

#include <ucontext.h>

#include "core/base/check.h"
#include "core/base/text.h"
#include "core/host/calls.h"
#include "core/kernel/task/task.h"
#include "engine/vessel/host_numbers.h"
#include "engine/vessel/machine.h"

namespace umk {

namespace engine {
namespace {

/// Writes to the monitor's log descriptor, unbuffered: nothing may be lost, little may be relied on.
class PanicSink final : public TextSink {
 public:
  void put(std::string_view text) override {
    (void)host::write(machine().parameters.log_fd, std::span(reinterpret_cast<const std::byte*>(text.data()), text.size()));
  }
};

void print_backtrace(TextSink& sink, uint64_t rip, uint64_t rbp) {
  format(sink, "Backtrace (addr2line -Cfe vmumk ...):");
  for (int depth = 0; depth < 32; ++depth) {
    format(sink, " {:x}", rip);
    // Frames of this kernel stack only: a broken chain must not fault again. The alternate stack's handler has its chain end at 0.
    const bool is_on_some_bundle = rbp % 8 == 0 && rbp >= layout::kKernelData && rbp < layout::kKernelData + layout::kKernelDataBytes - 16;
    if (!is_on_some_bundle || (rbp & ~uint64_t{UMK_BUNDLE_BYTES - 1}) == 0) break;
    rip = reinterpret_cast<uint64_t*>(rbp)[1];
    rbp = reinterpret_cast<uint64_t*>(rbp)[0];
    if (rip < layout::kImage || rip >= layout::kImage + layout::kImageBytes) break;
  }
  sink.put("\n");
}

void print_head(TextSink& sink, const char* reason) {
  // Whatever the state of the selector was, host calls are needed now.
  // In one piece, since the log and the console write beside it.
  char line[512];
  BufferSink whole(line);
  format(whole, "\nKernel panic - not syncing: {}\n", reason);
  sink.put(whole.view());
  HostThread& host = current_host();
  const Context* running = host.current;
  if (running && running->head.task) {
    const Task& task = *running->head.task;
    format(sink, "Task: {} ({}), host thread {}\n", task.tid(), task.name, host.tid.load());
  } else {
    format(sink, "Task: none (kernel thread)\n");
  }
}

[[noreturn]] void stop_machine(const char* reason) {
  Machine& m = machine();
  for (size_t i = 0; i + 1 < sizeof m.status.panic_reason && reason[i] != '\0'; ++i) m.status.panic_reason[i] = reason[i];
  m.status.panicked = 1;
  const uint64_t one = 1;
  (void)host::write(m.parameters.wake_fd, std::as_bytes(std::span(&one, 1)));
  if (current_host().vessel == nullptr) host::raw_call(host::Call::ExitGroup, 134);
  for (;;) host::raw_call(host::Call::Pause);
}

}  // namespace

void panic_with_registers(const char* reason, void* context) {
  const auto& r = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  auto get = [&](int which) { return static_cast<uint64_t>(r[which]); };
  PanicSink sink;
  print_head(sink, reason);
  format(sink, "rip {:016x} rsp {:016x} eflags {:x} trap {} error {:x} address {:x}\n", get(REG_RIP), get(REG_RSP), get(REG_EFL), get(REG_TRAPNO),
         get(REG_ERR), get(REG_CR2));
  format(sink, "rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x} rsi {:016x} rdi {:016x}\n", get(REG_RAX), get(REG_RBX), get(REG_RCX), get(REG_RDX),
         get(REG_RSI), get(REG_RDI));
  format(sink, "rbp {:016x} r8 {:016x} r9 {:016x} r10 {:016x} r11 {:016x} r12 {:016x} r13 {:016x} r14 {:016x} r15 {:016x}\n", get(REG_RBP), get(REG_R8),
         get(REG_R9), get(REG_R10), get(REG_R11), get(REG_R12), get(REG_R13), get(REG_R14), get(REG_R15));
  print_backtrace(sink, get(REG_RIP), get(REG_RBP));
  stop_machine(reason);
}

}  // namespace engine

void panic(const char* message, const char* file, int line) {
  engine::PanicSink sink;
  engine::print_head(sink, message);
  format(sink, "at {}:{}\n", file, line);
  engine::print_backtrace(sink, reinterpret_cast<uint64_t>(__builtin_return_address(0)), reinterpret_cast<uint64_t>(__builtin_frame_address(0)));
  engine::stop_machine(message);
}

}  // namespace umk

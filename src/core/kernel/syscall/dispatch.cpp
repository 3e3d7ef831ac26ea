#include "core/kernel/syscall/dispatch.h"

#include "core/base/log.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/task/signal_delivery.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/time/log_limit.h"

namespace umk {

namespace {
// Of intruders: a program can start any number of them.
constinit LogLimit log_limit;
}  // namespace

namespace {

constexpr uint64_t kNoCall = ~uint64_t{0};

void resolve_fault(Task& task, const Trap& trap) {
  constexpr uint8_t kPageFault = 14;
  if (trap.vector != kPageFault) {
    deliver_fault(task, trap);
    return;
  }
  bool is_mapped = false;
  const Result<void> resolved =
      task.address_space().handle_fault(trap.address, trap.error_code, &is_mapped, task.process().limits.soft(Resource::Stack));
  if (resolved.ok()) return;
  const int code = resolved.failure().code;
  // A wait for the page was interrupted: the guest tries again after the signal.
  if (code == EINTR || asks_for_restart(-code)) return;
  deliver_fault(task, trap, is_mapped, code == EIO || code == ENOMEM);
}

/// The guest tried to get past the shield: whatever it was up to, its process ends.
void end_intruder(Task& task, const Trap& trap) {
  log_limited(log_limit, "shield", LogLevel::Error, "shield: killed process {} ({}), which jumped into the kernel at {:x}", task.process().pid(), task.name, trap.address);
  (void)send_signal(task.process(), SignalInfo::from_kernel(signals::kKill));
}

}  // namespace

bool on_trap(Task& task, Registers& registers, const Trap& trap) {
  bool needs_full_exit = true;
  if (trap.kind == TrapKind::SystemCall) [[likely]] {
    const uint64_t number = registers.orig_rax;
    // Nobody else writes it, so this is a plain increment.
    task.calls.store(task.calls.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    const SyscallRow* row = number < kSyscallTableSize ? syscall_table()[number] : nullptr;
    int64_t result = -ENOSYS;
    if (row) [[likely]] {
      result = row->handler(task, registers);
    } else if (number < kSyscallTableSize) {
      task.kernel().counters.unimplemented[number].fetch_add(1, std::memory_order_relaxed);
    }
    registers.rax = static_cast<uint64_t>(result);
    // rt_sigreturn and exec leave no call behind: they set all registers.
    needs_full_exit = registers.orig_rax == kNoCall;
    if (asks_for_restart(result) && !needs_full_exit) [[unlikely]] {
      handle_pending_work(task, registers);
      return true;
    }
  } else if (trap.kind == TrapKind::Fault) {
    resolve_fault(task, trap);
  } else if (trap.kind == TrapKind::Violation) {
    end_intruder(task, trap);
  }
  if (task.stack().interrupts.load(std::memory_order_relaxed) != 0) [[unlikely]] {
    handle_pending_work(task, registers);
    return true;
  }
  return needs_full_exit;
}

}  // namespace umk

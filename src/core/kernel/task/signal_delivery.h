// Delivery: what a task does on its way to user mode when something is pending, and how signal frames look.
//
// A frame is exactly Linux's of x86-64 (sigaction(2), sigreturn(2)): return address, ucontext, siginfo, and above them the XSAVE image with its
// magic numbers. Nothing in it is trusted when it comes back.
#pragma once

#include "core/kernel/task/task.h"

namespace umk {

/// Called with no lock held before a task goes (back) to user mode: when its interrupts are not 0, and after each call that asks for a restart.
/// Ends the task if it was killed; stops; builds a frame for a handler; arranges restarts of interrupted calls. Afterwards
/// `registers` is what the guest continues with, all of them (full exit).
void handle_pending_work(Task& current, Registers& registers);

/// True for results by which a call asks for a restart (ERESTART*).
constexpr bool asks_for_restart(int64_t result) { return static_cast<uint64_t>(result + 516) <= 4; }

/// An exception in user mode becomes a signal: si_code and si_addr as Linux gives them. `trap` is not a page fault that was resolved.
/// `is_mapped` tells SEGV_ACCERR from SEGV_MAPERR; `is_beyond_file` asks for SIGBUS.
void deliver_fault(Task& current, const Trap& trap, bool is_mapped = false, bool is_beyond_file = false);

/// Builds the frame for `action` on the guest's stack and points `registers` at the handler. EFAULT: the stack is not usable.
Result<void> push_signal_frame(Task& current, Registers& registers, const SignalAction& action, const SignalInfo& info, SignalSet saved_mask);
/// rt_sigreturn(2): takes registers, mask and alternate stack from the frame at rsp - 8; a bad frame is SIGSEGV.
void restore_signal_frame(Task& current, Registers& registers);

/// struct stack_t of sigaltstack(2).
struct KernelSignalStack {
  uint64_t base;
  int32_t flags;
  int32_t padding;
  uint64_t size;
};
static_assert(sizeof(KernelSignalStack) == 24);
inline constexpr uint32_t kStackOnStack = 1, kStackDisable = 2, kStackAutoDisarm = uint32_t{1} << 31;
KernelSignalStack alternate_stack(const Task& current, uint64_t stack_pointer);
/// EPERM on the stack itself, EINVAL, ENOMEM when smaller than MINSIGSTKSZ.
Result<void> set_alternate_stack(Task& current, const KernelSignalStack& stack, uint64_t stack_pointer);
/// Bytes that a frame may need with this processor's vectors: AT_MINSIGSTKSZ.
size_t minimum_signal_stack(guest::Engine& engine);

}  // namespace umk

// Where guests arrive in C++: calls, interrupts, pending work. Called by gate.S on the task's kernel stack.
#include "core/kernel/task/syscall_dispatch.h"
#include "core/kernel/task/task.h"
#include "engine/resident/patching.h"
#include "engine/vessel/machine.h"

namespace umk::engine {

namespace {

Bundle& current_bundle() { return Bundle::of(current_stack()); }

}  // namespace

/// Serves a system call. Returns true when every register has to be restored, false when the fast exit will do.
extern "C" bool umk_enter_system_call(Registers* registers) {
  Bundle& bundle = current_bundle();
  Task& task = *bundle.head.task;
  const uint64_t rip = registers->rip;
  const uint64_t rsp = registers->rsp;
  if (const uint64_t site = std::exchange(bundle.trapped_site, 0)) [[unlikely]]
    note_trapped_call(task, site, registers->orig_rax);
  on_trap(task, *registers, Trap{TrapKind::SystemCall});
  // A handler was entered, a frame left, a program replaced: the call did not simply return.
  return registers->rip != rip || registers->rsp != rsp || bundle.guest_gs_in_use || (registers->eflags & (UMK_EFLAGS_AC | UMK_EFLAGS_TF));
}

extern "C" void umk_enter_interrupt(Registers* registers) {
  Bundle& bundle = current_bundle();
  const Trap trap = bundle.trap;
  on_trap(*bundle.head.task, *registers, trap);
}

extern "C" void umk_handle_pending(Registers* registers) { on_trap(*current_bundle().head.task, *registers, Trap{TrapKind::Kick}); }

}  // namespace umk::engine

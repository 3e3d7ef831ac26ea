// Where guests arrive in C++: calls, interrupts, pending work. Called by gate.S on the task's kernel stack.
#include "core/kernel/mm/address_space.h"
#include "core/kernel/syscall/dispatch.h"
#include "core/kernel/task/task.h"
#include "engine/resident/patching.h"
#include "engine/vessel/machine.h"

namespace umk::engine {

namespace {

/// Faults by which a thread that stands in a patched window announces itself; page faults of data, the common kind, are not among them.
bool is_code_fault(const Trap& trap) {
  constexpr uint8_t kPageFault = 14;
  return trap.kind == TrapKind::Fault && trap.vector != kPageFault;
}

Bundle& current_bundle() { return Bundle::of(current_stack()); }

}  // namespace

namespace {

/// For whoever finds the context without its host process: until `in_kernel` is set and after it is cleared the kernel holds nothing for the task.
void note_in_kernel(Bundle& bundle, bool in_kernel) { __atomic_store_n(&bundle.head.in_kernel, in_kernel, __ATOMIC_RELAXED); }

}  // namespace

/// Serves a system call. Returns true when every register has to be restored, false when the fast exit will do.
extern "C" bool umk_enter_system_call(Registers* registers) {
  Bundle& bundle = current_bundle();
  note_in_kernel(bundle, true);
  Task& task = *bundle.head.task;
  if (const uint64_t site = std::exchange(bundle.trapped_site, 0)) [[unlikely]]
    note_trapped_call(task, site, registers->orig_rax);
  if (std::exchange(bundle.trap_flag_was_set, false)) [[unlikely]]
    registers->eflags |= UMK_EFLAGS_TF;
  if (std::exchange(bundle.gs_was_found, false)) [[unlikely]]
    (void)task.address_space().leave_patched_text();  // short of memory its sites stay patched, and each call is begun again
  const bool all_matter = on_trap(task, *registers, Trap{TrapKind::SystemCall});
  note_in_kernel(bundle, false);
  return all_matter || bundle.guest_gs_in_use || (registers->eflags & UMK_EFLAGS_SPECIAL);
}

extern "C" void umk_enter_interrupt(Registers* registers) {
  Bundle& bundle = current_bundle();
  note_in_kernel(bundle, true);
  Task& task = *bundle.head.task;
  const Trap trap = bundle.trap;
  constexpr uint8_t kDebugTrap = 1;
  bool goes_on = false;
  if (trap.kind == TrapKind::Fault && trap.vector == kDebugTrap) {
    goes_on = !leave_trampoline_by_step(task, *registers);
  } else {
    goes_on = is_code_fault(trap) && resume_in_trampoline(task, *registers, trap);
    if (!goes_on) leave_trampoline(task, *registers);
  }
  if (!goes_on) on_trap(task, *registers, trap);
  note_in_kernel(bundle, false);
}

extern "C" void umk_handle_pending(Registers* registers) {
  Bundle& bundle = current_bundle();
  note_in_kernel(bundle, true);
  on_trap(*bundle.head.task, *registers, Trap{TrapKind::Kick});
  note_in_kernel(bundle, false);
}

}  // namespace umk::engine

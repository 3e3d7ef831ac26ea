#include "core/kernel/task/signal_delivery.h"

#include "core/kernel/guest/user_memory.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/exit.h"
#include "core/kernel/task/job_control.h"
#include "core/kernel/task/process_timers.h"
#include "core/kernel/task/signals.h"

namespace umk {

namespace {

constexpr uint64_t kNoCall = ~uint64_t{0};
constexpr uint64_t kRestartSyscallNumber = 219;
constexpr uint64_t kSyscallInstructionBytes = 2;

/// What a task has to do next before it may run guest code.
struct Next {
  enum class What { Run, Die, Stop, ReportContinue, MaybeStop, Handle } what;
  int status = 0;
  SignalInfo info;
  SignalAction action;
};

Next choose_next(Task& task) {
  Process& process = task.process();
  MutexLock lock(process.signal_mutex);
  // Without its memory there is nothing to go back to.
  if (task.address_space().is_lost.load(std::memory_order_relaxed)) [[unlikely]] start_group_exit_locked(process, exit_status_of_signal(signals::kKill));
  for (;;) {
    if (process.group_exiting) return {.what = Next::What::Die, .status = process.group_exit_status, .info = {}, .action = {}};
    if (process.exec_task && process.exec_task != &task) return {.what = Next::What::Die, .status = 0, .info = {}, .action = {}};
    if (process.continue_is_due) return {.what = Next::What::ReportContinue, .status = 0, .info = {}, .action = {}};
    if (process.is_stopped) return {.what = Next::What::Stop, .status = 0, .info = {}, .action = {}};

    std::optional<SignalInfo> taken = task.pending.take(task.blocked_);
    if (!taken) taken = process.pending.take(task.blocked_);
    if (!taken) {
      update_interrupts_locked(task);
      // Who was to die is on its way elsewhere: what is left of it is of an address space that exec has left.
      if (task.stack().interrupts.load(std::memory_order_relaxed) & sync::interrupt::kKill) [[unlikely]] task.stack().interrupts.fetch_and(~sync::interrupt::kKill);
      return {.what = Next::What::Run, .status = 0, .info = {}, .action = {}};
    }
    const int signal = taken->number;
    const SignalAction action = process.handlers->of(signal);
    if (action.is_ignored()) continue;
    if (!action.is_default()) {
      process.handlers->reset_after(signal, action);
      return {.what = Next::What::Handle, .status = 0, .info = *taken, .action = action};
    }
    if (process.is_unkillable) continue;
    switch (default_action(signal)) {
      case DefaultAction::Ignore:
      case DefaultAction::Continue:
        continue;
      case DefaultAction::Stop:
        process.stop_was_taken = true;
        if (signal != signals::kStop) return {.what = Next::What::MaybeStop, .status = signal, .info = {}, .action = {}};
        start_stop_locked(process, signal);
        continue;
      case DefaultAction::Terminate:
      case DefaultAction::Core:
        start_group_exit_locked(process, exit_status_of_signal(signal));
        continue;
    }
  }
}

/// A stop signal from a terminal has no effect on an orphaned group: nobody could continue it.
void stop_unless_orphaned(Task& task, int signal) {
  Process& process = task.process();
  MutexLock list(process.kernel().tasks.mutex);
  if (is_orphaned(*process.group)) return;
  MutexLock lock(process.signal_mutex);
  // SIGCONT may have come meanwhile.
  if (process.stop_was_taken && !process.group_exiting) start_stop_locked(process, signal);
}

/// Sets rip back to the syscall instruction with the call's number in rax.
void restart_call(Registers& registers, uint64_t number) {
  registers.rax = number;
  registers.rip -= kSyscallInstructionBytes;
}

/// An interrupted call before a handler runs: signal(7), "Interruption of system calls".
void settle_call_for_handler(Registers& registers, const SignalAction& action) {
  if (registers.orig_rax == kNoCall) return;
  switch (-static_cast<int64_t>(registers.rax)) {
    case ERESTARTNOHAND:
    case ERESTART_RESTARTBLOCK:
      registers.rax = static_cast<uint64_t>(-EINTR);
      break;
    case ERESTARTSYS:
      if (action.flags & action_flags::kRestart) restart_call(registers, registers.orig_rax);
      else registers.rax = static_cast<uint64_t>(-EINTR);
      break;
    case ERESTARTNOINTR:
      restart_call(registers, registers.orig_rax);
      break;
    default:
      break;
  }
  registers.orig_rax = kNoCall;
}

void settle_call_without_handler(Registers& registers) {
  if (registers.orig_rax == kNoCall) return;
  switch (-static_cast<int64_t>(registers.rax)) {
    case ERESTARTNOHAND:
    case ERESTARTSYS:
    case ERESTARTNOINTR:
      restart_call(registers, registers.orig_rax);
      break;
    case ERESTART_RESTARTBLOCK:
      restart_call(registers, kRestartSyscallNumber);
      break;
    default:
      break;
  }
  registers.orig_rax = kNoCall;
}

void run_handler(Task& task, Registers& registers, const SignalAction& action, const SignalInfo& info) {
  if (info.code == signal_codes::kTimer)
    if (ProcessTimers* timers = task.process().timers.load(std::memory_order_acquire))
      timers->note_signal_taken(info.timer.timer_id, info.timer.overrun);
  settle_call_for_handler(registers, action);
  const SignalSet saved = task.restore_blocked_ ? task.saved_blocked_ : task.blocked_;
  if (!push_signal_frame(task, registers, action, info, saved).ok()) {
    // sigaction(2): no room for the frame is SIGSEGV, and SIGSEGV's own handler cannot run then.
    if (info.number == signals::kSegv) {
      MutexLock lock(task.process().signal_mutex);
      start_group_exit_locked(task.process(), exit_status_of_signal(signals::kSegv));
      return;
    }
    force_signal(task, SignalInfo::from_kernel(signals::kSegv));
    return;
  }
  task.restore_blocked_ = false;
  SignalSet blocked = task.blocked_ | action.mask;
  if (!(action.flags & action_flags::kNoDefer)) blocked.add(info.number);
  set_blocked(task, blocked);
}

}  // namespace

namespace {

/// Work that was asked for by interrupt::kWork: all tasks are to be held, or CPU-time timers want to know what this thread has used.
void do_asked_work(Task& task) {
  if (!(task.stack().interrupts.load(std::memory_order_relaxed) & sync::interrupt::kWork)) return;
  task.stack().interrupts.fetch_and(~sync::interrupt::kWork);
  task.kernel().freezer.wait_here(task);
  (void)task.kernel().engine.usage(task);
  if (ProcessTimers* timers = task.process().timers.load(std::memory_order_acquire)) timers->check_cpu_timers();
}

}  // namespace

void handle_pending_work(Task& task, Registers& registers) {
  do_asked_work(task);
  if (task.set_child_tid != 0) {
    // clone(2), CLONE_CHILD_SETTID: the word is in the child's memory. A bad address is ignored, as Linux does.
    (void)UserPtr<int32_t>(std::exchange(task.set_child_tid, 0)).write(task.tid());
  }
  for (;;) {
    const Next next = choose_next(task);
    switch (next.what) {
      case Next::What::Die:
        exit_task(task, next.status);
      case Next::What::Stop:
        wait_while_stopped(task);
        break;
      case Next::What::ReportContinue:
        report_continue(task.process());
        break;
      case Next::What::MaybeStop:
        stop_unless_orphaned(task, next.status);
        break;
      case Next::What::Handle:
        run_handler(task, registers, next.action, next.info);
        break;
      case Next::What::Run:
        settle_call_without_handler(registers);
        restore_blocked(task);
        return;
    }
  }
}

}  // namespace umk

// Signals: actions, masks, sending, waiting. signal(7).
#include "core/abi/time.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/task/process_timers.h"
#include "core/kernel/task/signal_delivery.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/time/clocks.h"

namespace umk {

namespace {

Result<void> check_mask_size(size_t size) {
  if (size != sizeof(SignalSet)) return error(EINVAL);
  return {};
}

Result<void> sys_rt_sigaction(Task& task, int signal, UserPtr<SignalAction> action, UserPtr<SignalAction> old_action, size_t mask_size) {
  TRY(check_mask_size(mask_size));
  SignalAction wanted;
  if (action) wanted = TRY(action.read());
  const SignalAction old = TRY(exchange_action(task, signal, action ? &wanted : nullptr));
  if (old_action) TRY(old_action.write(old));
  return {};
}

Result<void> sys_rt_sigprocmask(Task& task, int how, UserPtr<uint64_t> set, UserPtr<uint64_t> old_set, size_t mask_size) {
  enum { kBlock = 0, kUnblock = 1, kSetMask = 2 };
  TRY(check_mask_size(mask_size));
  const SignalSet old = task.blocked();
  if (set) {
    const SignalSet given{TRY(set.read())};
    switch (how) {
      case kBlock: set_blocked(task, old | given); break;
      case kUnblock: set_blocked(task, old & ~given); break;
      case kSetMask: set_blocked(task, given); break;
      default: return error(EINVAL);
    }
  }
  if (old_set) TRY(old_set.write(old.bits));
  return {};
}

Result<void> sys_rt_sigpending(Task& task, UserPtr<uint64_t> set, size_t mask_size) {
  if (mask_size > sizeof(SignalSet)) return error(EINVAL);
  const uint64_t pending = (pending_signals(task) & task.blocked()).bits;
  if (copy_to_user(set.address(), &pending, mask_size).faulted) return error(EFAULT);
  return {};
}

Result<int64_t> sys_rt_sigreturn(Task& task) {
  Registers& registers = task.registers();
  restore_signal_frame(task, registers);
  return static_cast<int64_t>(registers.rax);
}

Result<int64_t> sys_rt_sigsuspend(Task& task, UserPtr<uint64_t> mask, size_t mask_size) {
  TRY(check_mask_size(mask_size));
  set_temporary_mask(task, {TRY(mask.read())});
  for (;;) {
    sync::prepare_to_park();
    if (!sync::park(Sleep::Interruptible).ok()) return error(ERESTARTNOHAND);
  }
}

Result<int64_t> sys_pause(Task&) {
  for (;;) {
    sync::prepare_to_park();
    if (!sync::park(Sleep::Interruptible).ok()) return error(ERESTARTNOHAND);
  }
}

Result<int64_t> sys_rt_sigtimedwait(Task& task, UserPtr<uint64_t> set, UserPtr<SignalInfo> info, UserPtr<KernelTimespec> timeout, size_t mask_size) {
  TRY(check_mask_size(mask_size));
  const SignalSet wanted{TRY(set.read())};
  Deadline deadline = Deadline::never();
  if (timeout) {
    const KernelTimespec duration = TRY(timeout.read());
    if (!duration.is_valid()) return error(EINVAL);
    deadline = Deadline::after_ns(duration.to_ns());
  }
  const SignalInfo taken = TRY(wait_for_signal(task, wanted, deadline));
  if (info && copy_to_user(info.address(), &taken, sizeof taken).faulted) return error(EFAULT);
  return taken.number;
}

Result<void> check_signal_number(int signal) {
  if (signal < 0 || signal > signals::kLast) return error(EINVAL);
  return {};
}

Result<void> sys_kill(Task& task, int32_t pid, int signal) { return kill(task, pid, signal); }

Result<void> sys_tgkill(Task& task, int32_t tgid, int32_t tid, int signal) {
  if (tgid <= 0 || tid <= 0) return error(EINVAL);
  TRY(check_signal_number(signal));
  return kill_thread(task, tgid, tid, SignalInfo::from_user(signal, signal_codes::kThread, task.process().pid(), task.credentials().uid));
}

Result<void> sys_tkill(Task& task, int32_t tid, int signal) {
  if (tid <= 0) return error(EINVAL);
  TRY(check_signal_number(signal));
  return kill_thread(task, 0, tid, SignalInfo::from_user(signal, signal_codes::kThread, task.process().pid(), task.credentials().uid));
}

/// Only a process itself may make up information that looks like the kernel's or kill's.
Result<SignalInfo> read_queued_info(Task& task, int32_t target, int signal, UserPtr<SignalInfo> pointer) {
  SignalInfo info = TRY(pointer.read());
  info.number = signal;
  const bool is_forged = info.code >= 0 || info.code == signal_codes::kThread;
  if (is_forged && target != task.process().pid() && target != task.tid()) return error(EPERM);
  return info;
}

Result<void> sys_rt_sigqueueinfo(Task& task, int32_t pid, int signal, UserPtr<SignalInfo> pointer) {
  const SignalInfo info = TRY(read_queued_info(task, pid, signal, pointer));
  TRY(check_signal_number(signal));
  MutexLock lock(task.kernel().tasks.mutex);
  const RefPtr<Task> target = pid > 0 ? task.kernel().tasks.find_task(pid) : nullptr;
  if (!target) return error(ESRCH);
  TRY(check_signal_permission(task, target->process(), signal));
  if (signal == 0) return {};
  return send_signal(target->process(), info);
}

Result<void> sys_rt_tgsigqueueinfo(Task& task, int32_t tgid, int32_t tid, int signal, UserPtr<SignalInfo> pointer) {
  if (tgid <= 0 || tid <= 0) return error(EINVAL);
  const SignalInfo info = TRY(read_queued_info(task, tid, signal, pointer));
  TRY(check_signal_number(signal));
  return kill_thread(task, tgid, tid, info);
}

Result<void> sys_sigaltstack(Task& task, UserPtr<KernelSignalStack> stack, UserPtr<KernelSignalStack> old_stack) {
  const uint64_t stack_pointer = task.registers().rsp;
  const KernelSignalStack old = alternate_stack(task, stack_pointer);
  if (stack) {
    const KernelSignalStack wanted = TRY(stack.read());
    TRY(set_alternate_stack(task, wanted, stack_pointer));
  }
  if (old_stack) TRY(old_stack.write(old));
  return {};
}

Result<int64_t> sys_restart_syscall(Task& task) {
  Result<int64_t> (*const restart)(Task&) = task.restart_function;
  if (!restart) return error(EINTR);
  return restart(task);
}

// --- alarm(2), getitimer(2), setitimer(2)

Result<int64_t> sys_alarm(Task& task, uint32_t seconds) {
  ProcessTimers& timers = TRY(ProcessTimers::of(task.process()));
  const KernelTimerVal value{{0, 0}, {seconds, 0}};
  const KernelTimerVal old = timers.exchange_interval_timer(0, &value);
  // Rounded so that a running alarm never answers 0.
  const bool rounds_up = old.value.microseconds >= 500'000 || (old.value.seconds == 0 && old.value.microseconds > 0);
  return old.value.seconds + rounds_up;
}

constexpr int kIntervalTimers = 3;

Result<void> sys_getitimer(Task& task, int which, UserPtr<KernelTimerVal> value) {
  if (which < 0 || which >= kIntervalTimers) return error(EINVAL);
  KernelTimerVal now{};
  if (task.process().timers.load(std::memory_order_acquire)) now = TRY(ProcessTimers::of(task.process())).exchange_interval_timer(which, nullptr);
  return value.write(now);
}

Result<void> sys_setitimer(Task& task, int which, UserPtr<KernelTimerVal> value, UserPtr<KernelTimerVal> old_value) {
  KernelTimerVal wanted{};
  if (value) wanted = TRY(value.read());
  if (which < 0 || which >= kIntervalTimers) return error(EINVAL);
  if (!wanted.value.is_valid() || !wanted.interval.is_valid()) return error(EINVAL);
  const KernelTimerVal old = TRY(ProcessTimers::of(task.process())).exchange_interval_timer(which, &wanted);
  if (old_value) TRY(old_value.write(old));
  return {};
}

}  // namespace

const SyscallRow kSysSignalRows[] = {
    full<sys_rt_sigaction>(13, "rt_sigaction"),
    full<sys_rt_sigprocmask>(14, "rt_sigprocmask"),
    partial<sys_rt_sigreturn>(15, "rt_sigreturn", "frames without an XSAVE header are refused"),
    full<sys_pause>(34, "pause"),
    full<sys_getitimer>(36, "getitimer"),
    full<sys_alarm>(37, "alarm"),
    full<sys_setitimer>(38, "setitimer"),
    full<sys_kill>(62, "kill"),
    full<sys_rt_sigpending>(127, "rt_sigpending"),
    full<sys_rt_sigtimedwait>(128, "rt_sigtimedwait"),
    full<sys_rt_sigqueueinfo>(129, "rt_sigqueueinfo"),
    full<sys_rt_sigsuspend>(130, "rt_sigsuspend"),
    full<sys_sigaltstack>(131, "sigaltstack"),
    full<sys_tkill>(200, "tkill"),
    full<sys_restart_syscall>(219, "restart_syscall"),
    full<sys_tgkill>(234, "tgkill"),
    full<sys_rt_tgsigqueueinfo>(297, "rt_tgsigqueueinfo"),
};
const size_t kSysSignalRowCount = std::size(kSysSignalRows);

}  // namespace umk

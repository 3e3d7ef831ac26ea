#include "core/kernel/task/signals.h"

#include "core/kernel/security/identity.h"
#include "core/kernel/task/exit.h"
#include "core/kernel/task/process_timers.h"

namespace umk {

void interrupt_task(Task& task, uint32_t bits) {
  if (!sync::interrupt_context(task.stack(), bits)) return;
  // A task that has no host thread yet looks at its interrupts before it first runs guest code, and one that exits runs none any more.
  if (&task != Task::current_or_null() && task.is_started.load(std::memory_order_seq_cst) && !task.exiting.load()) task.kernel().engine.kick(task);
}

void update_interrupts_locked(Task& task) {
  Process& process = task.process();
  const SignalSet deliverable = (task.pending.set() | process.pending.set()) & ~task.blocked_;
  if (!deliverable.empty() || process.is_stopped || process.continue_is_due) {
    interrupt_task(task, sync::interrupt::kSignal);
  } else if (task.stack().interrupts.load(std::memory_order_relaxed) & sync::interrupt::kSignal) {
    task.stack().interrupts.fetch_and(~sync::interrupt::kSignal);
  }
}

void start_group_exit_locked(Process& process, int status) {
  if (!process.group_exiting) {
    process.group_exiting = true;
    process.group_exit_status = status;
  }
  process.is_stopped = false;
  for (Task& task : process.tasks) interrupt_task(task, sync::interrupt::kKill);
  process.continue_events.wake_all();
}

namespace {

void clear_everywhere_locked(Process& process, SignalSet which) {
  process.pending.clear(which);
  for (Task& task : process.tasks) task.pending.clear(which);
}

/// What a signal does besides being queued: SIGCONT and stop signals cancel each other.
void prepare_locked(Process& process, int signal) {
  if (kStopSignals.has(signal)) {
    clear_everywhere_locked(process, SignalSet::of(signals::kContinue));
    return;
  }
  if (signal != signals::kContinue) return;
  clear_everywhere_locked(process, kStopSignals);
  process.stop_was_taken = false;
  if (!process.is_stopped) return;
  process.is_stopped = false;
  process.continue_is_due = process.stop_is_reported;
  process.stop_is_reported = false;
  process.continue_events.wake_all();
  for (Task& task : process.tasks) update_interrupts_locked(task);
}

bool is_dropped_locked(Process& process, const Task& target, int signal) {
  if (target.blocked_.has(signal)) return false;
  const SignalAction action = process.handlers->of(signal);
  if (action.is_ignored()) return true;
  if (!action.is_default()) return false;
  if (process.is_unkillable) return true;
  const DefaultAction what = default_action(signal);
  return what == DefaultAction::Ignore || what == DefaultAction::Continue;
}

/// The thread that shall take a signal for the process: one that does not block it.
Task* choose_target_locked(Process& process, int signal) {
  for (Task& task : process.tasks)
    if (!task.exiting.load(std::memory_order_relaxed) && !task.blocked_.has(signal)) return &task;
  return nullptr;
}

Result<void> send_locked(Process& process, Task* target, const SignalInfo& info) {
  const int signal = info.number;
  if (process.tasks.empty() || process.group_exiting) return {};
  prepare_locked(process, signal);
  if (is_dropped_locked(process, target ? *target : process.tasks.front(), signal)) return {};

  SignalQueue& queue = target ? target->pending : process.pending;
  const bool is_realtime = signal >= signals::kFirstRealtime;
  const uint64_t limit = is_realtime || info.code < 0 ? process.limits.soft(Resource::PendingSignals) : UINT64_MAX;
  const Result<void> queued = queue.add_queued(info, limit);
  if (!queued.ok()) {
    if (is_realtime && info.code != signal_codes::kUser) return queued.failure();
    queue.add(info);
  }
  process.signal_events.wake_all();

  Task* taker = target;
  if (!target) taker = choose_target_locked(process, signal);
  else if (target->blocked_.has(signal)) taker = nullptr;
  if (!taker) return {};
  const SignalAction action = process.handlers->of(signal);
  const DefaultAction what = default_action(signal);
  const bool is_fatal = action.is_default() && (what == DefaultAction::Terminate || what == DefaultAction::Core);
  // A stopped process takes nothing but SIGKILL until it continues.
  if (is_fatal && (!process.is_stopped || signal == signals::kKill)) start_group_exit_locked(process, exit_status_of_signal(signal));
  else update_interrupts_locked(*taker);
  return {};
}

}  // namespace

Result<void> send_signal(Task& target, const SignalInfo& info) {
  Process& process = target.process();
  MutexLock lock(process.signal_mutex);
  if (target.exiting.load(std::memory_order_relaxed)) return {};
  return send_locked(process, &target, info);
}

Result<void> send_signal(Process& target, const SignalInfo& info) {
  MutexLock lock(target.signal_mutex);
  return send_locked(target, nullptr, info);
}

void send_signal_locked(ProcessGroup& group, const SignalInfo& info) {
  for (Process& process : group.members) (void)send_signal(process, info);
}

Result<void> send_signal_to_id(Kernel& kernel, int32_t id, const SignalInfo& info) {
  MutexLock lock(kernel.tasks.mutex);
  if (id < 0) {
    const RefPtr<ProcessGroup> group = kernel.tasks.find_group(-id);
    if (!group) return error(ESRCH);
    send_signal_locked(*group, info);
    return {};
  }
  const RefPtr<Task> task = kernel.tasks.find_task(id);
  if (!task) return error(ESRCH);
  return send_signal(task->process(), info);
}

void force_signal(Task& current, const SignalInfo& info) {
  Process& process = current.process();
  const int signal = info.number;
  MutexLock lock(process.signal_mutex);
  SignalAction action = process.handlers->of(signal);
  if (action.is_ignored() || current.blocked_.has(signal)) {
    action.handler = 0;
    process.handlers->exchange(signal, action);
    current.blocked_.remove(signal);
  }
  if (action.is_default()) process.is_unkillable = false;
  current.pending.add(info);
  update_interrupts_locked(current);
}

Result<void> check_signal_permission(const Task& current, Process& target, int signal) {
  if (&target == &current.process() || !target.leader) return {};
  const RefPtr<const Credentials> theirs = target.leader->credentials_ref();
  if (identity::may_signal(current.credentials(), *theirs)) return {};
  if (signal == signals::kContinue && target.session == current.process().session) return {};
  return error(EPERM);
}

namespace {

Result<void> kill_one_locked(Task& current, Process& target, const SignalInfo& info) {
  TRY(check_signal_permission(current, target, info.number));
  if (info.number == 0) return {};
  return send_signal(target, info);
}

}  // namespace

Result<void> kill(Task& current, int32_t pid, int signal) {
  if (signal < 0 || signal > signals::kLast) return error(EINVAL);
  if (pid == INT32_MIN) return error(ESRCH);
  TaskList& tasks = current.kernel().tasks;
  const SignalInfo info = SignalInfo::from_user(signal, signal_codes::kUser, current.process().pid(), current.credentials().uid);
  MutexLock lock(tasks.mutex);
  if (pid > 0) {
    const RefPtr<Task> task = tasks.find_task(pid);
    if (!task) return error(ESRCH);
    return kill_one_locked(current, task->process(), info);
  }
  if (pid == -1) {
    bool found = false;
    Result<void> outcome;
    for (RefPtr<Process> process = tasks.next_process(2); process; process = tasks.next_process(process->pid() + 1)) {
      if (process == &current.process()) continue;
      found = true;
      Result<void> one = kill_one_locked(current, *process, info);
      if (one.code() != EPERM) outcome = one;
    }
    if (!found) return error(ESRCH);
    return outcome;
  }
  const RefPtr<ProcessGroup> group = pid == 0 ? current.process().group : tasks.find_group(-pid);
  if (!group || group->members.empty()) return error(ESRCH);
  bool succeeded = false;
  Result<void> outcome = error(ESRCH);
  for (Process& process : group->members) {
    outcome = kill_one_locked(current, process, info);
    succeeded = succeeded || outcome.ok();
  }
  if (succeeded) return {};
  return outcome;
}

Result<void> kill_thread(Task& current, int32_t tgid, int32_t tid, const SignalInfo& info) {
  MutexLock lock(current.kernel().tasks.mutex);
  const RefPtr<Task> task = current.kernel().tasks.find_task(tid);
  if (!task || (tgid > 0 && task->process().pid() != tgid)) return error(ESRCH);
  TRY(check_signal_permission(current, task->process(), info.number));
  if (info.number == 0) return {};
  return send_signal(*task, info);
}

SignalSet pending_signals(Task& task) {
  MutexLock lock(task.process().signal_mutex);
  return task.pending.set() | task.process().pending.set();
}

namespace {

std::optional<SignalInfo> take_locked(Task& current, SignalSet wanted) {
  std::optional<SignalInfo> taken = current.pending.take(~wanted);
  if (!taken) taken = current.process().pending.take(~wanted);
  if (taken) update_interrupts_locked(current);
  return taken;
}

void note_taken(Task& current, const SignalInfo& info) {
  if (info.code != signal_codes::kTimer) return;
  if (ProcessTimers* timers = current.process().timers.load(std::memory_order_acquire))
    timers->note_signal_taken(info.timer.timer_id, info.timer.overrun);
}

}  // namespace

std::optional<SignalInfo> take_signal(Task& current, SignalSet wanted) {
  std::optional<SignalInfo> taken;
  {
    MutexLock lock(current.process().signal_mutex);
    taken = take_locked(current, wanted);
  }
  if (taken) note_taken(current, *taken);
  return taken;
}

Result<SignalInfo> wait_for_signal(Task& current, SignalSet wanted, Deadline deadline) {
  Process& process = current.process();
  wanted = wanted & ~kUnblockable;
  std::optional<SignalInfo> taken;
  {
    MutexLock lock(process.signal_mutex);
    for (;;) {
      taken = take_locked(current, wanted);
      if (taken) break;
      if (deadline.has_passed()) return error(EAGAIN);
      const Result<void> woken = process.signal_events.wait(process.signal_mutex, Sleep::Interruptible, deadline);
      if (woken.code() != ERESTARTSYS) continue;
      // The interrupt may be the very signal that is waited for, unblocked.
      taken = take_locked(current, wanted);
      if (taken) break;
      return error(EINTR);
    }
  }
  note_taken(current, *taken);
  return *taken;
}

namespace {

/// Signals for the process that this thread no longer takes go to another one.
void retarget_locked(Process& process, const Task& current) {
  if (process.pending.set().empty()) return;
  for (Task& task : process.tasks)
    if (&task != &current && !task.exiting.load(std::memory_order_relaxed)) update_interrupts_locked(task);
}

}  // namespace

void set_blocked(Task& current, SignalSet blocked) {
  blocked = blocked & ~kUnblockable;
  if (blocked.bits == current.blocked_.bits) return;
  Process& process = current.process();
  MutexLock lock(process.signal_mutex);
  const bool blocks_more = !(blocked & ~current.blocked_).empty();
  current.blocked_ = blocked;
  update_interrupts_locked(current);
  if (blocks_more) retarget_locked(process, current);
}

void set_temporary_mask(Task& current, SignalSet blocked) {
  current.saved_blocked_ = current.blocked_;
  current.restore_blocked_ = true;
  set_blocked(current, blocked);
}

void restore_blocked(Task& current) {
  if (!current.restore_blocked_) return;
  current.restore_blocked_ = false;
  set_blocked(current, current.saved_blocked_);
}

Result<SignalAction> exchange_action(Task& current, int signal, const SignalAction* action) {
  if (signal < 1 || signal > signals::kLast || (action && kUnblockable.has(signal))) return error(EINVAL);
  Process& process = current.process();
  if (!action) return process.handlers->of(signal);
  constexpr uint64_t kKnownFlags = action_flags::kNoChildStop | action_flags::kNoChildWait | action_flags::kSigInfo | action_flags::kRestorer |
                                   action_flags::kOnStack | action_flags::kRestart | action_flags::kNoDefer | action_flags::kResetHand | 0x800;
  SignalAction cleaned = *action;
  cleaned.flags &= kKnownFlags;
  cleaned.mask = cleaned.mask & ~kUnblockable;
  const DefaultAction what = default_action(signal);
  const bool drops = cleaned.is_ignored() || (cleaned.is_default() && (what == DefaultAction::Ignore || what == DefaultAction::Continue));
  MutexLock lock(process.signal_mutex);
  const SignalAction old = process.handlers->exchange(signal, cleaned);
  // POSIX: setting an action that ignores a pending signal discards it, blocked or not.
  if (drops) clear_everywhere_locked(process, SignalSet::of(signal));
  return old;
}

bool is_blocked_or_ignored(Task& current, int signal) {
  return current.blocked_.has(signal) || current.process().handlers->of(signal).is_ignored();
}

}  // namespace umk

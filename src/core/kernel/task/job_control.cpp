#include "core/kernel/task/job_control.h"

#include "core/abi/time.h"
#include "core/kernel/task/exit.h"
#include "core/kernel/task/signals.h"

namespace umk {

namespace {

/// A tie that keeps a group from being an orphan: a parent in another group of the same session.
bool ties(const Process& member, const Process* parent) {
  return parent && !parent->is_zombie && parent->group && parent->group != member.group && parent->session == member.session;
}

bool is_orphaned_without(ProcessGroup& group, const Process* leaving) {
  for (const Process& member : group.members) {
    if (&member == leaving || (member.is_zombie && member.tasks.empty())) continue;
    // init is nobody's shell, but the first program of `umk run` may be one, as in a container.
    if (member.parent && member.parent->pid() == 1 && !member.kernel().options.ends_with_init) continue;
    if (ties(member, member.parent)) return false;
  }
  return true;
}

bool has_stopped_member(ProcessGroup& group) {
  for (Process& member : group.members) {
    MutexLock lock(member.signal_mutex);
    if (member.is_stopped) return true;
  }
  return false;
}

}  // namespace

bool is_orphaned(ProcessGroup& group) { return is_orphaned_without(group, nullptr); }

Result<ProcessId> create_session(Task& current) {
  Process& process = current.process();
  TaskList& tasks = current.kernel().tasks;
  RefPtr<ProcessGroup> old_group;
  RefPtr<Session> old_session;
  MutexLock lock(tasks.mutex);
  if (tasks.find_group(process.pid()) || tasks.find_session(process.pid())) return error(EPERM);
  old_group = process.group;
  old_session = process.session;
  RefPtr<Session> session = TRY(tasks.make_session(process.pid()));
  session->leader = &process;
  Result<RefPtr<ProcessGroup>> group = tasks.make_group(process.pid(), session);
  if (!group.ok()) return group.failure();
  tasks.set_group(process, group.take());
  process.has_left_terminal = false;
  return process.pid();
}

Result<void> set_process_group(Task& current, ProcessId pid, ProcessId group_id) {
  if (group_id < 0) return error(EINVAL);
  TaskList& tasks = current.kernel().tasks;
  Process& caller = current.process();
  MutexLock lock(tasks.mutex);
  const RefPtr<Task> named = pid == 0 ? RefPtr<Task>(caller.leader) : tasks.find_task(pid);
  if (!named) return error(ESRCH);
  if (!named->is_leader()) return error(EINVAL);
  Process& process = named->process();
  if (group_id == 0) group_id = process.pid();
  if (process.parent == &caller) {
    if (process.session != caller.session) return error(EPERM);
    if (process.has_execed) return error(EACCES);
  } else if (&process != &caller) {
    return error(ESRCH);
  }
  if (process.session->leader == &process) return error(EPERM);
  RefPtr<ProcessGroup> group = tasks.find_group(group_id);
  if (group_id != process.pid()) {
    if (!group || &group->session() != process.session.get()) return error(EPERM);
  } else if (!group) {
    group = TRY(tasks.make_group(group_id, process.session));
  }
  tasks.set_group(process, group);
  return {};
}

void start_stop_locked(Process& process, int signal) {
  process.is_stopped = true;
  process.stop_is_reported = false;
  process.stop_signal = signal;
  for (Task& task : process.tasks) update_interrupts_locked(task);
}

namespace {

/// The last thread to stop tells the parent.
void report_stop_if_complete_locked(Process& process) {
  {
    MutexLock lock(process.signal_mutex);
    if (!process.is_stopped || process.stop_is_reported || process.stopped_threads < process.live_threads) return;
    process.stop_is_reported = true;
  }
  process.unreported_change = signal_codes::kChildStopped;
  notify_parent_locked(process, signals::kChild, signal_codes::kChildStopped, process.stop_signal);
}

}  // namespace

void wait_while_stopped(Task& current) {
  Process& process = current.process();
  {
    MutexLock list(current.kernel().tasks.mutex);
    {
      MutexLock lock(process.signal_mutex);
      if (!process.is_stopped) return;
      ++process.stopped_threads;
    }
    report_stop_if_complete_locked(process);
  }
  current.state.store('T', std::memory_order_relaxed);
  {
    MutexLock lock(process.signal_mutex);
    while (process.is_stopped)
      if (!process.continue_events.wait(process.signal_mutex, Sleep::Killable).ok()) break;
    --process.stopped_threads;
  }
  current.state.store('R', std::memory_order_relaxed);
}

void report_continue(Process& process) {
  MutexLock list(process.kernel().tasks.mutex);
  bool was_collected;
  {
    MutexLock lock(process.signal_mutex);
    if (!process.continue_is_due) return;
    process.continue_is_due = false;
    was_collected = std::exchange(process.continue_was_collected, false);
  }
  if (!was_collected) process.unreported_change = signal_codes::kChildContinued;
  notify_parent_locked(process, signals::kChild, signal_codes::kChildContinued, signals::kContinue);
}

void check_orphaned_groups_locked(Process& process, Process* old_parent) {
  ProcessGroup* const group = process.group.get();
  if (!group || !ties(process, old_parent)) return;
  if (!is_orphaned_without(*group, process.is_zombie ? &process : nullptr) || !has_stopped_member(*group)) return;
  send_signal_locked(*group, SignalInfo::from_kernel(signals::kHangup));
  send_signal_locked(*group, SignalInfo::from_kernel(signals::kContinue));
}

bool notify_parent_locked(Process& process, int signal, int code, int status) {
  Process* const parent = process.parent;
  if (!parent) return false;
  bool is_unwanted = false;
  bool sends = signal != 0;
  if (signal == signals::kChild) {
    const SignalAction action = parent->handlers->of(signals::kChild);
    const bool is_end = code == signal_codes::kChildExited || code == signal_codes::kChildKilled || code == signal_codes::kChildDumped;
    if (is_end) is_unwanted = action.is_ignored() || (action.flags & action_flags::kNoChildWait);
    else if (action.flags & action_flags::kNoChildStop) sends = false;
    if (action.is_ignored()) sends = false;
  }
  if (sends) {
    SignalInfo info = SignalInfo::from_user(signal, code, process.pid(), process.leader ? process.leader->credentials_ref()->uid : 0);
    const guest::Usage usage = process_usage_locked(process);
    info.sender.child.status = status;
    info.sender.child.user_time = clock_ticks(usage.user_ns);
    info.sender.child.system_time = clock_ticks(usage.system_ns);
    (void)send_signal(*parent, info);
  }
  parent->child_events.wake_all();
  return is_unwanted;
}

}  // namespace umk

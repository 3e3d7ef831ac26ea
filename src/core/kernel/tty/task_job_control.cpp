#include "core/kernel/tty/task_job_control.h"

#include "core/kernel/task/job_control.h"
#include "core/kernel/task/signals.h"

namespace umk::tty {

JobMember TaskJobControl::current() {
  Task* task = Task::current_or_null();
  if (!task) return {};
  Process& process = task->process();
  JobMember member;
  member.may_administer = task->credentials().has(Capability::SysAdmin);
  MutexLock lock(kernel_.tasks.mutex);
  member.session = process.session;
  member.group = process.group;
  if (member.session) {
    member.is_leader = member.session->leader == &process;
    if (!process.has_left_terminal) member.terminal = member.session->controlling_tty;
  }
  return member;
}

bool TaskJobControl::is_ignored(int signal) {
  Task* task = Task::current_or_null();
  return task && is_blocked_or_ignored(*task, signal);
}

bool TaskJobControl::is_orphaned(ProcessGroup& group) {
  MutexLock lock(kernel_.tasks.mutex);
  return umk::is_orphaned(group);
}

void TaskJobControl::signal_group(ProcessGroup& group, int signal) {
  MutexLock lock(kernel_.tasks.mutex);
  send_signal_locked(group, SignalInfo::from_kernel(signal));
}

void TaskJobControl::hang_up_session(Session& session, RefPtr<ProcessGroup> foreground) {
  MutexLock lock(kernel_.tasks.mutex);
  if (!session.leader) return;
  std::swap(session.hung_up_foreground, foreground);
  // Success or not: a signal without memory for its information is pending all the same.
  (void)send_signal(*session.leader, SignalInfo::from_kernel(signals::kHangup));
  (void)send_signal(*session.leader, SignalInfo::from_kernel(signals::kContinue));
}

RefPtr<ProcessGroup> TaskJobControl::find_group(ProcessId id) {
  MutexLock lock(kernel_.tasks.mutex);
  return kernel_.tasks.find_group(id);
}

void TaskJobControl::set_terminal(Session& session, RefPtr<ControllingTerminal> terminal) {
  MutexLock lock(kernel_.tasks.mutex);
  // What was there is dropped by the caller's scope, after the lock.
  std::swap(session.controlling_tty, terminal);
}

void TaskJobControl::leave_terminal() {
  MutexLock lock(kernel_.tasks.mutex);
  Task::current().process().has_left_terminal = true;
}

}  // namespace umk::tty

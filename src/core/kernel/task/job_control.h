// Job control: sessions, process groups, stopping and continuing. setsid(2), setpgid(2), credentials(7); POSIX "orphaned process group".
//
// A stop: some thread takes a stop signal, marks the process stopped and interrupts the others; each sleeps in wait_while_stopped on its own
// kernel stack; the last to arrive tells the parent. SIGCONT clears the mark when it is sent, whatever its disposition.
#pragma once

#include "core/kernel/task/kernel.h"
#include "core/kernel/task/task.h"

namespace umk {

/// True when no member has a parent in another group of the same session. TaskList lock held.
bool is_orphaned(ProcessGroup& group);

Result<ProcessId> create_session(Task& current);
Result<void> set_process_group(Task& current, ProcessId pid, ProcessId group);

/// Marks the process as stopped by `signal`: all threads stop on their way to user mode. Its signal_mutex is held.
void start_stop_locked(Process& process, int signal);
/// Sleeps while the process is stopped; ends early when it is being killed. No lock held.
void wait_while_stopped(Task& current);
/// Tells the parent about a continue that has happened. No lock held.
void report_continue(Process& process);

/// SIGHUP and SIGCONT for stopped groups that became orphans because `process` (dying, or leaving its group) was their last tie; TaskList lock held.
void check_orphaned_groups_locked(Process& process, Process* old_parent);

/// SIGCHLD and wake-up for `process.parent`. `code` is a CLD_* value. TaskList lock held. Returns true when the parent does not want to wait
/// for the child (SIGCHLD ignored, or SA_NOCLDWAIT).
bool notify_parent_locked(Process& process, int signal, int code, int status);

}  // namespace umk

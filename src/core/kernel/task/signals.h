// Sending signals, and what is pending. Delivery is in signal_delivery.h, stopping and continuing in job_control.h.
//
// A signal goes from a sender's call here to a pending queue, of one task or of a whole process; a task that could take it is marked (its
// interrupt bit kSignal) and woken or kicked; that task takes it on its way to user mode. What ends the process for certain (SIGKILL, or a
// deadly default action that nobody blocks) marks all its tasks at once, so that none of them sleeps on.
//
// Locks: the target's signal_mutex. Senders hold a reference on the target or the TaskList lock.
#pragma once

#include <optional>

#include "core/kernel/task/kernel.h"
#include "core/kernel/task/task.h"

namespace umk {

/// Sends to one thread, or to a process as a whole. EAGAIN: a real-time signal or one with a value (SI_QUEUE...) found RLIMIT_SIGPENDING used up.
Result<void> send_signal(Task& target, const SignalInfo& info);
Result<void> send_signal(Process& target, const SignalInfo& info);
/// To all processes of a group. The caller holds the TaskList lock.
void send_signal_locked(ProcessGroup& group, const SignalInfo& info);
/// To a process by number, or with a negative number to a group, without permission checks: SIGIO, terminals, timers. ESRCH.
Result<void> send_signal_to_id(Kernel& kernel, int32_t id, const SignalInfo& info);
/// A signal that the current task cannot escape: when blocked or ignored it kills. For faults.
void force_signal(Task& current, const SignalInfo& info);

/// May the current task signal `target`? kill(2): user ids, CAP_KILL, SIGCONT within the session. The caller holds the TaskList lock. EPERM.
Result<void> check_signal_permission(const Task& current, Process& target, int signal);
/// kill(2) of the current task: pid > 0 a process, 0 its group, -1 everybody, < -1 a group. Signal 0 only checks.
Result<void> kill(Task& current, int32_t pid, int signal);
/// tgkill(2), tkill(2) (tgid <= 0: any).
Result<void> kill_thread(Task& current, int32_t tgid, int32_t tid, const SignalInfo& info);

/// Signals pending for the task or its process.
SignalSet pending_signals(Task& task);
/// Takes a pending signal out of `wanted`, whether blocked or not: sigtimedwait, signalfd.
std::optional<SignalInfo> take_signal(Task& current, SignalSet wanted);
/// Waits for a signal out of `wanted`: EAGAIN at the deadline, EINTR when another signal arrives.
Result<SignalInfo> wait_for_signal(Task& current, SignalSet wanted, Deadline deadline);

/// Changes the current task's mask (SIGKILL and SIGSTOP stay unblocked) and looks again at what is pending.
void set_blocked(Task& current, SignalSet blocked);
/// For calls with a mask of their own (ppoll, pselect, sigsuspend, epoll_pwait): sets it now; the old one comes back when the call returns to user
/// mode, after a handler ran under the temporary one. When the call ends without ERESTARTNOHAND/EINTR, call restore_blocked.
void set_temporary_mask(Task& current, SignalSet blocked);
void restore_blocked(Task& current);

/// sigaction(2); `action` may be null. EINVAL for numbers that cannot be changed.
Result<SignalAction> exchange_action(Task& current, int signal, const SignalAction* action);
/// True when the signal would have no effect on the current task: it is blocked or ignored. Terminals ask for SIGTTIN and SIGTTOU.
bool is_blocked_or_ignored(Task& current, int signal);

/// All threads of the process end with `status` (as wait4 encodes it). The first caller's status counts.
void start_group_exit_locked(Process& process, int status);
/// Sets the interrupt bits of a task from its pending signals. Caller holds its process's signal_mutex.
void update_interrupts_locked(Task& task);
/// Sets interrupt bits of `task`, wakes it from sleep and kicks it out of user mode when needed.
void interrupt_task(Task& task, uint32_t bits);

}  // namespace umk

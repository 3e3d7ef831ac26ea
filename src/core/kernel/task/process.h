// Process (thread group), process group, session: the family of tasks. credentials(7), setpgid(2), setsid(2).
#pragma once

#include <array>
#include <atomic>

#include "core/base/list.h"
#include "core/base/make.h"
#include "core/kernel/guest/engine.h"
#include "core/kernel/security/resource_limits.h"
#include "core/kernel/task/controlling_terminal.h"
#include "core/kernel/task/signal_queue.h"
#include "core/sync/wait_queue.h"

namespace umk::mm {
class AddressSpace;
}
namespace umk {

class Kernel;
class Task;
class Process;
struct TaskListTag;
struct SiblingTag;
struct GroupTag;
struct SessionTag;

using ProcessId = int32_t;
using ThreadId = int32_t;

class ProcessGroup;

/// A session: process groups that share a controlling terminal.
class Session : public RefCounted {
 public:
  explicit Session(ProcessId id) : id_(id) {}
  ProcessId id() const { return id_; }

  // Guarded by the TaskList lock.
  Process* leader = nullptr;
  uint32_t group_count = 0;
  RefPtr<ControllingTerminal> controlling_tty;
  /// The terminal hung up; this was its foreground group. It gets SIGHUP and SIGCONT when the leader exits.
  RefPtr<ProcessGroup> hung_up_foreground;

 private:
  ProcessId id_;
};

/// A process group: the unit of job control and of kill(-pgid).
class ProcessGroup : public RefCounted {
 public:
  ProcessGroup(ProcessId id, RefPtr<Session> session) : id_(id), session_(std::move(session)) {}
  ProcessId id() const { return id_; }
  Session& session() const { return *session_; }
  /// Members, guarded by the TaskList lock.
  List<Process, GroupTag> members;

 private:
  ProcessId id_;
  RefPtr<Session> session_;
};

class ProcessTimers;  // alarm, setitimer, timer_create: process_timers.h
class TaskBundle;

class Process : public RefCounted, public ListHook<SiblingTag>, public ListHook<GroupTag> {
 public:
  /// `bundle` is where it lives: that of its first task.
  Process(Kernel& kernel, ProcessId pid, TaskBundle* bundle);
  ~Process() override;
  Kernel& kernel() const { return kernel_; }
  ProcessId pid() const { return pid_; }

  // --- guarded by the TaskList lock
  Process* parent = nullptr;               // null for init and for helpers that the kernel starts; changed by set_parent
  void set_parent(Process* new_parent) {
    parent = new_parent;
    parent_pid.store(new_parent ? new_parent->pid() : 0, std::memory_order_relaxed);
  }
  /// getppid(2) without a lock.
  std::atomic<ProcessId> parent_pid{0};
  List<Process, SiblingTag> children;
  /// Live threads, leader first while it lives. Changed under the TaskList lock and signal_mutex together, so either is enough to read it.
  List<Task, TaskListTag> tasks;
  RefPtr<ProcessGroup> group;
  RefPtr<Session> session;
  bool is_zombie = false;                  // all threads are gone, the status waits
  bool has_execed = false;                 // setpgid of a child fails with EACCES afterwards
  bool is_child_subreaper = false;
  bool has_left_terminal = false;          // TIOCNOTTY of a process that is not the leader; inherited by fork, cleared by setsid
  int exit_status = 0;                     // as wait4(2) encodes it
  int exit_signal = 17;                    // sent to the parent on exit; 0 none
  /// A change that waitid has not reported yet: 0, or a CLD_STOPPED / CLD_CONTINUED code, with its status.
  int unreported_change = 0;
  int stop_signal = 0;
  RefPtr<Task> leader;                     // kept until reaped: the zombie's identity
  uint32_t live_threads = 0;               // threads that have not begun to exit
  guest::Usage dead_threads_usage, children_usage;

  /// Woken when a thread has left `tasks`: exec waits for the others. Used with the TaskList lock.
  WaitQueue thread_events;
  /// Woken when it becomes a zombie: pidfds.
  WaitQueue exit_events;

  /// Where wait4 of this process's threads sleep: woken when a child changes state. Used with the TaskList lock.
  WaitQueue child_events;

  // --- guarded by signal_mutex
  Mutex signal_mutex{LockRank::Signals};
  SignalQueue pending;                     // signals for the process as a whole
  RefPtr<SignalHandlers> handlers;         // shared with CLONE_SIGHAND
  bool is_stopped = false;                 // job control: all threads stop at their next kernel exit
  bool group_exiting = false;              // exit_group or fatal signal: every thread exits with group_exit_status
  int group_exit_status = 0;
  Task* exec_task = nullptr;               // the thread that execs while the others are being killed
  uint32_t stopped_threads = 0;            // threads that wait in a job-control stop
  bool stop_is_reported = false;           // the parent was told of this stop
  bool continue_is_due = false;            // the parent is to be told that it continued
  bool continue_was_collected = false;     // it has waited for that already, before the process itself came to tell
  bool stop_was_taken = false;             // a stop signal left the queue and is being decided on; SIGCONT cancels it
  bool is_unkillable = false;              // init: signals without a handler have no effect
  /// signalfd and sigtimedwait sleepers.
  WaitQueue signal_events;
  /// Woken when the process continues after a stop or is killed.
  WaitQueue continue_events;

  ResourceLimits limits;                   // has its own lock
  std::atomic<bool> is_dumpable{true};
  /// PR_SET_THP_DISABLE: kept for those who ask, as no guest has huge pages.
  std::atomic<bool> refuses_huge_pages{false};
  std::atomic<int> oom_score_adjustment{0};
  std::atomic<uint32_t> personality{0};
  /// alarm, setitimer and POSIX timers; made on first use under signal_mutex, freed by the last thread's exit.
  std::atomic<ProcessTimers*> timers{nullptr};

 protected:
  void last_reference_dropped() override;

 private:
  TaskBundle* bundle_;
  Kernel& kernel_;
  ProcessId pid_;
};

}  // namespace umk

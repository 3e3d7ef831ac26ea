// Task: one thread of a guest. Process: a thread group, what guests call a process.
//
// Life of a task: created by clone (task/clone.cpp) inside a kernel-stack bundle of the engine; runs; exits (task/exit.cpp): it drops what it
// holds, and when it was the last thread its Process becomes a zombie until the parent waits for it (task/wait.cpp). The Task object is freed when
// both its host context has left the kernel stack and the last reference is gone.
//
// Locks, in order: TaskList (pid table, family, groups; one per kernel), Process::mutex, Process::signal_mutex.
#pragma once

#include <atomic>

#include "core/host/kernel_stack.h"
#include "core/kernel/guest/engine.h"
#include "core/kernel/security/credentials.h"
#include "core/kernel/task/process.h"
#include "core/kernel/task/signal_queue.h"
#include "core/kernel/vfs/caller.h"
#include "core/kernel/vfs/fd_table.h"

namespace umk {

class Kernel;

struct TaskListTag;

class TaskBundle;

class Task : public RefCounted, public ListHook<TaskListTag> {
 public:
  Kernel& kernel() const { return kernel_; }
  Process& process() const { return *process_; }
  ThreadId tid() const { return tid_; }
  bool is_leader() const { return tid_ == process_->pid(); }
  /// exec by a thread that is not the leader gives it the leader's number (exec_support.cpp).
  void change_tid(ThreadId tid) { tid_ = tid; }
  KernelStackHead& stack() const { return stack_; }
  /// The guest's registers as of its entry to the kernel; only the task itself uses them (or a tracer while it is stopped).
  Registers& registers() const;

  /// The current task; panics on a kernel thread.
  static Task& current() {
    CHECK(current_stack().task, "a kernel thread has no current task");
    return *current_stack().task;
  }
  static Task* current_or_null() { return current_stack().task; }

  TaskBundle& bundle() const { return bundle_; }

  // What it shares with others (clone flags decide). Changed by the task itself only; others read under the process mutex.
  // exit drops them: address_space_ and fds_ are null afterwards.
  vfs::FdTable& fds() const { return *fds_; }
  vfs::FsContext& fs() const { return *fs_; }
  mm::AddressSpace& address_space() const { return *address_space_; }
  /// For the task itself. Others take credentials_ref(), which is safe against a change.
  const Credentials& credentials() const { return *credentials_; }
  RefPtr<const Credentials> credentials_ref() const;
  void set_credentials(RefPtr<const Credentials> credentials);
  vfs::Caller caller() const;
  // For others than the task itself: null once it has exited.
  RefPtr<vfs::FdTable> fds_ref() const;
  RefPtr<vfs::FsContext> fs_ref() const;
  RefPtr<mm::AddressSpace> address_space_ref() const;
  // By the task itself, against readers like these; return what was there.
  RefPtr<vfs::FdTable> exchange_fds(RefPtr<vfs::FdTable> fds);
  RefPtr<vfs::FsContext> exchange_fs(RefPtr<vfs::FsContext> fs);
  RefPtr<mm::AddressSpace> exchange_address_space(RefPtr<mm::AddressSpace> space);

  // Signals: see signals.h for sending and signal_delivery.h for delivery.
  SignalSet blocked() const { return blocked_; }

  /// The command name: 15 characters and NUL; PR_SET_NAME, /proc/PID/comm.
  char name[16] = {};

  // --- used by task/*.cpp and proc; grouped by what guards them.
  // Owned by the task itself (blocked_ is changed under signal_mutex, by the task itself):
  uint64_t clear_child_tid = 0;       // set_tid_address(2)
  uint64_t set_child_tid = 0;         // CLONE_CHILD_SETTID: written by the child itself before it first runs guest code
  uint64_t robust_list_head = 0;      // get_robust_list(2)
  uint64_t alternate_stack_base = 0, alternate_stack_size = 0;
  uint32_t alternate_stack_flags = 2;  // SS_DISABLE
  SignalSet blocked_;
  SignalSet saved_blocked_;           // sigsuspend, ppoll: what to restore after delivery
  bool restore_blocked_ = false;
  // The last exception, as a signal frame shows it.
  uint64_t fault_vector = 0, fault_error = 0, fault_address = 0;
  int parent_death_signal = 0;
  bool no_new_privileges = false;
  uint64_t start_time_ns = 0;         // boottime clock
  uint64_t timer_slack_ns = 50'000;
  // restart_syscall(2): continues an interrupted sleep.
  Result<int64_t> (*restart_function)(Task&) = nullptr;
  uint64_t restart_data[4] = {};
  // Guarded by the process's signal mutex:
  SignalQueue pending;
  // Atomics:
  /// System calls so far; only the task itself counts, and its exit hands them to the kernel's counter.
  std::atomic<uint64_t> calls{0};
  std::atomic<int> nice{0};
  std::atomic<int> scheduling_policy{0};  // SCHED_OTHER
  /// SCHED_RESET_ON_FORK: its children and threads have no raised priority.
  std::atomic<bool> resets_scheduling_on_fork{false};
  std::atomic<int> io_priority{0};
  std::atomic<uint64_t> affinity{~uint64_t{0}};
  std::atomic<bool> exiting{false};
  /// Its host thread exists: it may be kicked.
  std::atomic<bool> is_started{false};
  /// What it is doing, for /proc: R S D T Z.
  std::atomic<char> state{'R'};
  /// Somebody waits for a PI futex that this task holds: its exit looks for them.
  std::atomic<bool> has_pi_waiters{false};
  /// A vfork with a copied address space: the parent waits until this is true. `vfork_parent` is guarded by the TaskList lock.
  std::atomic<bool> vfork_is_over{false};
  KernelStackHead* vfork_parent = nullptr;
  /// Its address space is the parent's, on loan until exec or exit (Engine::run_borrowed).
  bool is_borrowing = false;

  Task(Kernel& kernel, KernelStackHead& stack, TaskBundle& bundle, ThreadId tid, RefPtr<Process> process);
  ~Task() override;

  RefPtr<vfs::FdTable> fds_;
  RefPtr<vfs::FsContext> fs_;
  RefPtr<mm::AddressSpace> address_space_;
  RefPtr<const Credentials> credentials_;
  RefPtr<Process> process_;

 protected:
  void last_reference_dropped() override;

 private:
  mutable Mutex shared_mutex_{LockRank::None};  // what others may read of fds_, fs_, address_space_ and credentials_
  Kernel& kernel_;
  KernelStackHead& stack_;
  TaskBundle& bundle_;
  ThreadId tid_;
};

}  // namespace umk

#include "core/kernel/task/exit.h"

#include "core/base/log.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/clone.h"
#include "core/kernel/task/futex.h"
#include "core/kernel/task/job_control.h"
#include "core/kernel/task/process_timers.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/task/task_bundle.h"

namespace umk {

void add_usage(guest::Usage& sum, const guest::Usage& part) {
  sum.user_ns += part.user_ns;
  sum.system_ns += part.system_ns;
  sum.minor_faults += part.minor_faults;
  sum.major_faults += part.major_faults;
  sum.voluntary_switches += part.voluntary_switches;
  sum.involuntary_switches += part.involuntary_switches;
}

guest::Usage process_usage_locked(Process& process) {
  guest::Usage sum = process.dead_threads_usage;
  for (Task& task : process.tasks)
    if (task.is_started.load(std::memory_order_acquire) || &task == Task::current_or_null()) add_usage(sum, process.kernel().engine.usage(task));
  return sum;
}

namespace {

/// Runs when nothing uses the kernel stack any more: the host context's share of the task goes.
void release_task(Task& task) {
  TaskBundle& bundle = task.bundle();
  task.drop_reference();
  bundle.release();
}

Process& reaper_of(Process& process) {
  for (Process* ancestor = process.parent; ancestor; ancestor = ancestor->parent)
    if (ancestor->is_child_subreaper && !ancestor->tasks.empty()) return *ancestor;
  return *process.kernel().tasks.init;
}

void hand_over_children_locked(Process& process) {
  // The end of the first process is the end of the machine: nobody takes over its children.
  if (process.children.empty() || &process == process.kernel().tasks.init) return;
  Process& reaper = reaper_of(process);
  while (!process.children.empty()) {
    Process& child = process.children.front();
    static_cast<ListHook<SiblingTag>&>(child).unlink();
    for (Task& task : child.tasks)
      if (task.parent_death_signal != 0) {
        SignalInfo info = SignalInfo::from_user(task.parent_death_signal, signal_codes::kUser, process.pid(), 0);
        (void)send_signal(task, info);
      }
    child.set_parent(&reaper);
    reaper.children.push_back(child);
    check_orphaned_groups_locked(child, &process);
    // An orphan reports to its new parent with SIGCHLD, whatever it was cloned with.
    child.exit_signal = signals::kChild;
    if (!child.is_zombie) continue;
    if (notify_parent_locked(child, signals::kChild, (child.exit_status & 0x7f) ? signal_codes::kChildKilled : signal_codes::kChildExited,
                             (child.exit_status & 0x7f) ? child.exit_status & 0x7f : (child.exit_status >> 8) & 0xff))
      reap_locked(process.kernel(), &child);
  }
}

/// The first process is gone: so is the machine.
void end_machine(Kernel& kernel, int status) {
  if (kernel.power_action.load() != PowerAction::None) return;
  if (!kernel.options.ends_with_init) {
    // In the words that scripts look for.
    char text[64];
    BufferSink sink(text);
    format(sink, "Attempted to kill init! exitcode=0x{08x}", static_cast<unsigned>(status));
    sink.put(std::string_view("\0", 1));
    panic(text);
  }
  kernel.exit_code.store(status);
  kernel.request_power_action(PowerAction::PowerOff);
}

void publish_zombie_locked(Process& process) {
  Kernel& kernel = process.kernel();
  {
    MutexLock lock(process.signal_mutex);
    if (process.group_exiting) process.exit_status = process.group_exit_status;
  }
  hand_over_children_locked(process);
  process.is_zombie = true;
  process.unreported_change = 0;
  check_orphaned_groups_locked(process, process.parent);
  if (process.session && process.session->leader == &process) process.session->leader = nullptr;
  process.exit_events.wake_all();
  const int signal = process.exit_status & 0x7f;
  const bool is_unwanted = notify_parent_locked(process, process.exit_signal, signal ? signal_codes::kChildKilled : signal_codes::kChildExited,
                                                signal ? signal : (process.exit_status >> 8) & 0xff);
  if (&process == kernel.tasks.init) end_machine(kernel, process.exit_status);
  // Nobody waits for what the kernel started by itself (start_helper_task).
  const bool is_helper = !process.parent && &process != kernel.tasks.init;
  if (is_unwanted || is_helper) reap_locked(kernel, &process);
}

/// What the process as a whole gives up when its last thread begins to exit.
void release_process(Task& current) {
  Process& process = current.process();
  if (ProcessTimers* timers = process.timers.exchange(nullptr)) delete timers;
  RefPtr<Session> session;
  RefPtr<ControllingTerminal> terminal;
  RefPtr<ProcessGroup> hung_up;
  {
    MutexLock lock(current.kernel().tasks.mutex);
    if (process.session && process.session->leader == &process) {
      session = process.session;
      terminal = session->controlling_tty;
      std::swap(hung_up, session->hung_up_foreground);
    }
    // The terminal hung up before: its jobs learn of it now, as their shell did not end them.
    if (hung_up && !terminal) {
      send_signal_locked(*hung_up, SignalInfo::from_kernel(signals::kHangup));
      send_signal_locked(*hung_up, SignalInfo::from_kernel(signals::kContinue));
    }
  }
  if (terminal) terminal->on_leader_exit(*session);
}

void drop_files(Task& task) {
  if (!task.fds_) return;
  const RefPtr<vfs::FdTable> fds = task.exchange_fds(nullptr);
  if (fds->reference_count() == 1) fds->close_all(fds.get());
}

}  // namespace

void exit_task(Task& current, int status) {
  Process& process = current.process();
  Kernel& kernel = current.kernel();
  bool is_last;
  {
    MutexLock lock(kernel.tasks.mutex);
    MutexLock signal_lock(process.signal_mutex);
    current.exiting = true;
    is_last = --process.live_threads == 0;
    // Without a group exit the status is that of the thread that leaves last.
    if (is_last && !process.group_exiting) process.exit_status = status;
  }
  // The guest's words of memory are written while its address space is still there.
  futex::release_robust_list(current);
  futex::release_pi_words_of(current);
  if (current.address_space_ && current.address_space_->reference_count() > 1) futex::clear_child_tid(current);
  if (is_last) release_process(current);
  drop_files(current);
  (void)current.exchange_fs(nullptr);
  (void)current.exchange_address_space(nullptr);

  const guest::Usage usage = kernel.engine.usage(current);
  current.state.store('Z', std::memory_order_relaxed);
  RefPtr<Process> keep_process = &process;
  {
    MutexLock lock(kernel.tasks.mutex);
    bool is_empty;
    {
      MutexLock signal_lock(process.signal_mutex);
      static_cast<ListHook<TaskListTag>&>(current).unlink();
      current.pending.clear({~uint64_t{0}});
      is_empty = process.tasks.empty();
      // What was meant for the process and marked at this thread goes to another.
      for (Task& task : process.tasks) update_interrupts_locked(task);
    }
    add_usage(process.dead_threads_usage, usage);
    kernel.counters.calls.fetch_add(current.calls.exchange(0, std::memory_order_relaxed), std::memory_order_relaxed);
    if (!current.is_leader()) kernel.tasks.remove(current);
    process.thread_events.wake_all();
    if (is_empty) {
      publish_zombie_locked(process);
    } else {
      // The last running thread of a stopping process may have been this one.
      bool completes_stop = false;
      {
        MutexLock signal_lock(process.signal_mutex);
        completes_stop = process.is_stopped && !process.stop_is_reported && process.stopped_threads >= process.live_threads && process.live_threads > 0;
        if (completes_stop) process.stop_is_reported = true;
      }
      if (completes_stop) {
        process.unreported_change = signal_codes::kChildStopped;
        notify_parent_locked(process, signals::kChild, signal_codes::kChildStopped, process.stop_signal);
      }
    }
  }
  end_vfork(current);
  keep_process = nullptr;
  kernel.engine.exit_current(current, &release_task);
  __builtin_unreachable();
}

void exit_group(Task& current, int status) {
  Process& process = current.process();
  int decided;
  {
    MutexLock lock(process.signal_mutex);
    // An exec that is killing the other threads wins: the caller is one of them.
    if (process.exec_task && process.exec_task != &current) {
      decided = 0;
    } else {
      start_group_exit_locked(process, status);
      decided = process.group_exit_status;
    }
  }
  exit_task(current, decided);
}

// The analysis cannot see that the caller's name for the lock means this one.
void reap_locked(Kernel& kernel, RefPtr<Process> zombie) NO_THREAD_SAFETY_ANALYSIS {
  CHECK(zombie->leader, "a process is reaped once");
  if (zombie->parent) {
    static_cast<ListHook<SiblingTag>&>(*zombie).unlink();
    zombie->set_parent(nullptr);
  }
  const RefPtr<Task> leader = std::move(zombie->leader);
  kernel.tasks.remove(*leader);
  kernel.tasks.set_group(*zombie, nullptr);
}

}  // namespace umk

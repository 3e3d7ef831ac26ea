#include "core/kernel/task/exec_support.h"

#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/clone.h"
#include "core/kernel/task/futex.h"
#include "core/kernel/task/process_timers.h"
#include "core/kernel/task/signals.h"

namespace umk {

Result<void> kill_other_threads_for_exec(Task& current) {
  Process& process = current.process();
  TaskList& tasks = current.kernel().tasks;
  RefPtr<Task> old_leader;  // freed after the lock
  MutexLock lock(tasks.mutex);
  {
    MutexLock signal_lock(process.signal_mutex);
    if (process.group_exiting || process.exec_task) return error(EAGAIN);
    process.exec_task = &current;
    for (Task& task : process.tasks)
      if (&task != &current) interrupt_task(task, sync::interrupt::kKill);
    // Stopped threads wake to die.
    process.continue_events.wake_all();
  }
  Result<void> outcome;
  // The list is sorted by age; alone means that the one entry is the caller.
  while (&process.tasks.front() != &current || &process.tasks.back() != &current) {
    outcome = process.thread_events.wait(tasks.mutex, Sleep::Killable);
    if (!outcome.ok()) break;
  }
  if (outcome.ok() && !current.is_leader()) {
    old_leader = process.leader;
    current.start_time_ns = old_leader->start_time_ns;
    tasks.take_over_id(current, *old_leader);
    process.leader = &current;
  }
  MutexLock signal_lock(process.signal_mutex);
  process.exec_task = nullptr;
  if (!outcome.ok()) return error(EAGAIN);
  return {};
}

void release_user_words(Task& current) {
  futex::release_robust_list(current);
  current.robust_list_head = 0;
  futex::release_pi_words_of(current);
  if (current.address_space_->reference_count() > 1) futex::clear_child_tid(current);
  current.clear_child_tid = 0;
}

Result<void> reset_task_for_exec(Task& current) {
  Process& process = current.process();
  if (process.handlers->reference_count() > 1) {
    RefPtr<SignalHandlers> own = TRY(make_ref<SignalHandlers>());
    own->copy_from(*process.handlers);
    MutexLock lock(process.signal_mutex);
    std::swap(process.handlers, own);
  }
  process.handlers->reset_for_exec();
  // Before descriptors close: a parent that waits for that takes the program as begun.
  {
    MutexLock lock(current.kernel().tasks.mutex);
    process.has_execed = true;
  }
  if (current.fds().reference_count() > 1) (void)current.exchange_fds(TRY(current.fds().clone()));
  current.fds().close_on_exec(&current.fds());

  current.alternate_stack_base = current.alternate_stack_size = 0;
  current.alternate_stack_flags = 2;
  current.clear_child_tid = current.robust_list_head = current.set_child_tid = 0;
  current.restart_function = nullptr;
  if (ProcessTimers* timers = process.timers.load()) timers->remove_all_posix();
  end_vfork(current);
  return {};
}

}  // namespace umk

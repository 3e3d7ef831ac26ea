// TaskList: all tasks, processes, process groups and sessions by number, and the lock of the family tree.
#pragma once

#include "core/base/vector.h"
#include "core/kernel/task/process.h"

namespace umk {

class TaskList {
 public:
  static constexpr ProcessId kMaximumId = 32768;  // kernel.pid_max's default

  /// Guards parents and children, groups, sessions and the table itself.
  Mutex mutex{LockRank::TaskList};

  /// A number that no task, group or session uses: allocated upwards, wrapping at kMaximumId to 300. EAGAIN when there is none.
  Result<ThreadId> allocate_id() REQUIRES(mutex);
  Result<void> add(Task& task) REQUIRES(mutex);
  void remove(Task& task) REQUIRES(mutex);

  RefPtr<Task> find_task(ThreadId tid) REQUIRES(mutex);
  RefPtr<Process> find_process(ProcessId pid) REQUIRES(mutex);
  RefPtr<ProcessGroup> find_group(ProcessId id) REQUIRES(mutex);
  RefPtr<Session> find_session(ProcessId id) REQUIRES(mutex);
  Result<RefPtr<ProcessGroup>> make_group(ProcessId id, RefPtr<Session> session) REQUIRES(mutex);
  Result<RefPtr<Session>> make_session(ProcessId id) REQUIRES(mutex);
  void drop_unused_groups() REQUIRES(mutex);

  /// The next task with a number >= `from`, for /proc; null at the end.
  RefPtr<Task> next_task(ThreadId from) REQUIRES(mutex);

  Process* init = nullptr;

 private:
  /// One entry per number in use; a small sorted structure, not a table that is walked (task_list.cpp).
  struct Entry {
    int32_t id;
    Task* task = nullptr;
    RefPtr<Process> process;
    ProcessGroup* group = nullptr;
    Session* session = nullptr;
  };
  Entry* find_locked(int32_t id);
  Vector<Entry> entries_;
  int32_t last_id_ = 0;
};

}  // namespace umk

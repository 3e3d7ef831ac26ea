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
  /// It is reserved until add() or release_id().
  Result<ThreadId> allocate_id() REQUIRES(mutex);
  void release_id(ThreadId id) REQUIRES(mutex);
  /// Makes a task findable by its number; the entry for it exists since allocate_id. Holds no reference.
  void add(Task& task) REQUIRES(mutex);
  void remove(Task& task) REQUIRES(mutex);
  /// exec by another thread than the leader: `task` takes over `old_leader`'s number, whose entry and its own fall together.
  void take_over_id(Task& task, Task& old_leader) REQUIRES(mutex);

  RefPtr<Task> find_task(ThreadId tid) REQUIRES(mutex);
  /// A process by the number of its leader, zombies too.
  RefPtr<Process> find_process(ProcessId pid) REQUIRES(mutex);
  RefPtr<ProcessGroup> find_group(ProcessId id) REQUIRES(mutex);
  RefPtr<Session> find_session(ProcessId id) REQUIRES(mutex);
  Result<RefPtr<ProcessGroup>> make_group(ProcessId id, RefPtr<Session> session) REQUIRES(mutex);
  Result<RefPtr<Session>> make_session(ProcessId id) REQUIRES(mutex);
  /// Moves a process into `group` (null: none); the group it leaves, and its session, disappear with their last member.
  void set_group(Process& process, RefPtr<ProcessGroup> group) REQUIRES(mutex);

  /// The next task with a number >= `from`, for /proc; null at the end.
  RefPtr<Task> next_task(ThreadId from) REQUIRES(mutex);
  /// Processes, zombies included: the next leader with a number >= `from`.
  RefPtr<Process> next_process(ProcessId from) REQUIRES(mutex);
  size_t task_count() REQUIRES(mutex) { return task_count_; }

  Process* init = nullptr;

 private:
  /// One entry per number in use, sorted, in one piece of memory: a new process finds its number with few page faults.
  struct Entry {
    int32_t id;
    bool reserved = false;
    Task* task = nullptr;
    ProcessGroup* group = nullptr;
    Session* session = nullptr;
  };
  size_t lower_bound(int32_t id) const;
  Entry* find_locked(int32_t id);
  Result<Entry*> find_or_make(int32_t id);
  void drop_if_unused(int32_t id);

  Vector<Entry> entries_;
  int32_t last_id_ = 0;
  size_t task_count_ = 0;
};

}  // namespace umk

// Subject: the process or thread that a file of /proc/PID tells about, by number and start time, so that a number that was given to another task is
// not taken for the old one. It holds no reference: an open file or a cached name must not keep the memory of a dead task.
#pragma once

#include "core/kernel/task/inspection.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/task/task.h"

namespace umk::proc {

struct Subject {
  ThreadId tid = 0;  // 0: none, the file is about the machine
  uint64_t start_time_ns = 0;
  /// /proc/PID/task/TID rather than /proc/PID: what tells of times and faults tells those of the thread alone.
  bool is_thread = false;
  /// The descriptor that a file of fd/ or fdinfo/ is about.
  int fd = -1;

  explicit operator bool() const { return tid != 0; }
  static Subject of(const Task& task, bool is_thread) { return {task.tid(), task.start_time_ns, is_thread}; }
  /// The task: for a process its leader, which stays until it is reaped. ESRCH.
  Result<RefPtr<Task>> find(Kernel& kernel) const;
  bool is_alive(Kernel& kernel) const { return find(kernel).ok(); }
};

/// Who owns the files of a task: its effective ids, root when it may not be dumped.
struct Owner {
  UserId uid = 0;
  GroupId gid = 0;
};
Owner owner_of_files(const Task& task);

}  // namespace umk::proc

// What execve(2) needs of tasks: being alone in the process, and the parts of a task that do not survive.
#pragma once

#include "core/kernel/task/task.h"

namespace umk {

/// Kills all other threads and waits for their end; the caller becomes the leader and takes over the process's number. EAGAIN when another thread
/// execs or the process is already ending.
Result<void> kill_other_threads_for_exec(Task& current);

/// Before the old address space is left: robust list and clear-child-tid are honoured in it.
void release_user_words(Task& current);

/// After the point of no return: handlers to default, alternate stack, clear-child-tid, robust list and POSIX timers forgotten, descriptors marked
/// close-on-exec closed, tables shared with other processes copied; the waiting parent of a vfork goes on. setitimer timers and pending signals stay.
Result<void> reset_task_for_exec(Task& current);

}  // namespace umk

#include "core/fs/proc/subject.h"

namespace umk::proc {

Result<RefPtr<Task>> Subject::find(Kernel& kernel) const {
  MutexLock lock(kernel.tasks.mutex);
  RefPtr<Task> task;
  if (is_thread) {
    task = kernel.tasks.find_task(tid);
  } else if (const RefPtr<Process> process = kernel.tasks.find_process(tid)) {
    task = process->leader;
  }
  if (!task || task->start_time_ns != start_time_ns) return error(ESRCH);
  return task;
}

Owner owner_of_files(const Task& task) {
  const RefPtr<const Credentials> who = task.credentials_ref();
  if (!who || !task.process().is_dumpable.load(std::memory_order_relaxed)) return {};
  return {who->euid, who->egid};
}

}  // namespace umk::proc

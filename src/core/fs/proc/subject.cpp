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

Result<void> check_inspection(const Credentials& reader, const Task& target) {
  const Task* current = Task::current_or_null();
  if (current && &current->process() == &target.process()) return {};
  if (reader.has(Capability::SysPtrace)) return {};
  const RefPtr<const Credentials> who = target.credentials_ref();
  const bool same = who && reader.fsuid == who->uid && reader.fsuid == who->euid && reader.fsuid == who->suid && reader.fsgid == who->gid &&
                    reader.fsgid == who->egid && reader.fsgid == who->sgid;
  if (!same || !target.process().is_dumpable.load(std::memory_order_relaxed)) return error(EACCES);
  // Nobody looks at a process that can do more than himself.
  if ((who->permitted.bits & ~reader.permitted.bits) != 0) return error(EACCES);
  return {};
}

Owner owner_of_files(const Task& task) {
  const RefPtr<const Credentials> who = task.credentials_ref();
  if (!who || !task.process().is_dumpable.load(std::memory_order_relaxed)) return {};
  return {who->euid, who->egid};
}

}  // namespace umk::proc

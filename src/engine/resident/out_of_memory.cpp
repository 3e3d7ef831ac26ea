#include "engine/resident/out_of_memory.h"

#include "core/base/log.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/task/task.h"
#include "engine/vessel/machine.h"

namespace umk::engine {

bool kill_for_memory(int host_pid, uint64_t its_bytes, uint64_t all_bytes) {
  TaskList& tasks = machine().kernel->tasks;
  RefPtr<Task> victim;
  {
    MutexLock lock(tasks.mutex);
    for (RefPtr<Task> task = tasks.next_task(1); task; task = tasks.next_task(task->tid() + 1)) {
      const HostThread* host = Bundle::of(task->stack()).host;
      if (task->exiting.load() || !host || !host->vessel || host->vessel->leader->tid.load() != host_pid) continue;
      if (task->process().is_unkillable) return false;
      victim = task;
      break;
    }
  }
  if (!victim) return false;
  log(LogLevel::Error, "Out of memory: killed process {} ({}), which used {} KiB of {} KiB in use; mem= allows {} KiB", victim->process().pid(), victim->name,
      its_bytes >> 10, all_bytes >> 10, machine().parameters.memory_bytes >> 10);
  (void)send_signal(victim->process(), SignalInfo::from_kernel(signals::kKill));
  return true;
}

}  // namespace umk::engine

#include "engine/resident/out_of_memory.h"

#include <algorithm>

#include "core/base/log.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/task/memory_claim.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/task/task.h"
#include "core/kernel/time/log_limit.h"
#include "engine/image/boot_protocol.h"
#include "engine/vessel/machine.h"

namespace umk::engine {

namespace {
// Programs that need too much can be started in a loop.
constinit LogLimit log_limit;
}  // namespace

bool kill_for_memory(const MemoryUser* users, uint64_t count, uint64_t all_bytes) {
  TaskList& tasks = machine().kernel->tasks;
  RefPtr<Task> victim;
  uint64_t its_bytes = 0;
  int64_t most = 0;
  {
    MutexLock lock(tasks.mutex);
    for (RefPtr<Task> task = tasks.next_task(1); task; task = tasks.next_task(task->tid() + 1)) {
      const HostThread* host = Bundle::of(task->stack()).host;
      if (task->exiting.load() || !host || !host->vessel) continue;
      const int host_pid = host->vessel->leader->tid.load();
      const MemoryUser* user = std::find_if(users, users + count, [&](const MemoryUser& one) { return one.host_pid == host_pid; });
      if (user == users + count) continue;
      const std::optional<int64_t> claim = memory_claim(task->process(), user->bytes, machine().parameters.memory_bytes);
      if (!claim || (victim && *claim <= most)) continue;
      victim = task;
      most = *claim;
      its_bytes = user->bytes;
    }
  }
  if (!victim) return false;
  log_limited(log_limit, "out of memory", LogLevel::Error, "Out of memory: killed process {} ({}), which used {} KiB of {} KiB in use; mem= allows {} KiB", victim->process().pid(), victim->name,
      its_bytes >> 10, all_bytes >> 10, machine().parameters.memory_bytes >> 10);
  (void)send_signal(victim->process(), SignalInfo::from_kernel(signals::kKill));
  return true;
}

}  // namespace umk::engine

#include "engine/resident/out_of_memory.h"

#include <algorithm>

#include "core/base/log.h"
#include "core/kernel/mm/cache_window.h"
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

bool is_ending(const Task& task) {
  MutexLock lock(task.process().signal_mutex);
  return task.exiting.load() || task.process().group_exiting;
}
}  // namespace

uint64_t list_memory_users(MemoryUser* users, uint64_t capacity) {
  Machine& m = machine();
  uint64_t count = 0;
  auto add = [&](const Vessel& vessel, bool is_idle) {
    if (count < capacity) users[count] = {.host_pid = vessel.leader->tid.load(), .stays = is_idle, .bytes = 0};
    ++count;
  };
  MutexLock lock(m.pool_mutex);
  for (const Vessel& vessel : m.vessels) add(vessel, vessel.ListHook<>::is_linked());
  for (const Vessel* vessel = m.leaving; vessel; vessel = vessel->next_leaving) add(*vessel, false);
  return count;
}

bool kill_for_memory(MemoryUser* users, uint64_t count, uint64_t all_bytes) {
  Kernel& kernel = *machine().kernel;
  const uint64_t limit = kernel.cache_window->account().limit();
  RefPtr<Task> victim;
  uint64_t its_bytes = 0;
  int64_t most = 0;
  {
    MutexLock lock(kernel.tasks.mutex);
    for (RefPtr<Task> task = kernel.tasks.next_task(1); task; task = kernel.tasks.next_task(task->tid() + 1)) {
      const HostThread* host = Bundle::of(task->stack()).host;
      if (is_ending(*task) || !host || !host->vessel) continue;
      const int host_pid = host->vessel->leader->tid.load();
      MemoryUser* user = std::find_if(users, users + count, [&](const MemoryUser& one) { return one.host_pid == host_pid; });
      if (user == users + count) continue;
      user->stays = true;
      const std::optional<int64_t> claim = memory_claim(task->process(), user->bytes, limit);
      if (!claim || (victim && *claim <= most)) continue;
      victim = task;
      most = *claim;
      its_bytes = user->bytes;
    }
  }
  uint64_t returning = 0;
  for (uint64_t i = 0; i < count; ++i)
    if (!users[i].stays) returning += users[i].bytes;
  if (!victim || (returning > 0 && all_bytes - returning <= limit)) return false;
  log_limited(log_limit, "out of memory", LogLevel::Error,
              "Out of memory: killed process {} ({}), which used {} KiB of {} KiB in use; mem= allows {} KiB", victim->process().pid(),
              victim->name, its_bytes >> 10, all_bytes >> 10, limit >> 10);
  (void)send_signal(victim->process(), SignalInfo::from_kernel(signals::kKill));
  return true;
}

}  // namespace umk::engine

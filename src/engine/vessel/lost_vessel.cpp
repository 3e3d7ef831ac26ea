#include "engine/vessel/lost_vessel.h"

#include "core/base/log.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/exit.h"
#include "core/kernel/task/signals.h"
#include "engine/vessel/machine.h"

namespace umk::engine {

namespace {

/// The new beginning of a context that was in guest code.
void begin_exit(void* argument) {
  Task& task = *static_cast<Bundle*>(argument)->head.task;
  exit_group(task, exit_status_of_signal(signals::kKill));
}

/// A thread that has not begun yet holds nothing, wherever it is.
bool was_in_guest(const HostThread& host, const Bundle& bundle) { return !bundle.head.in_kernel || !host.can_be_kicked.load(); }

/// No wait of the task goes on, and on its way to guest code it will see that it has nothing to go to (signal_delivery.cpp). Nothing here takes a lock, as who
/// holds one may be continued by this.
void mark_lost(Task& task) {
  if (const RefPtr<mm::AddressSpace> space = task.address_space_ref()) space->is_lost.store(true);
  (void)sync::interrupt_context(task.stack(), sync::interrupt::kKill);
}

/// False when no vessel can be had.
bool continue_elsewhere(HostThread& host, Bundle& bundle) {
  Result<Vessel*> idle = acquire_vessel();
  if (!idle.ok()) return false;
  Vessel& next = *idle.value();
  // Who lent its host thread to this context gets it back when this ends; they share the address space.
  for (Bundle* context = &bundle; context; context = context->lender) {
    context->host = next.leader;
    mark_lost(*context->head.task);
  }
  if (was_in_guest(host, bundle)) {
    prepare_context(bundle, bundle.stack_top() - UMK_REGISTERS_BYTES, begin_exit, &bundle);
  } else {
    bundle.switch_rsp = bundle.head.call_rsp;
  }
  bundle.head.call_rsp = 0;
  bundle.head.in_kernel = true;
  next.live_tasks.store(1);
  hand_to(next, bundle);
  return true;
}

template <typename Body>
void for_each_thread(Vessel& vessel, Body&& body) {
  body(*vessel.leader);
  MutexLock lock(vessel.mutex);
  for (HostThread& thread : vessel.threads) body(thread);
}

}  // namespace

VesselEnd rescue_tasks(Vessel& vessel, bool was_idle) {
  Machine& m = machine();
  const int host_pid = vessel.leader->tid.load();
  end_remote_calls(vessel);

  const char* obstacle = nullptr;
  int obstacle_tid = 0;
  uint32_t tasks = 0;
  // Only its own threads take this one.
  if (vessel.mutex.is_locked()) obstacle = "it held a lock of its own";
  if (!obstacle)
    for_each_thread(vessel, [&](HostThread& host) {
      Context& context = *host.current;
      const bool is_task = &context != &host;
      if (is_task) ++tasks;
      if (is_task && was_in_guest(host, static_cast<Bundle&>(context))) return;
      if (context.head.call_rsp != 0) return;
      // A thread that is not the leader and has no task any more is on its way out.
      if (!is_task && !host.is_leader()) return;
      obstacle = "it ran kernel code and may have held locks";
      obstacle_tid = is_task ? context.head.task->tid() : 0;
    });
  if (obstacle) {
    log(LogLevel::Emergency, "Kernel panic - not syncing: host process {} was killed while {} (task {})", host_pid, obstacle, obstacle_tid);
    return VesselEnd::Fatal;
  }
  log(LogLevel::Error, "host process {} was killed by the host: its {} tasks end", host_pid, tasks);

  bool is_complete = true;
  for_each_thread(vessel, [&](HostThread& host) {
    if (host.current == &host) return;
    is_complete = continue_elsewhere(host, static_cast<Bundle&>(*host.current)) && is_complete;
  });
  // A context that had been handed to it and not begun goes to another: it has lost nothing.
  if (Bundle* handed = vessel.handed.exchange(nullptr)) {
    Result<Vessel*> idle = acquire_vessel();
    if (idle.ok()) {
      idle.value()->live_tasks.store(1);
      hand_to(*idle.value(), *handed);
    }
    is_complete = is_complete && idle.ok();
  }
  if (!is_complete) {
    log(LogLevel::Emergency, "Kernel panic - not syncing: no host process to end the tasks of host process {}", host_pid);
    return VesselEnd::Fatal;
  }
  stop_carrying(vessel);
  m.vessels_live.fetch_sub(1);
  if (!was_idle) m.kernel->counters.vessels.fetch_sub(1);
  return VesselEnd::Survived;
}

}  // namespace umk::engine

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

/// What a host thread did when its process ended.
enum class Lost {
  Nothing,  // nothing that anybody misses
  Task,  // it was in guest code or in a host call for a task
  IdleSide,  // it was in a host call between tasks: it gives back what the last one had, may hold locks over the call, and is waited for
  Obstacle,  // it ran kernel code
};

Lost what_was_lost(HostThread& host) {
  const Context& context = *host.current;
  if (context.head.task) {
    // Its clone was not called yet: the caller, which goes on elsewhere, takes it back.
    if (!host.is_leader() && !host.is_cloned.load()) return Lost::Nothing;
    return was_in_guest(host, static_cast<const Bundle&>(context)) || context.head.call_rsp != 0 ? Lost::Task : Lost::Obstacle;
  }
  // Of this vessel, or of one that was lost before.
  const auto& idle = static_cast<const HostThread&>(context);
  if (idle.is_at_rest.load() || (&idle == &host && !host.can_be_kicked.load())) return Lost::Nothing;
  // In a signal handler its calls are made on the alternate stack, from where nobody else comes back.
  const bool is_in_handler = idle.head.call_rsp - host.alternate_stack() < HostThread::kAlternateStackBytes;
  return idle.head.call_rsp != 0 && !is_in_handler ? Lost::IdleSide : Lost::Obstacle;
}

/// Lets an idle vessel go on with a context of a lost one. False when no vessel can be had.
bool give_away(Context& context) {
  Result<Vessel*> idle = acquire_vessel();
  if (!idle.ok()) return false;
  idle.value()->live_tasks.store(1);
  hand_to(*idle.value()->leader, context);
  return true;
}

bool continue_idle_side(Vessel& lost, HostThread& idle) {
  idle.switch_rsp = std::exchange(idle.head.call_rsp, 0);
  if (idle.vessel == &lost) lost.rescued.fetch_add(1);
  return give_away(idle);
}

/// False when no vessel can be had.
bool continue_task(HostThread& host, Bundle& bundle) {
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
  hand_to(*next.leader, bundle);
  return true;
}

/// A context that was handed to a thread and not begun goes to another vessel. Of the leader's it is one that has nothing here yet; of others it is a new thread of what
/// is lost.
bool continue_handed(const HostThread& host, Context& context) {
  if (!host.is_leader()) {
    mark_lost(*context.head.task);
    auto& bundle = static_cast<Bundle&>(context);
    prepare_context(bundle, bundle.stack_top() - UMK_REGISTERS_BYTES, begin_exit, &bundle);
  }
  return give_away(context);
}

/// Without the vessel's lock, which may be held by one who goes on only after this: nobody else takes it.
template <typename Body>
void for_each_thread(Vessel& vessel, Body&& body) NO_THREAD_SAFETY_ANALYSIS {
  body(*vessel.leader);
  for (HostThread& thread : vessel.threads) body(thread);
}

}  // namespace

VesselEnd rescue_tasks(Vessel& vessel, bool was_idle) {
  Machine& m = machine();
  const int host_pid = vessel.leader->tid.load();
  end_remote_calls(vessel);
  vessel.is_lost.store(true);

  // First the list of those that go on, since whoever goes on may change that of the threads.
  HostThread* first = nullptr;
  HostThread** last = &first;
  bool has_obstacle = false;
  int obstacle_tid = 0;
  uint32_t tasks = 0;
  for_each_thread(vessel, [&](HostThread& host) {
    const Task* task = host.current->head.task;
    if (task) ++tasks;
    const Lost lost = what_was_lost(host);
    if (lost == Lost::Obstacle) {
      has_obstacle = true;
      obstacle_tid = task ? task->tid() : 0;
    } else if (lost != Lost::Nothing || host.handed.load()) {
      *last = &host;
      last = &host.next_rescued;
    }
  });
  if (has_obstacle) {
    log(LogLevel::Emergency,
        "Kernel panic - not syncing: host process {} was killed while it ran kernel code and may have held locks (task {})", host_pid,
        obstacle_tid);
    return VesselEnd::Fatal;
  }
  log(LogLevel::Error, "host process {} was killed by the host: its {} tasks end", host_pid, tasks);

  bool is_complete = true;
  for (HostThread* next = first; next;) {
    HostThread& host = *next;
    next = host.next_rescued;
    Context& context = *host.current;
    bool goes_on = true;
    if (what_was_lost(host) != Lost::Nothing)
      goes_on = context.head.task ? continue_task(host, static_cast<Bundle&>(context))
                                  : continue_idle_side(vessel, static_cast<HostThread&>(context));
    if (Context* handed = host.handed.exchange(nullptr)) goes_on = continue_handed(host, *handed) && goes_on;
    is_complete = is_complete && goes_on;
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

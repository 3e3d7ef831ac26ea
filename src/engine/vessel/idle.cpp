// The idle sides of host threads: what they do while no task runs on them.
#include "core/kernel/task/task.h"
#include "engine/vessel/machine.h"
#include "engine/vessel/wishes.h"

namespace umk::engine {

namespace {

/// A task of the vessel was released. After the last one the leader cleans up; not before the task's host thread rests or is among the dead, as the end of
/// the process would take a thread along that has still to release its task.
void count_task_out(Vessel& vessel) {
  if (vessel.live_tasks.fetch_sub(1) != 1) return;
  vessel.cleanup_wanted.store(true);
  if (&current_host() != vessel.leader) sync::unpark(vessel.leader->head);
}

/// The end of the idle side of a thread whose process was lost: gives the host thread back on which it went on.
[[noreturn]] void leave_lost(HostThread& self) {
  HostThread& lent = current_host();
  CHECK(&lent != &self, "a lost thread goes on elsewhere");
  lent.left = HostThread::Left::LostThread;
  lent.left_thread = &self;
  switch_to(lent);
  __builtin_unreachable();
}

/// Runs `context`, which the thread was handed, until this idle side goes on. False when the process is lost before: another vessel takes the context.
bool go_on_with(HostThread& self, Context& context) {
  const Vessel& vessel = *self.vessel;
  const guest::Usage now = host_usage();
  if (vessel.is_lost.load()) return false;
  context.host = &self;
  if (context.head.task) {
    begin_usage(static_cast<Bundle&>(context), now);
    (void)tell_wishes(self, 0, *context.head.task);
    if (vessel.is_lost.load()) return false;
  }
  self.handed.store(nullptr);
  switch_to(context);
  return true;
}

void rest(HostThread& self) {
  self.is_at_rest.store(true);
  (void)sync::park(Sleep::Uninterruptible);
  self.is_at_rest.store(false);
}

/// Runs the next context that the thread is handed. False when it is dismissed instead.
bool run_next(HostThread& self) {
  for (;;) {
    if (self.vessel->is_lost.load()) leave_lost(self);
    sync::prepare_to_park();
    if (Context* context = self.handed.load()) {
      if (go_on_with(self, *context)) return true;
    } else if (self.is_dismissed.load()) {
      return false;
    } else {
      rest(self);
    }
  }
}

}  // namespace

[[noreturn]] void idle_loop(void*) {
  HostThread& self = current_host();
  Vessel& vessel = *self.vessel;
  for (;;) {
    if (finish_switch()) count_task_out(vessel);
    if (vessel.is_lost.load()) leave_lost(self);
    sync::prepare_to_park();
    if (vessel.cleanup_wanted.exchange(false)) {
      return_to_pool(vessel);
    } else if (Context* context = self.handed.load()) {
      (void)go_on_with(self, *context);
    } else {
      rest(self);
    }
  }
}

[[noreturn]] void follow(void*) {
  HostThread& self = current_host();
  do {
    const bool has_ended = finish_switch();
    let_rest(self);
    if (has_ended) count_task_out(*self.vessel);
  } while (run_next(self));
  self.is_at_rest.store(true);
  umk_exit_thread(&self.line->selector, 0);
}

}  // namespace umk::engine

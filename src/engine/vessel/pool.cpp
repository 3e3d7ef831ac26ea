// The pool of idle vessels: what comes back to it, what it gives, and the nursery, which makes more.
#include <errno.h>

#include "core/host/calls.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/time/log_limit.h"
#include "engine/vessel/host_numbers.h"
#include "engine/vessel/identity.h"
#include "engine/vessel/machine.h"
#include "engine/vessel/wishes.h"

namespace umk::engine {

namespace {

// A fork that cannot be served can be tried in a loop.
constinit LogLimit log_limit;

/// Idle vessels that are kept; beyond that an empty one ends.
constexpr uint32_t kPoolMaximum = 32;

void empty_user_range(Vessel& vessel) {
  stop_carrying(vessel);
  MUST(host::munmap(layout::kUserStart, layout::kUserEnd - layout::kUserStart), "unmapping whole ranges needs no memory");
}

/// Returns when the process was lost before it could leave.
void leave_host_process(Vessel& vessel) {
  Machine& m = machine();
  stop_carrying(vessel);
  {
    MutexLock lock(m.pool_mutex);
    if (vessel.is_lost.load()) return;
    m.vessels_live.fetch_sub(1);
    m.kernel->counters.vessels.fetch_sub(1);
    vessel.ListHook<AllVesselsTag>::unlink();
    vessel.next_leaving = std::exchange(m.leaving, &vessel);
  }
  host::raw_call(host::Call::ExitGroup, 0);
  __builtin_unreachable();
}

}  // namespace

void return_to_pool(Vessel& vessel) {
  Machine& m = machine();
  end_other_threads(vessel);
  if (vessel.is_lost.load()) return;
  bool leave;
  {
    MutexLock lock(m.pool_mutex);
    leave = m.pool_size >= kPoolMaximum || !is_impartial(*vessel.leader);
  }
  if (leave) return leave_host_process(vessel);
  empty_user_range(vessel);
  forget_slots();
  if (vessel.is_lost.load()) return;
  if (m.parameters.shield) note_only_thread(*vessel.leader);
  {
    MutexLock lock(m.pool_mutex);
    if (vessel.is_lost.load()) return;
    m.pool.push_front(vessel);
    ++m.pool_size;
  }
  // Counted are those in use: what waits in the pool is no leak.
  m.kernel->counters.vessels.fetch_sub(1);
  m.pool_queue.wake();
}

Result<Vessel*> acquire_vessel() {
  Machine& m = machine();
  // The host may allow no more processes until others have ended, of this machine or not: the nursery is asked again from time to time.
  const Deadline deadline = Deadline::after_ns(10'000'000'000);
  constexpr uint64_t kBetweenQuestions = 250'000'000;
  Deadline answer;
  MutexLock lock(m.pool_mutex);
  bool asked = false;
  for (;;) {
    if (!m.pool.empty()) {
      Vessel& vessel = m.pool.front();
      m.pool.pop_front();
      --m.pool_size;
      m.kernel->counters.vessels.fetch_add(1);
      return &vessel;
    }
    if (deadline.has_passed()) return error(EAGAIN);
    if (!asked) {
      asked = true;
      m.vessels_wanted.fetch_add(1);
      // Without the lock: a process that is lost in a host call must not hold it.
      m.pool_mutex.unlock();
      host::futex_wake(&m.vessels_wanted, 1);
      m.pool_mutex.lock();
      answer = Deadline::after_ns(kBetweenQuestions);
      continue;
    }
    const int outcome = m.pool_queue.wait(m.pool_mutex, Sleep::Killable, answer).code();
    if (outcome == ERESTARTSYS) return error(EAGAIN);
    asked = outcome != ETIMEDOUT;
  }
}

namespace {

[[noreturn]] void vessel_main(void*) {
  HostThread& self = current_host();
  start_host_thread(self);
  return_to_pool(*self.vessel);
  idle_loop(nullptr);
}

}  // namespace

[[noreturn]] void run_nursery() {
  Machine& m = machine();
  host::raw_call(host::Call::Prctl, kPrSetPdeathsig, 9);
  if (host::raw_call(host::Call::Getppid) != m.parameters.monitor_pid) host::raw_call(host::Call::ExitGroup, 1);
  for (;;) {
    const uint32_t wanted = m.vessels_wanted.load();
    if (wanted == 0) {
      host::futex_wait(&m.vessels_wanted, 0);
      continue;
    }
    m.vessels_wanted.fetch_sub(1);
    // The nursery's identity is the first: its children inherit it.
    Result<std::unique_ptr<Vessel>> made = make_vessel(0);
    if (!made.ok()) {
      log_limited(log_limit, "processes", LogLevel::Error, "umk: no memory for another process: errno {}", made.code());
      continue;
    }
    Vessel* vessel = made.take().release();
    HostThread& leader = *vessel->leader;
    prepare_context(leader, leader.stack_top(), vessel_main, nullptr);
    add_vessel(*vessel);
    // Counted before it can be in the pool, where it is not.
    m.vessels_live.fetch_add(1);
    m.kernel->counters.vessels.fetch_add(1);
    const int64_t pid = umk_clone(kCloneFiles | kCloneParent | kCloneParentSettid | 17, leader.switch_rsp, &leader.tid, nullptr, 0);
    if (pid < 0) {
      m.vessels_live.fetch_sub(1);
      m.kernel->counters.vessels.fetch_sub(1);
      log_limited(log_limit, "processes", LogLevel::Error,
                  "umk: the host refuses another process (errno {}): raise its limit on processes (ulimit -u)", -pid);
      remove_vessel(*vessel);
      drop_vessel(*vessel);
      continue;
    }
  }
}

}  // namespace umk::engine

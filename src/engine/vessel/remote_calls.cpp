#include "engine/vessel/remote_calls.h"

#include <errno.h>

#include "core/host/calls.h"
#include "core/sync/park.h"
#include "engine/vessel/context.h"
#include "engine/vessel/host_numbers.h"

namespace umk::engine {

namespace {

/// A kick can find the leader where it takes none, at its very start: it is sent again until there is an answer.
constexpr uint64_t kPatienceNs = 20'000'000;

/// False when there is no such process.
bool send_kick(Vessel& vessel) {
  const HostThread& leader = *vessel.leader;
  if (!leader.can_be_kicked.load(std::memory_order_seq_cst)) return true;
  const auto pid = static_cast<uint64_t>(leader.tid.load(std::memory_order_acquire));
  return host::raw_call(host::Call::Tgkill, pid, pid, kKickSignal) != -ESRCH;
}

}  // namespace

int64_t call_in(Vessel& vessel, host::Call call, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
  RemoteCalls& calls = vessel.calls;
  calls.call = call;
  const uint64_t arguments[6] = {a, b, c, d, e, f};
  for (int i = 0; i < 6; ++i) calls.arguments[i] = arguments[i];
  calls.state.store(RemoteCalls::kPosted, std::memory_order_seq_cst);
  for (;;) {
    bool is_gone = calls.has_ended.load(std::memory_order_seq_cst) || !send_kick(vessel);
    const Deadline patience = Deadline::after_ns(kPatienceNs);
    while (!is_gone) {
      const uint32_t state = calls.state.load(std::memory_order_acquire);
      if (state == RemoteCalls::kDone) {
        calls.state.store(RemoteCalls::kIdle, std::memory_order_relaxed);
        return calls.result;
      }
      if (host::futex_wait(&calls.state, state, patience.monotonic_ns) == -ETIMEDOUT) break;
      is_gone = calls.has_ended.load(std::memory_order_seq_cst);
    }
    if (is_gone) {
      calls.state.store(RemoteCalls::kIdle, std::memory_order_relaxed);
      return -ESRCH;
    }
  }
}

void serve_remote_call(HostThread& host) {
  if (!host.vessel) return;
  RemoteCalls& calls = host.vessel->calls;
  uint32_t posted = RemoteCalls::kPosted;
  if (!calls.state.compare_exchange_strong(posted, RemoteCalls::kServing, std::memory_order_seq_cst)) return;
  // The idle side of this thread has the same head, and may be in a call of its own.
  const uint64_t call_of_idle = host.head.call_rsp;
  const uint64_t* const a = calls.arguments;
  calls.result = host::raw_call(calls.call, a[0], a[1], a[2], a[3], a[4], a[5]);
  calls.state.store(RemoteCalls::kDone, std::memory_order_seq_cst);
  host::futex_wake(&calls.state, 1);
  host.head.call_rsp = call_of_idle;
}

void end_remote_calls(Vessel& vessel) {
  vessel.calls.has_ended.store(true, std::memory_order_seq_cst);
  host::futex_wake(&vessel.calls.state, 1);
}

void stop_carrying(Vessel& vessel) {
  MutexLock lock(vessel.calls.mutex);
  vessel.calls.carried = 0;
}

}  // namespace umk::engine

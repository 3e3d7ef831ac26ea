// Remote calls: host calls that a vessel makes because another process of the machine asks it to. A host process can change nobody's mappings but its own.
//
// The caller leaves one call in the vessel's mailbox and sends the kick signal to the vessel's leader, which lives as long as the vessel. The signal's handler
// makes the call and answers; then the thread goes on with whatever it did. So the call is made wherever the thread is: in guest code, idle, asleep in a wait
// or for a lock, in the middle of kernel code. It needs nothing from the vessel's tasks, and the caller may hold locks that they wait for. No other code of the
// kernel runs in the handler.
//
// Arguments that are addresses mean guest memory of the vessel, or kernel memory, which lies at the same place everywhere.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/host/call_table.h"
#include "core/sync/mutex.h"

namespace umk::engine {

struct HostThread;
struct Vessel;

struct RemoteCalls {
  /// Held for as long as somebody works on the vessel's address space: one at a time, and the vessel does not change it meanwhile.
  Mutex mutex{LockRank::None};
  /// The number of the address space that the vessel carries now (mm::AddressSpace::carrier); 0: none.
  uint64_t carried GUARDED_BY(mutex) = 0;

  // The mailbox. `state` is also the futex word that the caller sleeps on.
  static constexpr uint32_t kIdle = 0, kPosted = 1, kServing = 2, kDone = 3;
  std::atomic<uint32_t> state{kIdle};
  host::Call call{};
  uint64_t arguments[6] = {};
  int64_t result = 0;
  /// The host process is gone, or was never made.
  std::atomic<bool> has_ended{false};
};

/// Makes a host call in `vessel`, for one who holds its calls.mutex. The host's result; -ESRCH when the process is gone.
int64_t call_in(Vessel& vessel, host::Call call, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0, uint64_t e = 0, uint64_t f = 0);
/// Makes the call that waits in the mailbox of the thread's vessel, if there is one. For the kick handler, and for a thread that could not be kicked before.
void serve_remote_call(HostThread& host);
/// The vessel's process is gone: nobody waits for it any more.
void end_remote_calls(Vessel& vessel);
/// The vessel is about to lose what it carries: waits until nobody works on it.
void stop_carrying(Vessel& vessel);

}  // namespace umk::engine

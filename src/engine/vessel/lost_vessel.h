// What becomes of a vessel whose host process ended by surprise: killed by hand, or by the host for want of memory.
//
// Its tasks' address space is gone, and with it their processes: they are guest processes killed by SIGKILL. Their kernel contexts are shared memory and live
// on. Each is continued by an idle vessel, so that all that it holds is let go in the usual way:
//
//   where its host thread was          how it goes on
//   in guest code                      a new context on its kernel stack, which exits
//   in a host call of the kernel       the call is made again if others may depend on it (core/host/image/raw_call.cpp), else it returns EINTR; a wait ends as by a
//                                      kill, a lock that was waited for is waited for again
//   in a host call between tasks       as before: it may hold locks, and what the last task had is still to be given back. Then it ends (leave_lost)
//   elsewhere in the kernel            not at all: it may hold locks, and half of what it did is done. The machine is lost.
//
// Memory of the guest is not touched any more: AddressSpace::is_lost.
#pragma once

#include "engine/image/boot_protocol.h"

namespace umk::engine {

struct Vessel;

/// Called on a kernel thread of the monitor, when the host has no such process any more. `was_idle`: it waited in the pool.
VesselEnd rescue_tasks(Vessel& vessel, bool was_idle);

}  // namespace umk::engine

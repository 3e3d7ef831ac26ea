// Out of memory: which guest process lives in a host process, and its end.
#pragma once

#include <cstdint>

namespace umk::engine {

/// Kills the guest process whose address space `host_pid` carries, because it uses `its_bytes` of the `all_bytes` that are used. False when no guest
/// lives there now, or it is the first process of a machine that cannot do without.
bool kill_for_memory(int host_pid, uint64_t its_bytes, uint64_t all_bytes);

}  // namespace umk::engine

// Out of memory: which guest process ends.
#pragma once

#include <cstdint>

namespace umk::engine {

struct MemoryUser;

/// Kills the guest process that has most by its oom_score_adj, of those that live in `users`; `all_bytes` are in use. False when none may be killed: the first process
/// of a machine that cannot do without it, and who is exempted.
bool kill_for_memory(const MemoryUser* users, uint64_t count, uint64_t all_bytes);

}  // namespace umk::engine

// Out of memory: which guest process ends.
#pragma once

#include <cstdint>

namespace umk::engine {

struct MemoryUser;

/// Lists the host processes that carry guests, at most `capacity` of them and with `bytes` unset; returns how many there are.
uint64_t list_memory_users(MemoryUser* users, uint64_t capacity);

/// Kills the guest process that has most by its oom_score_adj, of those that live in `users`; `all_bytes` are in use. False when none may be killed, as the first process
/// of a machine that cannot do without it, and who is exempted; and when those that end already give back what is missing.
bool kill_for_memory(MemoryUser* users, uint64_t count, uint64_t all_bytes);

}  // namespace umk::engine

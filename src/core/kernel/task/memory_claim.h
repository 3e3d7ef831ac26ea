// Who ends when memory does: proc_pid_oom_score_adj(5).
#pragma once

#include <cstdint>
#include <optional>

namespace umk {

class Process;

/// What a process that has `bytes` counts for, of a machine that has `all_bytes`: who counts most is killed. Its adjustment adds or takes thousandths of all memory. Nothing
/// when the process is not to be killed, as its adjustment is the lowest or the machine cannot do without it.
std::optional<int64_t> memory_claim(const Process& process, uint64_t bytes, uint64_t all_bytes);

}  // namespace umk

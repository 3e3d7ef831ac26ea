// Call sites that trap: counted, and offered to the monitor's patcher once each.
#pragma once

#include <cstdint>

namespace umk {
class Task;
}

namespace umk::engine {

/// The syscall instruction at `site` of the current task's address space trapped with `number` in rax.
void note_trapped_call(Task& task, uint64_t site, uint64_t number);

}  // namespace umk::engine

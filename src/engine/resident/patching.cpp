#include "engine/resident/patching.h"

#include "core/kernel/task/kernel.h"
#include "core/kernel/task/task.h"

namespace umk::engine {

void note_trapped_call(Task& task, uint64_t site, uint64_t number) {
  (void)site, (void)number;
  task.kernel().counters.trapped_calls.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace umk::engine

// What a task wishes of the scheduler, which is the host's: affinity, and to be less important than others. sched(7).
//
// A host thread is told of the wishes of the task that comes to it. A nice value can be raised by everybody and lowered by few, so a host thread that was told of one
// serves no other program afterwards: its vessel does not go back to the pool. Values below 0 are kept, and the host is not asked for them: nobody in a guest comes before
// other programs of the host.
#pragma once

#include "core/base/result.h"

namespace umk {
class Task;
}

namespace umk::engine {

struct HostThread;

/// `tid`: that of `host`, or 0 on the thread itself. EINVAL when none of the processors exists; a nice value that the host refuses stays.
Result<void> tell_wishes(HostThread& host, int tid, const Task& task);
/// The host was never told of a task's wishes.
bool is_impartial(const HostThread& host);

}  // namespace umk::engine

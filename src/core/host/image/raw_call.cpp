#include <errno.h>

#include "core/host/calls.h"

extern "C" int64_t umk_raw_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);

namespace umk::host {

namespace {

/// No errno: the host process ended before the result was seen, and whether the call was made is not known. umk_switch_stack returns it (engine/gate/gate.S).
constexpr int64_t kLostCall = -4096;

/// Whether a call that was made, or was not, can be made once more by another process to the same end: others may wait for what it does, and locks may be held over
/// it. Not among them: what sleeps for the sake of its task, what moves a position, what makes or takes away names or descriptors.
bool may_be_repeated(Call call, uint64_t b) {
  switch (call) {
    case Call::Futex: {
      constexpr uint64_t kOperation = 0x7f, kWake = 1;
      return (b & kOperation) == kWake;
    }
    case Call::Write:  // to event counters and the log
    case Call::Mmap:   // all are MAP_FIXED
    case Call::Mprotect:
    case Call::Munmap:
    case Call::Madvise:
    case Call::Pread:
    case Call::Pwrite:
    case Call::Preadv:
    case Call::Pwritev:
    case Call::Yield:
    case Call::Fsync:
    case Call::Fdatasync:
    case Call::Ftruncate:
    case Call::Fallocate:
    case Call::Syncfs:
    case Call::Getrlimit:
    case Call::Getrusage:
    case Call::Geteuid:
    case Call::Getegid:
    case Call::Fstatfs:
    case Call::Statx:
    case Call::ClockGettime:
    case Call::Getcpu:
    case Call::Getrandom:
    case Call::Tgkill:
    case Call::Membarrier:
      return true;
    default:
      return false;
  }
}

}  // namespace

int64_t raw_call(Call call, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
  for (;;) {
    const int64_t result = umk_raw_call(static_cast<uint64_t>(call), a, b, c, d, e, f);
    if (result != kLostCall) [[likely]] return result;
    if (!may_be_repeated(call, b)) return -EINTR;
  }
}

}  // namespace umk::host

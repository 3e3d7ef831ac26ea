// Parking: how a kernel context sleeps and how others wake it.
//
// A context sleeps on the futex word at the head of its kernel stack. `prepare_to_park` marks the word; whoever has reason
// to wake the context sets it and wakes the futex; so a wake-up between prepare and park is never lost:
//
//   prepare_to_park();  publish "I wait" (a WaitQueue);  recheck the condition;  park();
//
// Who finds its condition fulfilled by the recheck need not park, and nobody takes the mark back then: a marked word does not mean a sleeper.
//
// Interrupts are reasons to end an interruptible sleep: a signal that will be delivered, a kill, a freeze. They stay set
// until the code that handles them (signal delivery) clears them.
#pragma once

#include <cstdint>

#include "core/base/result.h"
#include "core/host/kernel_stack.h"

namespace umk::sync {

namespace interrupt {
inline constexpr uint32_t kSignal = 1;  // an unblocked signal is pending
inline constexpr uint32_t kKill = 2;    // the task is being killed: SIGKILL, exec or exit_group of another thread
inline constexpr uint32_t kWork = 4;    // work for the exit path that need not end a sleep (vessel calls do, see engine)
}  // namespace interrupt

/// Which interrupts end a sleep.
enum class Sleep : uint32_t {
  Uninterruptible = 0,
  Killable = interrupt::kKill,
  Interruptible = interrupt::kSignal | interrupt::kKill,
};

/// When a sleep ends by itself: nanoseconds of the host's monotonic clock.
struct Deadline {
  uint64_t monotonic_ns = UINT64_MAX;
  static constexpr Deadline never() { return {}; }
  static Deadline after_ns(uint64_t duration_ns);
  bool is_never() const { return monotonic_ns == UINT64_MAX; }
  bool has_passed() const;
};

void prepare_to_park();
/// Sleeps until woken. Fails with ERESTARTSYS when an interrupt that `sleep` admits is set (also when it was before), with
/// ETIMEDOUT at the deadline. May return early without reason: callers recheck their condition.
Result<void> park(Sleep sleep, Deadline deadline = Deadline::never());
/// Wakes the context whose stack head is given, if it is parked or about to park.
void unpark(KernelStackHead& context);
/// Sets interrupt bits of a context and wakes it if it sleeps. Returns true when the engine must kick it as well: it had no
/// interrupt before and may be in user mode.
bool interrupt_context(KernelStackHead& context, uint32_t bits);

}  // namespace umk::sync

namespace umk {
using sync::Deadline;
using sync::Sleep;
}  // namespace umk

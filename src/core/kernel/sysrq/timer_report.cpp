#include "core/kernel/sysrq/sysrq.h"
#include "core/kernel/time/clocks.h"
#include "core/kernel/time/timer_queue.h"

namespace umk::sysrq {

void report_timers(Kernel& kernel, Printer& printer) {
  constexpr size_t kMostShown = 64;
  time::TimerQueue::Armed armed[kMostShown];
  const size_t count = kernel.timers->list(armed);
  const uint64_t now = host::now_ns(host::Clock::Monotonic);
  printer.print("now at {} nsecs", now);
  printer.print("active timers: {}", count);
  for (size_t i = 0; i < std::min(count, kMostShown); ++i) {
    const auto [kind, deadline] = armed[i];
    printer.print(" #{}: [<{:x}>]", i, kind);
    // A deadline may be the end of all time.
    printer.print(" # expires at {} nsecs [in {} nsecs]", deadline, deadline > now ? deadline - now : 0);
  }
  if (count > kMostShown) printer.print("and {} more", count - kMostShown);
}

}  // namespace umk::sysrq

#include "core/kernel/time/clocks.h"

#include "core/abi/errno.h"
#include "core/abi/time.h"

namespace umk::time {

namespace {
constexpr uint64_t kCoarseTickNs = 4'000'000;  // CONFIG_HZ=250, as distributions have it
}

bool is_wall_clock(int clock_id) {
  switch (clock_id) {
    case clock_ids::kRealtime:
    case clock_ids::kMonotonic:
    case clock_ids::kMonotonicRaw:
    case clock_ids::kRealtimeCoarse:
    case clock_ids::kMonotonicCoarse:
    case clock_ids::kBoottime:
    case clock_ids::kRealtimeAlarm:
    case clock_ids::kBoottimeAlarm:
    case clock_ids::kTai:
      return true;
    default:
      return false;
  }
}

bool is_alarm_clock(int clock_id) { return clock_id == clock_ids::kRealtimeAlarm || clock_id == clock_ids::kBoottimeAlarm; }

Result<uint64_t> wall_clock_ns(int clock_id) {
  switch (clock_id) {
    case clock_ids::kRealtime:
    case clock_ids::kRealtimeAlarm:
    case clock_ids::kTai:  // the offset to TAI is 0 until a time daemon sets it
      return host::now_ns(host::Clock::Realtime);
    case clock_ids::kMonotonic:
      return host::now_ns(host::Clock::Monotonic);
    case clock_ids::kMonotonicRaw:
      return host::now_ns(host::Clock::MonotonicRaw);
    case clock_ids::kRealtimeCoarse:
      return host::now_ns(host::Clock::RealtimeCoarse);
    case clock_ids::kMonotonicCoarse:
      return host::now_ns(host::Clock::MonotonicCoarse);
    case clock_ids::kBoottime:
    case clock_ids::kBoottimeAlarm:
      return host::now_ns(host::Clock::Boottime);
    default:
      return error(EINVAL);
  }
}

Result<uint64_t> to_monotonic(int clock_id, uint64_t time_ns) {
  const uint64_t now = TRY(wall_clock_ns(clock_id));
  const uint64_t monotonic = monotonic_ns();
  if (clock_id == clock_ids::kMonotonic) return time_ns;
  if (time_ns <= now) return monotonic;
  const uint64_t ahead = time_ns - now;
  return ahead > UINT64_MAX - 1 - monotonic ? UINT64_MAX - 1 : monotonic + ahead;
}

uint64_t clock_resolution_ns(int clock_id) {
  return clock_id == clock_ids::kRealtimeCoarse || clock_id == clock_ids::kMonotonicCoarse ? kCoarseTickNs : 1;
}

}  // namespace umk::time

// Times as system calls carry them: clock_gettime(2), setitimer(2), timer_create(2), timerfd_create(2).
//
// The names are our own since the usual ones are taken by <time.h>.
#pragma once

#include <cstddef>
#include <cstdint>

namespace umk {

inline constexpr uint64_t kNanosecondsPerSecond = 1'000'000'000;

struct KernelTimespec {
  int64_t seconds;
  int64_t nanoseconds;

  bool is_valid() const { return seconds >= 0 && nanoseconds >= 0 && nanoseconds < static_cast<int64_t>(kNanosecondsPerSecond); }
  /// Nanoseconds, as many as fit; the value must be valid.
  uint64_t to_ns() const {
    if (static_cast<uint64_t>(seconds) > (UINT64_MAX / 2) / kNanosecondsPerSecond) return UINT64_MAX / 2;
    return static_cast<uint64_t>(seconds) * kNanosecondsPerSecond + static_cast<uint64_t>(nanoseconds);
  }
  static KernelTimespec from_ns(uint64_t ns) {
    return {static_cast<int64_t>(ns / kNanosecondsPerSecond), static_cast<int64_t>(ns % kNanosecondsPerSecond)};
  }
};
static_assert(sizeof(KernelTimespec) == 16);

struct KernelTimeval {
  int64_t seconds;
  int64_t microseconds;

  bool is_valid() const { return seconds >= 0 && microseconds >= 0 && microseconds < 1'000'000; }
  uint64_t to_ns() const { return KernelTimespec{seconds, microseconds * 1000}.to_ns(); }
  static KernelTimeval from_ns(uint64_t ns) {
    return {static_cast<int64_t>(ns / kNanosecondsPerSecond), static_cast<int64_t>(ns % kNanosecondsPerSecond / 1000)};
  }
};
static_assert(sizeof(KernelTimeval) == 16);

/// struct itimerspec: timers with nanoseconds.
struct KernelTimerSpec {
  KernelTimespec interval;
  KernelTimespec value;
};
static_assert(sizeof(KernelTimerSpec) == 32);

/// struct itimerval: timers with microseconds.
struct KernelTimerVal {
  KernelTimeval interval;
  KernelTimeval value;
};
static_assert(sizeof(KernelTimerVal) == 32);

/// struct timezone of gettimeofday(2).
struct KernelTimezone {
  int32_t minutes_west;
  int32_t daylight_saving;
};
static_assert(sizeof(KernelTimezone) == 8);

/// struct tms of times(2), in clock ticks of 1/100 s.
struct KernelTimes {
  int64_t user, system, children_user, children_system;
};
static_assert(sizeof(KernelTimes) == 32);

/// CLOCK_* of clock_gettime(2).
namespace clock_ids {
inline constexpr int kRealtime = 0, kMonotonic = 1, kProcessCpu = 2, kThreadCpu = 3, kMonotonicRaw = 4, kRealtimeCoarse = 5, kMonotonicCoarse = 6,
                     kBoottime = 7, kRealtimeAlarm = 8, kBoottimeAlarm = 9, kTai = 11;
}

/// TIMER_ABSTIME of clock_nanosleep(2), timer_settime(2) and timerfd_settime(2).
inline constexpr int kTimerAbsolute = 1;

/// USER_HZ: the unit of times(2), SIGCHLD's times and /proc.
inline constexpr uint64_t kClockTicksPerSecond = 100;
constexpr int64_t clock_ticks(uint64_t ns) { return static_cast<int64_t>(ns / (kNanosecondsPerSecond / kClockTicksPerSecond)); }

}  // namespace umk

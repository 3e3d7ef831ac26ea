// Clocks: what time it is for guests, and how moments of other clocks become deadlines of the monotonic one.
//
// Guests read the host's clocks unchanged: the vDSO reads them through the host's own, so any offset here would make two answers of one question
// differ. The time of day can therefore not be set (EPERM).
#pragma once

#include <cstdint>

#include "core/host/calls.h"

namespace umk::time {

inline uint64_t monotonic_ns() { return host::now_ns(host::Clock::Monotonic); }
inline uint64_t boottime_ns() { return host::now_ns(host::Clock::Boottime); }
inline uint64_t realtime_ns() { return host::now_ns(host::Clock::Realtime); }

/// True for the clocks that count real time and that all processes share: everything but CPU-time clocks.
bool is_wall_clock(int clock_id);
/// True for the clocks that would wake a sleeping machine. There is no such hardware: they only serve timerfd, as on a host without it.
bool is_alarm_clock(int clock_id);
/// The time of such a clock; EINVAL for numbers that clock_gettime(2) does not know.
Result<uint64_t> wall_clock_ns(int clock_id);
/// The monotonic moment at which clock `clock_id` shows `time_ns`, as the clocks stand now.
Result<uint64_t> to_monotonic(int clock_id, uint64_t time_ns);
/// Resolution of a clock for clock_getres(2).
uint64_t clock_resolution_ns(int clock_id);

}  // namespace umk::time

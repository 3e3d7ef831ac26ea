// Clocks, sleeping, POSIX timers. time(7).
#include "core/abi/time.h"
#include "core/kernel/security/credentials.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/task/exit.h"
#include "core/kernel/task/process_timers.h"
#include "core/kernel/time/clocks.h"

namespace umk {

namespace {

// --- reading clocks

Result<void> sys_clock_gettime(Task& task, int clock_id, UserPtr<KernelTimespec> into) {
  if (time::is_alarm_clock(clock_id)) return error(EINVAL);
  const ClockSpec clock = TRY(ClockSpec::parse(clock_id));
  return into.write(KernelTimespec::from_ns(TRY(read_clock(task, clock))));
}

Result<void> sys_clock_getres(Task& task, int clock_id, UserPtr<KernelTimespec> into) {
  if (time::is_alarm_clock(clock_id)) return error(EINVAL);
  const ClockSpec clock = TRY(ClockSpec::parse(clock_id));
  // clock_getcpuclockid(3) asks this way whether the process is there.
  if (clock.kind != ClockSpec::Kind::Wall) TRY(read_clock(task, clock));
  if (!into) return {};
  return into.write(KernelTimespec::from_ns(clock.kind == ClockSpec::Kind::Wall ? time::clock_resolution_ns(clock.wall_clock) : 1));
}

Result<void> sys_gettimeofday(Task&, UserPtr<KernelTimeval> value, UserPtr<KernelTimezone> zone) {
  if (value) TRY(value.write(KernelTimeval::from_ns(time::realtime_ns())));
  if (zone) TRY(zone.write({0, 0}));
  return {};
}

Result<int64_t> sys_time(Task&, UserPtr<int64_t> into) {
  const int64_t seconds = static_cast<int64_t>(host::now_ns(host::Clock::RealtimeCoarse) / kNanosecondsPerSecond);
  if (into) TRY(into.write(seconds));
  return seconds;
}

Result<int64_t> sys_times(Task& task, UserPtr<KernelTimes> into) {
  if (into) {
    guest::Usage own, children;
    {
      MutexLock lock(task.kernel().tasks.mutex);
      own = process_usage_locked(task.process());
      children = task.process().children_usage;
    }
    TRY(into.write({clock_ticks(own.user_ns), clock_ticks(own.system_ns), clock_ticks(children.user_ns), clock_ticks(children.system_ns)}));
  }
  return clock_ticks(time::monotonic_ns());
}

// --- setting them: the host's clocks are shown as they are, so they cannot be set

Result<void> refuse_to_set() { return error(EPERM); }

Result<void> sys_settimeofday(Task&, UserPtr<KernelTimeval> value, UserPtr<KernelTimezone> zone) {
  if (value && !TRY(value.read()).is_valid()) return error(EINVAL);
  if (zone) TRY(zone.read());
  return refuse_to_set();
}

Result<void> sys_clock_settime(Task&, int clock_id, UserPtr<KernelTimespec> value) {
  if (clock_id != clock_ids::kRealtime) return error(EINVAL);
  if (!TRY(value.read()).is_valid()) return error(EINVAL);
  return refuse_to_set();
}

/// struct timex of adjtimex(2).
struct KernelTimex {
  uint32_t modes;
  uint32_t padding;
  int64_t offset, frequency, maximum_error, estimated_error;
  int32_t status;
  int32_t padding2;
  int64_t constant, precision, tolerance;
  KernelTimeval time;
  int64_t tick;
  int64_t pulse[8];
  int32_t tai;
  int32_t padding3[11];
};
static_assert(sizeof(KernelTimex) == 208);

Result<int64_t> sys_adjtimex(Task&, UserPtr<KernelTimex> pointer) {
  KernelTimex timex = TRY(pointer.read());
  if (timex.modes != 0) return error(EPERM);
  constexpr int kUnsynchronised = 0x40, kStateError = 5;
  timex = {};
  timex.status = kUnsynchronised;
  timex.maximum_error = timex.estimated_error = 16'000'000;
  timex.constant = 2;
  timex.precision = 1;
  timex.tolerance = 32'768'000;
  timex.tick = 10'000;
  timex.time = KernelTimeval::from_ns(time::realtime_ns());
  TRY(pointer.write(timex));
  return kStateError;
}

Result<int64_t> sys_clock_adjtime(Task& task, int clock_id, UserPtr<KernelTimex> pointer) {
  if (clock_id != clock_ids::kRealtime) return error(clock_id < 0 || !time::is_wall_clock(clock_id) ? EINVAL : EOPNOTSUPP);
  return sys_adjtimex(task, pointer);
}

// --- sleeping

/// Sleeps until `deadline`; ERESTARTSYS when interrupted.
Result<void> sleep_until(Deadline deadline) {
  for (;;) {
    sync::prepare_to_park();
    if (deadline.has_passed()) return {};
    const Result<void> woken = sync::park(Sleep::Interruptible, deadline);
    if (woken.ok()) continue;
    if (woken.failure().code == ETIMEDOUT) return {};
    return woken;
  }
}

Result<int64_t> sleep_relative(Task& task, uint64_t deadline_ns, uint64_t remaining_address);

Result<int64_t> restart_sleep(Task& task) { return sleep_relative(task, task.restart_data[0], task.restart_data[1]); }

/// A relative sleep, as the moment of its end: interrupted, it tells what is left and goes on by restart_syscall(2).
Result<int64_t> sleep_relative(Task& task, uint64_t deadline_ns, uint64_t remaining_address) {
  if (sleep_until(Deadline{deadline_ns}).ok()) return 0;
  const uint64_t now = time::monotonic_ns();
  if (now >= deadline_ns) return 0;
  if (remaining_address != 0) TRY(UserPtr<KernelTimespec>(remaining_address).write(KernelTimespec::from_ns(deadline_ns - now)));
  task.restart_function = &restart_sleep;
  task.restart_data[0] = deadline_ns;
  task.restart_data[1] = remaining_address;
  return error(ERESTART_RESTARTBLOCK);
}

Result<int64_t> sys_nanosleep(Task& task, UserPtr<KernelTimespec> duration, UserPtr<KernelTimespec> remaining) {
  const KernelTimespec value = TRY(duration.read());
  if (!value.is_valid()) return error(EINVAL);
  return sleep_relative(task, Deadline::after_ns(value.to_ns()).monotonic_ns, remaining.address());
}

/// Sleeps on CPU time of the process: looks again each time it can have been used up.
Result<int64_t> sleep_on_cpu_clock(Task& task, const ClockSpec& clock, uint64_t expiry) {
  constexpr uint64_t kShortestNs = 1'000'000;
  for (;;) {
    const uint64_t now = TRY(read_clock(task, clock));
    if (now >= expiry) return 0;
    ask_for_cpu_time(task, clock);
    const uint64_t cpus = task.kernel().options.cpus == 0 ? 1 : task.kernel().options.cpus;
    const uint64_t wait = (expiry - now) / cpus;
    if (!sleep_until(Deadline::after_ns(wait < kShortestNs ? kShortestNs : wait)).ok()) return error(ERESTARTNOHAND);
  }
}

Result<int64_t> sys_clock_nanosleep(Task& task, int clock_id, int flags, UserPtr<KernelTimespec> request, UserPtr<KernelTimespec> remaining) {
  const ClockSpec clock = TRY(ClockSpec::parse(clock_id));
  const bool is_thread_clock = clock.kind == ClockSpec::Kind::ThreadCpu;
  if (clock.kind == ClockSpec::Kind::Wall &&
      (clock_id == clock_ids::kMonotonicRaw || clock_id == clock_ids::kRealtimeCoarse || clock_id == clock_ids::kMonotonicCoarse ||
       time::is_alarm_clock(clock_id)))
    return error(EOPNOTSUPP);
  const KernelTimespec value = TRY(request.read());
  if (!value.is_valid()) return error(EINVAL);
  // A thread cannot wait for its own CPU time.
  if (is_thread_clock && (clock.id == 0 || clock.id == task.tid())) return error(clock_id == clock_ids::kThreadCpu ? EOPNOTSUPP : EINVAL);
  const bool is_absolute = flags & kTimerAbsolute;
  if (clock.kind != ClockSpec::Kind::Wall) {
    const uint64_t now = TRY(read_clock(task, clock));
    return sleep_on_cpu_clock(task, clock, is_absolute ? value.to_ns() : now + value.to_ns());
  }
  if (!is_absolute) return sleep_relative(task, Deadline::after_ns(value.to_ns()).monotonic_ns, remaining.address());
  // The clock of the day may be set while we sleep: look at it again before returning.
  for (;;) {
    if (TRY(time::wall_clock_ns(clock_id)) >= value.to_ns()) return 0;
    if (!sleep_until(Deadline{TRY(time::to_monotonic(clock_id, value.to_ns()))}).ok()) return error(ERESTARTNOHAND);
  }
}

// --- timer_create(2) and its kin

/// struct sigevent.
struct KernelSignalEvent {
  uint64_t value;
  int32_t signal;
  int32_t notify;
  int32_t thread_id;
  int32_t padding[11];
};
static_assert(sizeof(KernelSignalEvent) == 64);

Result<void> sys_timer_create(Task& task, int clock_id, UserPtr<KernelSignalEvent> event_pointer, UserPtr<int32_t> id_pointer) {
  enum { kSignal = 0, kNone = 1, kThread = 2, kThreadId = 4 };
  const ClockSpec clock = TRY(ClockSpec::parse(clock_id));
  if (clock.kind == ClockSpec::Kind::Wall) {
    switch (clock_id) {
      case clock_ids::kMonotonicRaw: case clock_ids::kRealtimeCoarse: case clock_ids::kMonotonicCoarse:
      case clock_ids::kRealtimeAlarm: case clock_ids::kBoottimeAlarm: return error(EOPNOTSUPP);
      default: break;
    }
  } else {
    TRY(read_clock(task, clock));
  }
  KernelSignalEvent event{};
  event.signal = signals::kAlarm;
  if (event_pointer) event = TRY(event_pointer.read());
  RefPtr<Task> thread;
  switch (event.notify) {
    case kThreadId: {
      MutexLock lock(task.kernel().tasks.mutex);
      thread = task.kernel().tasks.find_task(event.thread_id);
      if (!thread || &thread->process() != &task.process()) return error(EINVAL);
      [[fallthrough]];
    }
    case kSignal:
    case kThread:  // libc's own matter: the kernel sees SIGEV_THREAD_ID
      if (event.signal < 1 || event.signal > signals::kLast) return error(EINVAL);
      break;
    case kNone:
      break;
    default:
      return error(EINVAL);
  }
  ProcessTimers& timers = TRY(ProcessTimers::of(task.process()));
  const int id = TRY(timers.create(task, clock, event.notify, event.signal, event.value, static_cast<bool>(event_pointer), std::move(thread)));
  if (const Result<void> written = id_pointer.write(id); !written.ok()) {
    (void)timers.remove(id);
    return written;
  }
  return {};
}

Result<ProcessTimers&> existing_timers(Task& task) {
  if (!task.process().timers.load(std::memory_order_acquire)) return error(EINVAL);
  return ProcessTimers::of(task.process());
}

Result<void> sys_timer_settime(Task& task, int id, int flags, UserPtr<KernelTimerSpec> value, UserPtr<KernelTimerSpec> old_value) {
  if (!value) return error(EINVAL);
  const KernelTimerSpec wanted = TRY(value.read());
  if (!wanted.value.is_valid() || !wanted.interval.is_valid()) return error(EINVAL);
  const KernelTimerSpec old = TRY(TRY(existing_timers(task)).set(id, flags & kTimerAbsolute, &wanted));
  if (old_value) TRY(old_value.write(old));
  return {};
}

Result<void> sys_timer_gettime(Task& task, int id, UserPtr<KernelTimerSpec> value) {
  const KernelTimerSpec now = TRY(TRY(existing_timers(task)).set(id, false, nullptr));
  return value.write(now);
}

Result<int64_t> sys_timer_getoverrun(Task& task, int id) { return TRY(TRY(existing_timers(task)).overrun(id)); }
Result<void> sys_timer_delete(Task& task, int id) { return TRY(existing_timers(task)).remove(id); }

}  // namespace

const SyscallRow kSysTimeRows[] = {
    full<sys_nanosleep>(35, "nanosleep"),
    full<sys_gettimeofday>(96, "gettimeofday"),
    full<sys_times>(100, "times"),
    partial<sys_adjtimex>(159, "adjtimex", "reads only"),
    partial<sys_settimeofday>(164, "settimeofday", "always EPERM: the clocks are the host's"),
    full<sys_time>(201, "time"),
    full<sys_timer_create>(222, "timer_create"),
    full<sys_timer_settime>(223, "timer_settime"),
    full<sys_timer_gettime>(224, "timer_gettime"),
    full<sys_timer_getoverrun>(225, "timer_getoverrun"),
    full<sys_timer_delete>(226, "timer_delete"),
    partial<sys_clock_settime>(227, "clock_settime", "always EPERM: the clocks are the host's"),
    full<sys_clock_gettime>(228, "clock_gettime"),
    full<sys_clock_getres>(229, "clock_getres"),
    full<sys_clock_nanosleep>(230, "clock_nanosleep"),
    partial<sys_clock_adjtime>(305, "clock_adjtime", "reads only"),
};
const size_t kSysTimeRowCount = std::size(kSysTimeRows);

}  // namespace umk

// Timers of a process: alarm(2), setitimer(2), timer_create(2).
//
// Timers on clocks of real time are armed in the kernel's TimerQueue. So are timers on CPU time (ITIMER_VIRTUAL, ITIMER_PROF, RLIMIT_CPU, CPU clocks),
// for the earliest real moment at which the CPU time can be used up. What a thread has used only it can tell: at that moment all threads of the process
// are asked to account for themselves (sync::interrupt::kWork). Those in user mode do so at once, those in the kernel on their way out; each then
// fires what is due and arms the queue for the rest. A process that sleeps is thus asked once and then left alone.
//
// Lock: one mutex for all timers of a process, ranked Process; signals are sent with it held.
#pragma once

#include "core/abi/time.h"
#include "core/base/vector.h"
#include "core/kernel/task/task.h"
#include "core/kernel/time/timer_queue.h"

namespace umk {

/// A CPU-time or wall clock as a guest names it. EINVAL for numbers that are none.
struct ClockSpec {
  enum class Kind { Wall, ProcessCpu, ThreadCpu } kind = Kind::Wall;
  int wall_clock = 1;
  /// For CPU clocks: 0 user + system (CPUCLOCK_SCHED and _PROF), 1 user only (CPUCLOCK_VIRT).
  bool user_only = false;
  int32_t id = 0;  // 0: the caller
  static Result<ClockSpec> parse(int clock_id);
};
/// The clock's time now, as `current` sees it; EINVAL when its process or thread is gone.
Result<uint64_t> read_clock(Task& current, const ClockSpec& clock);
/// Asks the threads that `clock` counts to account for what they used, so that a later reading is exact.
void ask_for_cpu_time(Task& current, const ClockSpec& clock);
/// CPU time that a process has used.
uint64_t process_cpu_ns(Process& process, bool user_only);

class ProcessTimer;

class ProcessTimers {
 public:
  static constexpr size_t kMaximumTimers = 4096;
  /// Those of the process, made on first use: ENOMEM.
  static Result<ProcessTimers&> of(Process& process);

  explicit ProcessTimers(Process& process);
  ~ProcessTimers();

  /// setitimer: `which` 0 real, 1 virtual, 2 profiling. Returns the old setting.
  KernelTimerVal exchange_interval_timer(int which, const KernelTimerVal* value);

  /// timer_create: `notify` 0 signal, 1 none, 4 thread `notify_tid`. Returns the timer's number. EAGAIN, EINVAL.
  Result<int> create(Task& current, const ClockSpec& clock, int notify, int signal, uint64_t value, bool has_event, RefPtr<Task> notify_task);
  Result<KernelTimerSpec> set(int timer_id, bool absolute, const KernelTimerSpec* value);
  Result<int> overrun(int timer_id);
  Result<void> remove(int timer_id);
  /// exec: POSIX timers go, interval timers stay.
  void remove_all_posix();
  /// A timer's signal was taken, with this many overruns; timer_getoverrun tells them. No lock held.
  void note_signal_taken(int timer_id, int overrun);
  /// A thread has accounted for its CPU time: fires what is due by it. Called by the thread itself without a lock.
  void check_cpu_timers();
  /// RLIMIT_CPU has changed or is set at all: watches it.
  void watch_cpu_limit();

  Mutex& mutex() { return mutex_; }
  Process& process() { return process_; }

 private:
  friend class ProcessTimer;
  ProcessTimer* find_locked(int timer_id);

  Process& process_;
  Mutex mutex_{LockRank::Process};
  std::unique_ptr<ProcessTimer> interval_[3];
  std::unique_ptr<ProcessTimer> cpu_limit_;
  Vector<std::unique_ptr<ProcessTimer>> posix_;  // index = number; null when free
};

}  // namespace umk

#include "core/kernel/task/process_timers.h"

#include <algorithm>

#include "core/kernel/task/exit.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/time/clocks.h"

namespace umk {

namespace {

constexpr int kClockThreadBit = 4, kClockKindMask = 3;
constexpr int kProfilingClock = 0, kVirtualClock = 1, kScheduledClock = 2;

uint64_t cpu_ns(const guest::Usage& usage, bool user_only) { return usage.user_ns + (user_only ? 0 : usage.system_ns); }

}  // namespace

Result<ClockSpec> ClockSpec::parse(int clock_id) {
  ClockSpec spec;
  if (clock_id == clock_ids::kProcessCpu) {
    spec.kind = Kind::ProcessCpu;
    return spec;
  }
  if (clock_id == clock_ids::kThreadCpu) {
    spec.kind = Kind::ThreadCpu;
    return spec;
  }
  if (clock_id >= 0) {
    if (!time::is_wall_clock(clock_id)) return error(EINVAL);
    spec.wall_clock = clock_id;
    return spec;
  }
  // A number in the upper bits: clock_getcpuclockid(3), pthread_getcpuclockid(3).
  const int kind = clock_id & kClockKindMask;
  if (kind != kProfilingClock && kind != kVirtualClock && kind != kScheduledClock) return error(EINVAL);
  spec.kind = (clock_id & kClockThreadBit) ? Kind::ThreadCpu : Kind::ProcessCpu;
  spec.user_only = kind == kVirtualClock;
  spec.id = ~(clock_id >> 3);
  return spec;
}

uint64_t process_cpu_ns(Process& process, bool user_only) {
  MutexLock lock(process.kernel().tasks.mutex);
  return cpu_ns(process_usage_locked(process), user_only);
}

Result<uint64_t> read_clock(Task& current, const ClockSpec& clock) {
  guest::Engine& engine = current.kernel().engine;
  if (clock.kind == ClockSpec::Kind::Wall) return time::wall_clock_ns(clock.wall_clock);
  if (clock.kind == ClockSpec::Kind::ThreadCpu && (clock.id == 0 || clock.id == current.tid())) return cpu_ns(engine.usage(current), clock.user_only);
  if (clock.kind == ClockSpec::Kind::ProcessCpu && clock.id == 0) return process_cpu_ns(current.process(), clock.user_only);
  RefPtr<Task> task;
  {
    MutexLock lock(current.kernel().tasks.mutex);
    task = current.kernel().tasks.find_task(clock.id);
    if (!task) return error(EINVAL);
    if (clock.kind == ClockSpec::Kind::ThreadCpu) {
      // pthread_getcpuclockid: threads of other processes have no clock here.
      if (&task->process() != &current.process() || task->exiting) return error(EINVAL);
      return cpu_ns(engine.usage(*task), clock.user_only);
    }
    if (!task->is_leader()) return error(EINVAL);
    return cpu_ns(process_usage_locked(task->process()), clock.user_only);
  }
}

namespace {

void ask_threads_locked(Process& process) {
  for (Task& task : process.tasks)
    if (!task.exiting.load(std::memory_order_relaxed)) interrupt_task(task, sync::interrupt::kWork);
}

}  // namespace

void ask_for_cpu_time(Task& current, const ClockSpec& clock) {
  MutexLock lock(current.kernel().tasks.mutex);
  if (clock.id == 0) {
    ask_threads_locked(current.process());
  } else if (const RefPtr<Task> task = current.kernel().tasks.find_task(clock.id)) {
    ask_threads_locked(task->process());
  }
}

/// One timer. Everything but `armed` state of the queue is guarded by the mutex of its ProcessTimers.
class ProcessTimer final : public time::Timer {
 public:
  enum class Notify { Signal, None, Thread };

  ProcessTimer(ProcessTimers& owner, ClockSpec clock) : owner_(owner), clock_(clock) {}

  /// Looks whether the time has come: sends what is due, and arms the queue for what is left.
  void check_locked();

  bool is_cpu() const { return clock_.kind != ClockSpec::Kind::Wall; }
  bool is_set() const { return expiry_ != 0; }

  /// The timer's clock now.
  uint64_t now() {
    if (!is_cpu()) return time::wall_clock_ns(clock_.wall_clock).value_or(0);
    Process& process = owner_.process();
    if (clock_.kind == ClockSpec::Kind::ThreadCpu) return thread_ ? cpu_ns(process.kernel().engine.usage(*thread_), clock_.user_only) : 0;
    guest::Usage sum = process.dead_threads_usage;
    for (Task& task : process.tasks)
      if (task.is_started.load(std::memory_order_acquire) || &task == Task::current_or_null()) add_usage(sum, process.kernel().engine.usage(task));
    return cpu_ns(sum, clock_.user_only);
  }

  /// What is left until the next expiry; at least 1 while set.
  uint64_t remaining() {
    if (!is_set()) return 0;
    const uint64_t at = now();
    return expiry_ > at ? expiry_ - at : 1;
  }

  void set(uint64_t expiry, uint64_t interval) {
    expiry_ = expiry;
    interval_ = interval;
    overrun_ = 0;
    if (expiry == 0) (void)queue().disarm(*this);
    else arm_queue();
  }

  time::TimerQueue& queue() { return *owner_.process().kernel().timers; }
  void cancel() { (void)queue().cancel(*this); }

  ProcessTimers& owner_;
  const ClockSpec clock_;
  Notify notify_ = Notify::Signal;
  int signal_ = signals::kAlarm;
  int id_ = -1;  // of a POSIX timer
  uint64_t value_ = 0;
  RefPtr<Task> thread_;
  bool is_cpu_limit_ = false;
  uint64_t expiry_ = 0, interval_ = 0;
  int overrun_ = 0;

 protected:
  void on_expired() override;

 private:
  /// CPU time runs at most as fast as all threads together do, so the real time until it can be used up is known.
  void arm_queue() {
    if (!is_cpu()) {
      queue().arm(*this, time::to_monotonic(clock_.wall_clock, expiry_).value_or(UINT64_MAX - 1));
      return;
    }
    constexpr uint64_t kShortestNs = 1'000'000;
    const uint64_t threads = clock_.kind == ClockSpec::Kind::ThreadCpu ? 1 : std::max<uint64_t>(1, owner_.process().live_threads);
    const uint64_t cpus = std::max<uint64_t>(1, std::min<uint64_t>(threads, owner_.process().kernel().options.cpus));
    queue().arm(*this, time::monotonic_ns() + std::max(kShortestNs, remaining() / cpus));
  }

  void send(int expirations);
  void check_cpu_limit_locked(uint64_t at);
};

void ProcessTimer::on_expired() {
  Process& process = owner_.process();
  // Threads are looked at under the list's lock, which comes before the timers' own.
  MutexLock list(process.kernel().tasks.mutex);
  MutexLock lock(owner_.mutex());
  if (!is_set()) return;
  if (is_cpu()) ask_threads_locked(process);
  else check_locked();
}

void ProcessTimer::check_locked() {
  const uint64_t at = now();
  if (is_cpu_limit_) {
    check_cpu_limit_locked(at);
    return;
  }
  if (at < expiry_) {
    arm_queue();
    return;
  }
  int expirations = 1;
  if (interval_ == 0) {
    expiry_ = 0;
  } else {
    const uint64_t missed = (at - expiry_) / interval_;
    expirations = missed >= INT32_MAX ? INT32_MAX : static_cast<int>(missed) + 1;
    expiry_ += (missed + 1) * interval_;
    arm_queue();
  }
  send(expirations);
}

void ProcessTimer::send(int expirations) {
  Process& process = owner_.process();
  if (notify_ == Notify::None) return;
  if (id_ < 0) {
    (void)send_signal(process, SignalInfo::from_kernel(signal_));
    return;
  }
  SignalInfo info = SignalInfo::from_kernel(signal_, signal_codes::kTimer);
  info.timer.timer_id = id_;
  info.timer.overrun = expirations - 1;
  info.timer.value = value_;
  Task* const target = notify_ == Notify::Thread ? thread_.get() : nullptr;
  if (target && target->exiting) return;
  {
    // One signal a timer is pending at a time; further expirations are overruns of it.
    MutexLock lock(process.signal_mutex);
    if ((target ? target->pending : process.pending).add_overrun(signal_, id_, expirations)) return;
  }
  if (target) (void)send_signal(*target, info);
  else (void)send_signal(process, info);
}

void ProcessTimer::check_cpu_limit_locked(uint64_t at) {
  Process& process = owner_.process();
  const Limit limit = process.limits.get(Resource::Cpu);
  const uint64_t seconds = at / kNanosecondsPerSecond;
  if (limit.hard != kUnlimited && seconds >= limit.hard) {
    (void)send_signal(process, SignalInfo::from_kernel(signals::kKill));
    return;
  }
  if (limit.soft == kUnlimited) {
    expiry_ = 0;
    return;
  }
  if (at >= expiry_) {
    // getrlimit(2): SIGXCPU each second from the soft limit on.
    if (seconds >= limit.soft) (void)send_signal(process, SignalInfo::from_kernel(signals::kCpuLimit));
    expiry_ = std::max(limit.soft, seconds + 1) * kNanosecondsPerSecond;
  }
  arm_queue();
}

ProcessTimers::ProcessTimers(Process& process) : process_(process) {}

ProcessTimers::~ProcessTimers() {
  for (auto& timer : interval_)
    if (timer) timer->cancel();
  if (cpu_limit_) cpu_limit_->cancel();
  for (auto& timer : posix_)
    if (timer) timer->cancel();
}

Result<ProcessTimers&> ProcessTimers::of(Process& process) {
  if (ProcessTimers* timers = process.timers.load(std::memory_order_acquire)) return *timers;
  std::unique_ptr<ProcessTimers> made = TRY(make_unique<ProcessTimers>(process));
  ProcessTimers* expected = nullptr;
  if (process.timers.compare_exchange_strong(expected, made.get())) return *made.release();
  return *expected;
}

KernelTimerVal ProcessTimers::exchange_interval_timer(int which, const KernelTimerVal* value) {
  constexpr int kSignals[] = {signals::kAlarm, signals::kVirtualAlarm, signals::kProfiling};
  MutexLock list(process_.kernel().tasks.mutex);
  MutexLock lock(mutex_);
  std::unique_ptr<ProcessTimer>& timer = interval_[which];
  KernelTimerVal old{};
  if (timer) {
    old.interval = KernelTimeval::from_ns(timer->interval_);
    const uint64_t left = timer->remaining();
    // A running timer never shows 0.
    old.value = KernelTimeval::from_ns(left == 0 ? 0 : std::max<uint64_t>(left, 1000));
  }
  if (!value) return old;
  const uint64_t duration = value->value.to_ns();
  if (!timer) {
    if (duration == 0) return old;
    ClockSpec clock;
    if (which != 0) clock = {.kind = ClockSpec::Kind::ProcessCpu, .wall_clock = 0, .user_only = which == 1, .id = 0};
    timer.reset(new (std::nothrow) ProcessTimer(*this, clock));
    if (!timer) return old;
    timer->signal_ = kSignals[which];
  }
  timer->set(duration == 0 ? 0 : timer->now() + duration, value->interval.to_ns());
  return old;
}

ProcessTimer* ProcessTimers::find_locked(int timer_id) {
  if (timer_id < 0 || static_cast<size_t>(timer_id) >= posix_.size()) return nullptr;
  return posix_[static_cast<size_t>(timer_id)].get();
}

Result<int> ProcessTimers::create(Task& current, const ClockSpec& clock, int notify, int signal, uint64_t value, bool has_event,
                                  RefPtr<Task> notify_task) {
  std::unique_ptr<ProcessTimer> timer(new (std::nothrow) ProcessTimer(*this, clock));
  if (!timer) return error(EAGAIN);
  timer->signal_ = signal;
  timer->notify_ = notify == 1 ? ProcessTimer::Notify::None : notify == 4 ? ProcessTimer::Notify::Thread : ProcessTimer::Notify::Signal;
  timer->thread_ = std::move(notify_task);
  if (clock.kind == ClockSpec::Kind::ThreadCpu) timer->thread_ = &current;
  timer->value_ = value;
  MutexLock lock(mutex_);
  size_t place = 0;
  while (place < posix_.size() && posix_[place]) ++place;
  if (place >= kMaximumTimers) return error(EAGAIN);
  if (place == posix_.size()) TRY(posix_.push_back(nullptr));
  timer->id_ = static_cast<int>(place);
  // timer_create(2): without an event the value is the timer's number.
  if (!has_event) timer->value_ = place;
  posix_[place] = std::move(timer);
  return static_cast<int>(place);
}

Result<KernelTimerSpec> ProcessTimers::set(int timer_id, bool absolute, const KernelTimerSpec* value) {
  MutexLock list(process_.kernel().tasks.mutex);
  MutexLock lock(mutex_);
  ProcessTimer* const timer = find_locked(timer_id);
  if (!timer) return error(EINVAL);
  KernelTimerSpec old{KernelTimespec::from_ns(timer->interval_), KernelTimespec::from_ns(timer->remaining())};
  if (!value) return old;
  const uint64_t moment = value->value.to_ns();
  // A moment of 0 switches it off; one in the past expires at once.
  timer->set(moment == 0 ? 0 : (absolute ? moment : timer->now() + moment), value->interval.to_ns());
  return old;
}

Result<int> ProcessTimers::overrun(int timer_id) {
  MutexLock lock(mutex_);
  ProcessTimer* const timer = find_locked(timer_id);
  if (!timer) return error(EINVAL);
  return timer->overrun_;
}

Result<void> ProcessTimers::remove(int timer_id) {
  std::unique_ptr<ProcessTimer> timer;
  {
    MutexLock lock(mutex_);
    if (!find_locked(timer_id)) return error(EINVAL);
    timer = std::move(posix_[static_cast<size_t>(timer_id)]);
    timer->expiry_ = 0;
  }
  // Its last call may be running and wants the lock.
  timer->cancel();
  return {};
}

void ProcessTimers::remove_all_posix() {
  for (;;) {
    int id = -1;
    {
      MutexLock lock(mutex_);
      for (size_t i = 0; i < posix_.size() && id < 0; ++i)
        if (posix_[i]) id = static_cast<int>(i);
    }
    if (id < 0) return;
    (void)remove(id);
  }
}

void ProcessTimers::note_signal_taken(int timer_id, int overrun) {
  MutexLock lock(mutex_);
  if (ProcessTimer* const timer = find_locked(timer_id)) timer->overrun_ = overrun;
}

void ProcessTimers::check_cpu_timers() {
  MutexLock list(process_.kernel().tasks.mutex);
  MutexLock lock(mutex_);
  const auto check = [](std::unique_ptr<ProcessTimer>& timer) {
    if (timer && timer->is_cpu() && timer->is_set()) timer->check_locked();
  };
  for (auto& timer : interval_) check(timer);
  check(cpu_limit_);
  for (auto& timer : posix_) check(timer);
}

void ProcessTimers::watch_cpu_limit() {
  const Limit limit = process_.limits.get(Resource::Cpu);
  MutexLock list(process_.kernel().tasks.mutex);
  MutexLock lock(mutex_);
  if (!cpu_limit_) {
    if (limit.soft == kUnlimited) return;
    cpu_limit_.reset(new (std::nothrow) ProcessTimer(*this, {.kind = ClockSpec::Kind::ProcessCpu, .wall_clock = 0, .user_only = false, .id = 0}));
    if (!cpu_limit_) return;
    cpu_limit_->is_cpu_limit_ = true;
  }
  cpu_limit_->set(limit.soft == kUnlimited ? 0 : std::max<uint64_t>(1, limit.soft * kNanosecondsPerSecond), 0);
}

}  // namespace umk

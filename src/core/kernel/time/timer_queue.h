// TimerQueue: everything that shall happen at a moment (timers of processes, timerfd, network later), in the order of the moments.
//
// One kernel thread of the monitor runs `run_timer_thread`: it sleeps until the first deadline and calls what has expired. An empty queue sleeps
// for good: an idle machine has no wake-ups. Deadlines are nanoseconds of the host's monotonic clock; clocks.h converts others.
//
// Life of a Timer: its owner embeds it, arms it (again and again), and cancels it before it dies. `arm` and `disarm` may be called with any lock
// held that ranks before LockRank::Timers, also from `on_expired` itself; `cancel` waits for a running call of `on_expired` to end, so the caller
// may hold no lock that `on_expired` takes.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "core/base/list.h"
#include "core/sync/wait_queue.h"

namespace umk::time {

struct TimerTag;
class TimerQueue;

class Timer : public TreeHook<TimerTag> {
 public:
  /// When it expires; meaningful while armed.
  uint64_t deadline_ns() const { return deadline_ns_; }

 protected:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  virtual ~Timer() = default;

  /// Called by the timer thread without any lock, once for each arming that ran out. A disarm may have come in between: an owner that cares
  /// compares under its own lock.
  virtual void on_expired() = 0;

 private:
  friend class TimerQueue;
  uint64_t deadline_ns_ = 0;
};

class TimerQueue {
 public:
  TimerQueue() = default;
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  /// Sets the moment, replacing an earlier one.
  void arm(Timer& timer, uint64_t deadline_ns);
  /// Takes it off the queue; a running on_expired goes on. True when it was armed.
  bool disarm(Timer& timer);
  /// As disarm, and on_expired is not running afterwards (unless the caller is on_expired).
  bool cancel(Timer& timer);

  /// Calls what has expired at `now_ns`; returns the next deadline, UINT64_MAX for none.
  uint64_t run_expired(uint64_t now_ns);

  /// A timer as a report shows it: what it is, by the address of its class's table of functions, and when it expires.
  struct Armed {
    uint64_t kind, deadline_ns;
  };
  /// The first ones to expire; returns how many are armed.
  size_t list(std::span<Armed> into);
  /// Ends run_timer_thread.
  void stop();

 private:
  friend void run_timer_thread(TimerQueue& queue);
  uint64_t run_expired_locked(uint64_t now_ns) REQUIRES(mutex_);

  struct KeyOfTimer {
    using type = uint64_t;
    const uint64_t& operator()(const Timer& timer) const { return timer.deadline_ns_; }
  };

  Mutex mutex_{LockRank::Timers};
  MultiTree<Timer, KeyOfTimer, TimerTag> timers_ GUARDED_BY(mutex_);
  Timer* running_ GUARDED_BY(mutex_) = nullptr;
  KernelStackHead* runner_ GUARDED_BY(mutex_) = nullptr;
  bool stopping_ GUARDED_BY(mutex_) = false;
  WaitQueue earlier_;   // the timer thread: an earlier deadline came, or the end
  WaitQueue finished_;  // cancel: on_expired returned
};

/// The timer thread's loop: sleeps until the next deadline, calls what expired, until stop().
void run_timer_thread(TimerQueue& queue);

}  // namespace umk::time

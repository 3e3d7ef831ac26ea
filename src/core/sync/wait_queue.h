// WaitQueue: who waits for something to change, as in every kernel; also what poll and epoll hang on.
//
// The state that is waited for is guarded by a mutex of its owner. `wait` is a condition variable: it releases that mutex
// while asleep. Waiters that are not threads (epoll items) derive from Waiter and are called back.
#pragma once

#include "core/base/list.h"
#include "core/sync/mutex.h"
#include "core/sync/park.h"

namespace umk::sync {

class WaitQueue;

/// Something to be told when a queue wakes. Its owner removes it from the queue before it dies.
class Waiter : public ListHook<> {
 public:
  /// Called with the queue's lock held: must not take locks that rank above LockRank::WaitQueue except those that
  /// document it (an epoll ready list), nor sleep. `events` are poll bits (or ~0). Returns true when it consumed an
  /// exclusive wake-up.
  virtual bool on_wake(uint32_t events) = 0;
  bool is_exclusive() const { return exclusive_; }

 protected:
  explicit Waiter(bool exclusive = false) : exclusive_(exclusive) {}
  ~Waiter() = default;

 private:
  friend class WaitQueue;
  WaitQueue* queue_ = nullptr;
  bool exclusive_;
};

/// Wakes the kernel context that made it.
class ContextWaiter : public Waiter {
 public:
  explicit ContextWaiter(bool exclusive = false) : Waiter(exclusive), context_(current_stack()) {}
  bool on_wake(uint32_t events) override;
  bool was_woken() const { return woken_.load(std::memory_order_acquire); }

 private:
  KernelStackHead& context_;
  std::atomic<bool> woken_{false};
};

class WaitQueue {
 public:
  WaitQueue() = default;
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;

  /// Sleeps until a wake-up, with `mutex` released meanwhile and taken again before returning in every case.
  /// Fails with ERESTARTSYS or ETIMEDOUT as park() does. May return without reason: loop over the condition.
  /// `exclusive` waiters are woken one at a time by wake().
  Result<void> wait(Mutex& mutex, Sleep sleep = Sleep::Interruptible, Deadline deadline = Deadline::never(), bool exclusive = false)
      REQUIRES(mutex);

  /// Wakes all non-exclusive waiters and one exclusive waiter.
  void wake(uint32_t events = ~0u);
  void wake_all(uint32_t events = ~0u);
  /// True when somebody may wait; a hint that costs no lock. Callers changed the condition before (a full fence is inside).
  bool has_waiters() const;

  void add(Waiter& waiter);
  /// Takes `waiter` off; afterwards no call of on_wake is running or will come.
  void remove(Waiter& waiter);

 private:
  void wake_locked(uint32_t events, bool all) REQUIRES(mutex_);

  Mutex mutex_{LockRank::WaitQueue};
  std::atomic<uint32_t> count_{0};
  List<Waiter> waiters_ GUARDED_BY(mutex_);
};

}  // namespace umk::sync

namespace umk {
using sync::WaitQueue;
}

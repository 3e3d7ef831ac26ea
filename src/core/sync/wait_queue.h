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

/// Contexts to be woken once the locks of the waker are free: a host wake-up under the queue's lock would let the sleeper run
/// right into it. Marks a context as woken at once; the host is told when the batch is full or dies.
class WakeBatch {
 public:
  WakeBatch() = default;
  WakeBatch(const WakeBatch&) = delete;
  WakeBatch& operator=(const WakeBatch&) = delete;
  ~WakeBatch() { flush(); }
  void add(KernelStackHead& context);

 private:
  void flush();

  static constexpr size_t kCapacity = 16;
  const void* words_[kCapacity];
  size_t count_ = 0;
};

/// Something to be told when a queue wakes. Its owner removes it from the queue before it dies.
class Waiter : public ListHook<> {
 public:
  /// Called with the queue's lock held: must not take locks that rank above LockRank::WaitQueue except those that
  /// document it (an epoll ready list), nor sleep. `events` are poll bits (or ~0). Returns true when it consumed an
  /// exclusive wake-up. Contexts to be woken go to `batch`.
  virtual bool on_wake(uint32_t events, WakeBatch& batch) = 0;
  bool is_exclusive() const { return exclusive_; }

 protected:
  enum class Life { Lasting, OneShot };
  /// A one-shot waiter is taken off its queue by the first wake-up, which spares its owner the lock in remove().
  explicit Waiter(bool exclusive = false, Life life = Life::Lasting) : exclusive_(exclusive), one_shot_(life == Life::OneShot) {}
  virtual ~Waiter() = default;

 private:
  friend class WaitQueue;
  std::atomic<WaitQueue*> queue_{nullptr};
  bool exclusive_;
  bool one_shot_;
};

/// Wakes the kernel context that made it.
class ContextWaiter final : public Waiter {
 public:
  explicit ContextWaiter(bool exclusive = false) : Waiter(exclusive, Life::OneShot), context_(current_stack()) {}
  bool on_wake(uint32_t events, WakeBatch& batch) override;
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
  /// As wake(), for a waker that itself runs in on_wake().
  void wake(uint32_t events, WakeBatch& batch);
  /// True when somebody may wait; a hint that costs no lock. Callers changed the condition before (a full fence is inside).
  bool has_waiters() const;

  void add(Waiter& waiter);
  /// Takes `waiter` off; afterwards no call of on_wake is running or will come.
  void remove(Waiter& waiter);

 private:
  void wake_locked(uint32_t events, bool all, WakeBatch& batch) REQUIRES(mutex_);

  Mutex mutex_{LockRank::WaitQueue};
  mutable std::atomic<uint32_t> count_{0};
  List<Waiter> waiters_ GUARDED_BY(mutex_);
};

}  // namespace umk::sync

namespace umk {
using sync::WaitQueue;
}

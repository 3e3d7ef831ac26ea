
#include "core/abi/errno.h"
#include "core/host/calls.h"
#include "core/sync/mutex.h"
#include "core/sync/park.h"
#include "core/sync/sleep_state.h"
#include "core/sync/wait_queue.h"

namespace umk::sync {

namespace {
constexpr int kSpins = 60;
}

bool Mutex::try_lock() {
  uint32_t free = 0;
  if (!word_.compare_exchange_strong(free, 1, std::memory_order_acquire, std::memory_order_relaxed)) return false;
  note_acquired();
  return true;
}

void Mutex::lock_slowly() {
  for (int i = 0; i < kSpins; ++i) {
    uint32_t free = 0;
    if (word_.load(std::memory_order_relaxed) == 0 &&
        word_.compare_exchange_weak(free, 1, std::memory_order_acquire, std::memory_order_relaxed))
      return;
    __builtin_ia32_pause();
  }
  while (word_.exchange(2, std::memory_order_acquire) != 0) host::futex_wait(&word_, 2);
}

void Mutex::wake_one() { host::futex_wake(&word_, 1); }

#if defined(UMK_HOSTED)
void Mutex::note_acquired() {
  KernelStackHead& self = current_stack();
  if (rank_ != LockRank::None)
    for (uint32_t i = 0; i < self.held_locks; ++i)
      CHECK(self.held_ranks[i] <= static_cast<uint8_t>(rank_), "a lock of lower rank is taken while one of higher rank is held");
  CHECK(self.held_locks < sizeof self.held_ranks, "too many locks are held at once");
  self.held_ranks[self.held_locks++] = static_cast<uint8_t>(rank_);
}

void Mutex::note_released() {
  KernelStackHead& self = current_stack();
  for (uint32_t i = self.held_locks; i-- > 0;) {
    if (self.held_ranks[i] != static_cast<uint8_t>(rank_)) continue;
    for (uint32_t j = i; j + 1 < self.held_locks; ++j) self.held_ranks[j] = self.held_ranks[j + 1];
    --self.held_locks;
    return;
  }
  CHECK(false, "a lock that is not held is released");
}
#endif

Deadline Deadline::after_ns(uint64_t duration_ns) {
  const uint64_t now = host::now_ns(host::Clock::Monotonic);
  return {duration_ns > UINT64_MAX - now ? UINT64_MAX : now + duration_ns};
}

bool Deadline::has_passed() const { return !is_never() && host::now_ns(host::Clock::Monotonic) >= monotonic_ns; }

namespace {

// Values of KernelStackHead::wake_word.
constexpr uint32_t kAsleep = 0, kAwake = 1, kLooking = 2, kDeeplyAsleep = 3;

bool is_asleep(uint32_t word) { return word == kAsleep || word == kDeeplyAsleep; }

/// Looks for a wake-up for a moment before sleeping: waking a sleeper on another processor costs the waker a host call, and an idle processor of a virtual machine
/// tens of microseconds, which is longer than most answers take. A context for which that does not pay stops trying, and tries again ever less often.
bool was_woken_while_looking(KernelStackHead& self) {
  constexpr uint8_t kFullCredit = 8, kFirstDelay = 5, kLastDelay = 10;
  constexpr uint64_t kCycles = 120'000;  // 40 to 60 microseconds
  if (self.spin_credit == 0) {
    if (++self.spins_skipped < 1u << (kFirstDelay + self.spin_delay)) return false;
    self.spins_skipped = 0;
    self.spin_credit = 1;
  }
  const uint64_t start = __builtin_ia32_rdtsc();
  do {
    if (self.wake_word.load(std::memory_order_acquire) == kAwake) {
      if (self.spin_credit < kFullCredit) ++self.spin_credit;
      self.spin_delay = 0;
      return true;
    }
    __builtin_ia32_pause();
  } while (__builtin_ia32_rdtsc() - start < kCycles);
  if (--self.spin_credit == 0 && self.spin_delay < kLastDelay - kFirstDelay) ++self.spin_delay;
  return false;
}

/// Marks a context as woken. True when it sleeps and needs a futex wake-up.
bool mark_awake(KernelStackHead& context) { return is_asleep(context.wake_word.exchange(kAwake, std::memory_order_seq_cst)); }

}  // namespace

void prepare_to_park() { current_stack().wake_word.store(kLooking, std::memory_order_seq_cst); }

Result<void> park(Sleep sleep, Deadline deadline) {
  KernelStackHead& self = current_stack();
  const uint32_t admitted = static_cast<uint32_t>(sleep);
  const uint32_t asleep = sleep == Sleep::Uninterruptible ? kDeeplyAsleep : kAsleep;
  Result<void> outcome;
  for (bool has_looked = false;; has_looked = true) {
    // An interrupter sets its bit before it marks the word, so after a look at the bits any interrupt wakes us.
    if (self.interrupts.load(std::memory_order_seq_cst) & admitted) {
      outcome = error(ERESTARTSYS);
      break;
    }
    uint32_t word = self.wake_word.load(std::memory_order_acquire);
    if (word == kAwake) break;
    if (!has_looked && was_woken_while_looking(self)) continue;
    if (word == kLooking && !self.wake_word.compare_exchange_strong(word, asleep, std::memory_order_seq_cst)) continue;
    if (host::futex_wait(&self.wake_word, asleep, deadline.monotonic_ns) == -ETIMEDOUT) {
      outcome = error(ETIMEDOUT);
      break;
    }
  }
  // Whoever still finds the context asleep leaves it to the context to see an interrupt, so this comes before its next look at the bits.
  if (!outcome.ok()) self.wake_word.exchange(kAwake, std::memory_order_seq_cst);
  return outcome;
}

SleepState sleep_of(const KernelStackHead& context) {
  switch (context.wake_word.load(std::memory_order_relaxed)) {
    case kAsleep: return SleepState::Light;
    case kDeeplyAsleep: return SleepState::Deep;
    default: return SleepState::Awake;
  }
}

void unpark(KernelStackHead& context) {
  if (mark_awake(context)) host::futex_wake(&context.wake_word, 1);
}

bool interrupt_context(KernelStackHead& context, uint32_t bits) {
  const uint32_t before = context.interrupts.fetch_or(bits, std::memory_order_seq_cst);
  const bool was_asleep = mark_awake(context);
  if (was_asleep) host::futex_wake(&context.wake_word, 1);
  // A word that says "looking" tells nothing: who prepared, found no reason to sleep and did not park went back to its guest with it.
  return before == 0 && !was_asleep;
}

void WakeBatch::add(KernelStackHead& context) {
  if (!mark_awake(context)) return;
  if (count_ == kCapacity) flush();
  words_[count_++] = &context.wake_word;
}

void WakeBatch::flush() {
  // A context may have gone on and even ended since it was marked; a wake-up of a word that is no longer slept on is harmless.
  for (size_t i = 0; i < count_; ++i) host::futex_wake(words_[i], 1);
  count_ = 0;
}

bool ContextWaiter::on_wake(uint32_t, WakeBatch& batch) {
  woken_.store(true, std::memory_order_release);
  batch.add(context_);
  return true;
}

Result<void> WaitQueue::wait(Mutex& mutex, Sleep sleep, Deadline deadline, bool exclusive) {
  ContextWaiter waiter(exclusive);
  prepare_to_park();
  add(waiter);
  mutex.unlock();
  Result<void> outcome = park(sleep, deadline);
  remove(waiter);
  // A wake-up that was meant for one waiter must not be lost with a waiter that gives up.
  if (!outcome.ok() && exclusive && waiter.was_woken()) wake();
  mutex.lock();
  return outcome;
}

bool WaitQueue::has_waiters() const {
  // A write that changes nothing orders this look after the caller's change, as a fence would; the thread sanitizer knows no fences.
  return count_.fetch_add(0, std::memory_order_seq_cst) != 0;
}

void WaitQueue::add(Waiter& waiter) {
  MutexLock lock(mutex_);
  waiter.queue_.store(this, std::memory_order_relaxed);
  if (waiter.exclusive_) {
    waiters_.push_back(waiter);
  } else {
    waiters_.push_front(waiter);
  }
  count_.fetch_add(1, std::memory_order_seq_cst);
}

void WaitQueue::remove(Waiter& waiter) {
  // A one-shot waiter that was woken is off already, and its waker has finished with it.
  if (waiter.queue_.load(std::memory_order_acquire) != this) return;
  MutexLock lock(mutex_);
  if (waiter.queue_.load(std::memory_order_relaxed) != this) return;
  waiter.unlink();
  waiter.queue_.store(nullptr, std::memory_order_relaxed);
  count_.fetch_sub(1, std::memory_order_relaxed);
}

void WaitQueue::wake(uint32_t events) {
  if (!has_waiters()) return;
  WakeBatch batch;
  MutexLock lock(mutex_);
  wake_locked(events, false, batch);
}

void WaitQueue::wake_all(uint32_t events) {
  if (!has_waiters()) return;
  WakeBatch batch;
  MutexLock lock(mutex_);
  wake_locked(events, true, batch);
}

void WaitQueue::wake(uint32_t events, WakeBatch& batch) {
  if (!has_waiters()) return;
  MutexLock lock(mutex_);
  wake_locked(events, false, batch);
}

void WaitQueue::wake_locked(uint32_t events, bool all, WakeBatch& batch) {
  for (auto next = waiters_.begin(); next != waiters_.end();) {
    Waiter& waiter = *next++;
    const bool stop_here = waiter.exclusive_ && !all;
    const bool one_shot = waiter.one_shot_;
    const bool consumed = waiter.on_wake(events, batch);
    if (one_shot) {
      waiter.unlink();
      count_.fetch_sub(1, std::memory_order_relaxed);
      // From here on its owner may destroy it.
      waiter.queue_.store(nullptr, std::memory_order_release);
    }
    if (consumed && stop_here) return;
  }
}

}  // namespace umk::sync

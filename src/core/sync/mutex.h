// Mutex: a sleeping lock on a futex word in shared memory, so it works between host processes.
//
// Word: 0 free, 1 held, 2 held and somebody may sleep. A short spin comes before sleeping. It is not recursive, and it is
// not interruptible: hold it for short work only, never over a wait or a copy that may fault on a page that needs it.
#pragma once

#include <atomic>

#include "core/base/thread_annotations.h"
#include "core/sync/lock_rank.h"

namespace umk::sync {

class CAPABILITY("mutex") Mutex {
 public:
  explicit constexpr Mutex(LockRank rank = LockRank::None) : rank_(rank) {}
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() ACQUIRE() {
    note_acquired();
    uint32_t free = 0;
    if (!word_.compare_exchange_strong(free, 1, std::memory_order_acquire, std::memory_order_relaxed)) [[unlikely]] lock_slowly();
  }
  void unlock() RELEASE() {
    note_released();
    if (word_.exchange(0, std::memory_order_release) == 2) [[unlikely]] wake_one();
  }
  bool try_lock() TRY_ACQUIRE(true);
  bool is_locked() const { return word_.load(std::memory_order_relaxed) != 0; }

 private:
  void lock_slowly();
  void wake_one();
#if defined(UMK_HOSTED)
  void note_acquired();
  void note_released();
#else
  void note_acquired() {}
  void note_released() {}
#endif

  std::atomic<uint32_t> word_{0};
  LockRank rank_;
};

/// Holds a Mutex for a scope.
class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace umk::sync

namespace umk {
using sync::LockRank;
using sync::Mutex;
using sync::MutexLock;
}  // namespace umk

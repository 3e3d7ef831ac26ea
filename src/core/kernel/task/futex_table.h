// futex::Table: who sleeps on which word of guest memory, in hash buckets. The calls are in futex.h.
//
// Lock: one Mutex a bucket (LockRank::Futex); two buckets are taken in the order of their addresses. Words are read under a bucket's lock: a page
// fault there takes an address space's lock, which nobody holds while taking a bucket.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "core/base/list.h"
#include "core/sync/park.h"
#include "core/sync/wait_queue.h"

namespace umk::futex {

/// A word's identity, equal for all who share the memory: mm::AddressSpace::WordKey.
struct Key {
  const void* object = nullptr;
  uint64_t offset = 0;
  friend bool operator==(const Key&, const Key&) = default;
};

struct Bucket;

/// One sleeper on one word; lives on its kernel stack. Everything is guarded by the lock of the bucket that it is in.
struct Waiter : ListHook<> {
  Key key;
  uint32_t bitset = ~uint32_t{0};
  KernelStackHead* context = nullptr;
  /// Where it is queued; null once it was woken. Requeueing changes it, under both locks.
  std::atomic<Bucket*> bucket{nullptr};
  /// Where it was queued last: a waker holds that bucket's lock until it is done with the waiter.
  Bucket* home = nullptr;
  /// The waker is done with it, and has yet to leave the lock.
  std::atomic<bool> is_released{false};
  /// For PI words: the thread that is to get the lock; it owns the word when it is woken.
  int32_t pi_tid = 0;
  uint64_t pi_address = 0;
  /// For waits that are requeued to a PI word: 0 until then.
  bool wants_pi = false;
};

struct alignas(64) Bucket {
  Mutex mutex{LockRank::Futex};
  /// Sleepers here: lets a wake without sleepers stop before the lock.
  std::atomic<uint32_t> count{0};
  List<Waiter> waiters;

  void enqueue_locked(Waiter& waiter) {
    waiters.push_back(waiter);
    waiter.home = this;
    waiter.is_released.store(false, std::memory_order_relaxed);
    waiter.bucket.store(this, std::memory_order_relaxed);
    count.fetch_add(1, std::memory_order_seq_cst);
  }
  void dequeue_locked(Waiter& waiter) {
    waiter.unlink();
    waiter.bucket.store(nullptr, std::memory_order_release);
    count.fetch_sub(1, std::memory_order_relaxed);
  }
  /// Its frame may be gone afterwards, but for that of one who takes the lock before it leaves. The host is told when the lock is free: the sleeper
  /// would run right into it.
  void wake_locked(Waiter& waiter, sync::WakeBatch& batch) {
    KernelStackHead& context = *waiter.context;
    dequeue_locked(waiter);
    batch.add(context);
    waiter.is_released.store(true, std::memory_order_release);
  }
};

class Table {
 public:
  static constexpr size_t kBuckets = 256;
  Bucket& bucket_of(const Key& key) {
    uint64_t hash = (reinterpret_cast<uintptr_t>(key.object) >> 4) * 0x9e3779b97f4a7c15 + (key.offset >> 2);
    hash *= 0xbf58476d1ce4e5b9;
    return buckets_[hash >> 56];
  }
  std::array<Bucket, kBuckets>& buckets() { return buckets_; }

 private:
  std::array<Bucket, kBuckets> buckets_;
};

}  // namespace umk::futex

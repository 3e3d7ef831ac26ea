#include "core/kernel/task/futex.h"

#include <algorithm>

#include "core/kernel/guest/user_memory.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/kernel.h"

namespace umk::futex {

namespace {

/// Takes `waiter` off wherever it is by now; false when somebody woke it before.
bool withdraw(Waiter& waiter) {
  for (;;) {
    Bucket* const bucket = waiter.bucket.load(std::memory_order_acquire);
    if (!bucket) return false;
    MutexLock lock(bucket->mutex);
    if (waiter.bucket.load(std::memory_order_relaxed) != bucket) continue;
    bucket->dequeue_locked(waiter);
    return true;
  }
}

/// Makes sure that a waker that has dequeued `waiter` is done with it.
void let_waker_finish(Waiter& waiter) {
  if (waiter.is_released.load(std::memory_order_acquire)) return;
  MutexLock lock(waiter.home->mutex);
}

/// Locks two buckets, which may be one, in the order of their addresses.
class TwoBuckets {
 public:
  TwoBuckets(Bucket& a, Bucket& b) NO_THREAD_SAFETY_ANALYSIS : first_(std::min(&a, &b)), second_(std::max(&a, &b)) {
    first_->mutex.lock();
    if (second_ != first_) second_->mutex.lock();
  }
  ~TwoBuckets() NO_THREAD_SAFETY_ANALYSIS {
    if (second_ != first_) second_->mutex.unlock();
    first_->mutex.unlock();
  }

 private:
  Bucket *first_, *second_;
};

/// EINVAL for one that waits for a PI futex, or to be moved to one: a plain wake-up would make it no owner.
Result<int64_t> wake_matching_locked(Bucket& bucket, const Key& key, int count, uint32_t bitset, sync::WakeBatch& batch) {
  int64_t woken = 0;
  for (auto place = bucket.waiters.begin(); place != bucket.waiters.end() && woken < count;) {
    Waiter& waiter = *place++;
    if (waiter.key != key) continue;
    if (waiter.wants_pi || waiter.pi_tid != 0) return error(EINVAL);
    if ((waiter.bitset & bitset) == 0) continue;
    bucket.wake_locked(waiter, batch);
    ++woken;
  }
  return woken;
}

}  // namespace

Result<Key> key_of(Task& task, uint64_t address, bool process_private) {
  if (address % 4 != 0) return error(EINVAL);
  if (!is_user_range(address, 4)) return error(EFAULT);
  // Private words need no look at the mappings: memory of this process only, by definition.
  if (process_private) return Key{task.address_space_.get(), address};
  const mm::AddressSpace::WordKey key = TRY(task.address_space().word_key(address, false));
  return Key{key.object, key.offset};
}

Result<void> wait(Task& task, uint64_t address, bool process_private, uint32_t expected, uint32_t bitset, Deadline deadline) {
  if (bitset == 0) return error(EINVAL);
  const Key key = TRY(key_of(task, address, process_private));
  Bucket& bucket = task.kernel().futexes.bucket_of(key);
  Waiter waiter;
  waiter.key = key;
  waiter.bitset = bitset;
  waiter.context = &current_stack();
  sync::prepare_to_park();
  {
    MutexLock lock(bucket.mutex);
    // Queued before the look at the word: a waker who changes it after the look finds somebody counted, and waits for the lock.
    bucket.enqueue_locked(waiter);
    const Result<uint32_t> value = load_user_word(address);
    if (!value.ok() || value.value() != expected) {
      bucket.dequeue_locked(waiter);
      return error(value.ok() ? EAGAIN : value.failure().code);
    }
  }
  for (;;) {
    const Result<void> woken = sync::park(Sleep::Interruptible, deadline);
    if (!waiter.bucket.load(std::memory_order_acquire)) {
      let_waker_finish(waiter);
      return {};
    }
    if (woken.ok()) {
      sync::prepare_to_park();
      if (waiter.bucket.load(std::memory_order_seq_cst)) continue;
      let_waker_finish(waiter);
      return {};
    }
    if (withdraw(waiter)) return woken.failure();
    let_waker_finish(waiter);
    return {};
  }
}

Result<int64_t> wake(Task& task, uint64_t address, bool process_private, int count, uint32_t bitset) {
  if (bitset == 0) return error(EINVAL);
  const Key key = TRY(key_of(task, address, process_private));
  Bucket& bucket = task.kernel().futexes.bucket_of(key);
  // A read-modify-write is the barrier between the guest's store to the word and this look.
  if (bucket.count.fetch_add(0, std::memory_order_seq_cst) == 0) return 0;
  sync::WakeBatch batch;
  MutexLock lock(bucket.mutex);
  // futex(2) of Linux wakes one for a count of 0 or less.
  return wake_matching_locked(bucket, key, std::max(count, 1), bitset, batch);
}

Result<int64_t> requeue(Task& task, uint64_t from, uint64_t to, bool process_private, int wake_count, int move_count, const uint32_t* expected) {
  if (wake_count < 0 || move_count < 0) return error(EINVAL);
  const Key from_key = TRY(key_of(task, from, process_private));
  const Key to_key = TRY(key_of(task, to, process_private));
  Table& table = task.kernel().futexes;
  Bucket& source = table.bucket_of(from_key);
  Bucket& target = table.bucket_of(to_key);
  sync::WakeBatch batch;
  TwoBuckets locks(source, target);
  if (expected && TRY(load_user_word(from)) != *expected) return error(EAGAIN);
  int64_t done = 0;
  int moved = 0;
  for (auto place = source.waiters.begin(); place != source.waiters.end();) {
    Waiter& waiter = *place++;
    if (waiter.key != from_key) continue;
    if (waiter.wants_pi) return error(EINVAL);
    if (done < wake_count) {
      source.wake_locked(waiter, batch);
      ++done;
      continue;
    }
    if (moved == move_count || from_key == to_key) break;
    source.count.fetch_sub(1, std::memory_order_relaxed);
    waiter.unlink();
    waiter.key = to_key;
    target.enqueue_locked(waiter);
    ++moved;
  }
  return done + moved;
}

namespace {

Result<uint32_t> apply_operation(uint64_t address, uint32_t operation) {
  const uint32_t kind = (operation >> 28) & 7;
  const bool is_shift = operation >> 31;
  // The arguments are signed numbers of 12 bits.
  int32_t argument = static_cast<int32_t>(operation << 8) >> 20;
  if (is_shift) argument = static_cast<int32_t>(uint32_t{1} << (argument & 31));
  uint32_t held = TRY(load_user_word(address));
  for (;;) {
    uint32_t desired;
    switch (kind) {
      case 0: desired = static_cast<uint32_t>(argument); break;
      case 1: desired = held + static_cast<uint32_t>(argument); break;
      case 2: desired = held | static_cast<uint32_t>(argument); break;
      case 3: desired = held & ~static_cast<uint32_t>(argument); break;
      case 4: desired = held ^ static_cast<uint32_t>(argument); break;
      default: return error(ENOSYS);
    }
    const uint32_t before = TRY(compare_exchange_user_word(address, held, desired));
    if (before == held) return held;
    held = before;
  }
}

Result<bool> compare_operation(uint32_t operation, uint32_t held) {
  const int32_t value = static_cast<int32_t>(held);
  const int32_t argument = static_cast<int32_t>(operation << 20) >> 20;
  switch ((operation >> 24) & 15) {
    case 0: return value == argument;
    case 1: return value != argument;
    case 2: return value < argument;
    case 3: return value <= argument;
    case 4: return value > argument;
    case 5: return value >= argument;
    default: return error(ENOSYS);
  }
}

}  // namespace

Result<int64_t> wake_op(Task& task, uint64_t first, uint64_t second, bool process_private, int wake_first, int wake_second, uint32_t operation) {
  const Key first_key = TRY(key_of(task, first, process_private));
  const Key second_key = TRY(key_of(task, second, process_private));
  Table& table = task.kernel().futexes;
  Bucket& first_bucket = table.bucket_of(first_key);
  Bucket& second_bucket = table.bucket_of(second_key);
  sync::WakeBatch batch;
  TwoBuckets locks(first_bucket, second_bucket);
  const uint32_t held = TRY(apply_operation(second, operation));
  const bool wakes_second = TRY(compare_operation(operation, held));
  int64_t woken = TRY(wake_matching_locked(first_bucket, first_key, std::max(wake_first, 1), ~uint32_t{0}, batch));
  if (wakes_second) woken += TRY(wake_matching_locked(second_bucket, second_key, std::max(wake_second, 1), ~uint32_t{0}, batch));
  return woken;
}

namespace {

/// The first waiter that was woken, or -1; all are off their queues afterwards.
int64_t withdraw_all(std::span<Waiter> waiters) {
  int64_t woken = -1;
  for (size_t i = 0; i < waiters.size(); ++i) {
    if (withdraw(waiters[i])) continue;
    let_waker_finish(waiters[i]);
    if (woken < 0) woken = static_cast<int64_t>(i);
  }
  return woken;
}

}  // namespace

Result<int64_t> wait_any(Task& task, std::span<const WaitItem> items, Deadline deadline) {
  if (items.empty() || items.size() > kMaximumWaitItems) return error(EINVAL);
  std::unique_ptr<Waiter[]> waiters(new (std::nothrow) Waiter[items.size()]);
  if (!waiters) return error(ENOMEM);
  Vector<Bucket*> buckets;
  TRY(buckets.reserve(items.size()));
  for (size_t i = 0; i < items.size(); ++i) {
    waiters[i].key = TRY(key_of(task, items[i].address, items[i].process_private));
    waiters[i].context = &current_stack();
    TRY(buckets.push_back(&task.kernel().futexes.bucket_of(waiters[i].key)));
  }
  for (;;) {
    sync::prepare_to_park();
    for (size_t i = 0; i < items.size(); ++i) {
      int code = 0;
      {
        MutexLock lock(buckets[i]->mutex);
        buckets[i]->enqueue_locked(waiters[i]);
        const Result<uint32_t> value = load_user_word(items[i].address);
        code = value.ok() ? (value.value() == items[i].expected ? 0 : EAGAIN) : value.failure().code;
        if (code != 0) buckets[i]->dequeue_locked(waiters[i]);
      }
      if (code == 0) continue;
      const int64_t woken = withdraw_all(std::span(waiters.get(), i));
      if (woken >= 0) return woken;
      return error(code);
    }
    Result<void> outcome = sync::park(Sleep::Interruptible, deadline);
    const int64_t woken = withdraw_all(std::span(waiters.get(), items.size()));
    if (woken >= 0) return woken;
    if (!outcome.ok()) return outcome.failure();
  }
}

void clear_child_tid(Task& task) {
  const uint64_t address = std::exchange(task.clear_child_tid, 0);
  if (address == 0) return;
  // In one piece: pthread_join looks at the word all the time.
  for (uint32_t held = 0;;) {
    const Result<uint32_t> before = compare_exchange_user_word(address, held, 0);
    if (!before.ok()) return;
    if (before.value() == held) break;
    held = before.value();
  }
  // pthread_join waits on it without the private flag.
  (void)wake(task, address, false, 1);
}

}  // namespace umk::futex

// Priority-inheritance words. The kernel keeps no state of a lock besides its sleepers: the owner is in the guest's word, and unlocking hands the
// word to the first sleeper. The host schedules, so priorities are not inherited.
#include <algorithm>

#include "core/kernel/guest/user_memory.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/task/futex.h"

namespace umk::futex {

namespace {

Waiter* first_waiter(Bucket& bucket, const Key& key) {
  for (Waiter& waiter : bucket.waiters)
    if (waiter.key == key && waiter.pi_tid != 0) return &waiter;
  return nullptr;
}

bool has_other_waiter(Bucket& bucket, const Waiter& but) {
  for (Waiter& waiter : bucket.waiters)
    if (&waiter != &but && waiter.key == but.key && waiter.pi_tid != 0) return true;
  return false;
}

/// Gives the word to `heir` and wakes it. `marks` are FUTEX_OWNER_DIED or nothing.
Result<void> hand_over_locked(Bucket& bucket, Waiter& heir, uint64_t address, uint32_t marks, sync::WakeBatch& batch) {
  const uint32_t desired = static_cast<uint32_t>(heir.pi_tid) | marks | (has_other_waiter(bucket, heir) ? kWaitersBit : 0);
  uint32_t held = TRY(load_user_word(address));
  for (;;) {
    const uint32_t before = TRY(compare_exchange_user_word(address, held, desired));
    if (before == held) break;
    held = before;
  }
  bucket.wake_locked(heir, batch);
  return {};
}

enum class Taken { Yes, No };

/// Tries to make `tid` the owner; when somebody else is, sets FUTEX_WAITERS so that the unlock comes to the kernel. Bucket locked.
Result<Taken> try_take_locked(Bucket& bucket, const Key& key, uint64_t address, uint32_t tid, bool marks_waiters) {
  uint32_t held = TRY(load_user_word(address));
  for (;;) {
    const uint32_t owner = held & kTidMask;
    if (owner == tid) return error(EDEADLK);
    if (owner == 0) {
      // Nobody holds it, or its owner died: the flag stays for the new one to see.
      const uint32_t waiters = first_waiter(bucket, key) ? kWaitersBit : 0;
      const uint32_t before = TRY(compare_exchange_user_word(address, held, tid | (held & kOwnerDied) | waiters));
      if (before == held) return Taken::Yes;
      held = before;
      continue;
    }
    if (!marks_waiters) return Taken::No;
    if (!(held & kWaitersBit)) {
      const uint32_t before = TRY(compare_exchange_user_word(address, held, held | kWaitersBit));
      if (before != held) {
        held = before;
        continue;
      }
    }
    return Taken::No;
  }
}

/// The word's owner must be a living task, and is told that its exit has to look for sleepers. ESRCH.
Result<void> note_owner(Task& task, uint64_t address) {
  const uint32_t held = TRY(load_user_word(address));
  const int32_t owner = static_cast<int32_t>(held & kTidMask);
  if (owner == 0) return {};
  MutexLock lock(task.kernel().tasks.mutex);
  const RefPtr<Task> holder = task.kernel().tasks.find_task(owner);
  if (!holder || holder->exiting.load()) return error(ESRCH);
  holder->has_pi_waiters.store(true);
  return {};
}

/// Sleeps in the queue of a PI word until it is handed over. The waiter is queued and parking was prepared.
Result<void> sleep_until_owner(Waiter& waiter, uint64_t address, Deadline deadline) {
  for (;;) {
    const Result<void> woken = sync::park(Sleep::Interruptible, deadline);
    if (woken.ok()) sync::prepare_to_park();
    Bucket* const now_in = waiter.bucket.load(std::memory_order_seq_cst);
    if (!now_in) {
      // The waker may still be at work with this frame, under the lock; a requeue may just have taken it from one queue on its way to another.
      MutexLock lock(waiter.home->mutex);
      if (!waiter.bucket.load(std::memory_order_relaxed)) return {};
      continue;
    }
    if (woken.ok()) continue;
    MutexLock lock(now_in->mutex);
    if (waiter.bucket.load(std::memory_order_relaxed) != now_in) {
      if (waiter.bucket.load(std::memory_order_relaxed)) continue;  // requeued just now
      return {};
    }
    const bool others = has_other_waiter(*now_in, waiter);
    now_in->dequeue_locked(waiter);
    if (!others) {
      // The last sleeper takes the mark away again, so that the owner may unlock by itself.
      const Result<uint32_t> held = load_user_word(address);
      if (held.ok() && (held.value() & kTidMask)) (void)compare_exchange_user_word(address, held.value(), held.value() & ~kWaitersBit);
    }
    return woken.failure();
  }
}

}  // namespace

Result<void> lock_pi(Task& task, uint64_t address, bool process_private, bool try_only, Deadline deadline) {
  const Key key = TRY(key_of(task, address, process_private));
  Bucket& bucket = task.kernel().futexes.bucket_of(key);
  const uint32_t tid = static_cast<uint32_t>(task.tid());
  Waiter waiter;
  waiter.key = key;
  waiter.context = &current_stack();
  waiter.pi_tid = task.tid();
  waiter.pi_address = address;
  if (!try_only) {
    if (const Result<void> owner = note_owner(task, address); !owner.ok()) return owner;
  }
  sync::prepare_to_park();
  {
    MutexLock lock(bucket.mutex);
    if (TRY(try_take_locked(bucket, key, address, tid, !try_only)) == Taken::Yes) return {};
    if (try_only) return error(EAGAIN);
    bucket.enqueue_locked(waiter);
  }
  // The owner may have changed, or died, since it was looked up.
  const Result<void> owner = note_owner(task, address);
  if (!owner.ok() && owner.failure().code == ESRCH) {
    MutexLock lock(bucket.mutex);
    if (!waiter.bucket.load(std::memory_order_relaxed)) return {};
    bucket.dequeue_locked(waiter);
    return owner;
  }
  return sleep_until_owner(waiter, address, deadline);
}

Result<void> unlock_pi(Task& task, uint64_t address, bool process_private) {
  const Key key = TRY(key_of(task, address, process_private));
  Bucket& bucket = task.kernel().futexes.bucket_of(key);
  sync::WakeBatch batch;
  MutexLock lock(bucket.mutex);
  uint32_t held = TRY(load_user_word(address));
  if ((held & kTidMask) != static_cast<uint32_t>(task.tid())) return error(EPERM);
  if (Waiter* const heir = first_waiter(bucket, key)) return hand_over_locked(bucket, *heir, address, 0, batch);
  for (;;) {
    const uint32_t before = TRY(compare_exchange_user_word(address, held, 0));
    if (before == held) return {};
    held = before;
  }
}

Result<void> wait_requeue_pi(Task& task, uint64_t address, uint64_t pi_address, bool process_private, uint32_t expected, uint32_t bitset,
                             Deadline deadline) {
  if (bitset == 0 || address == pi_address) return error(EINVAL);
  const Key key = TRY(key_of(task, address, process_private));
  TRY(key_of(task, pi_address, process_private));
  Bucket& bucket = task.kernel().futexes.bucket_of(key);
  Waiter waiter;
  waiter.key = key;
  waiter.bitset = bitset;
  waiter.context = &current_stack();
  waiter.pi_address = pi_address;
  waiter.wants_pi = true;
  sync::prepare_to_park();
  {
    MutexLock lock(bucket.mutex);
    // Queued before the look at the word, as wait() does.
    bucket.enqueue_locked(waiter);
    const Result<uint32_t> value = load_user_word(address);
    if (!value.ok() || value.value() != expected) {
      bucket.dequeue_locked(waiter);
      return error(value.ok() ? EAGAIN : value.failure().code);
    }
  }
  const Result<void> outcome = sleep_until_owner(waiter, pi_address, deadline);
  // Woken by a plain wake instead of being requeued: it does not own the lock, as futex(2) has it.
  if (outcome.ok() && waiter.wants_pi) return error(EAGAIN);
  return outcome;
}

Result<int64_t> requeue_pi(Task& task, uint64_t from, uint64_t to, bool process_private, int wake_count, int move_count, const uint32_t* expected) {
  if (wake_count != 1 || move_count < 0 || from == to) return error(EINVAL);
  const Key from_key = TRY(key_of(task, from, process_private));
  const Key to_key = TRY(key_of(task, to, process_private));
  if (const Result<void> owner = note_owner(task, to); !owner.ok() && owner.failure().code != ESRCH) return owner.failure();
  Table& table = task.kernel().futexes;
  Bucket& source = table.bucket_of(from_key);
  Bucket& target = table.bucket_of(to_key);
  Bucket& low = *std::min(&source, &target);
  Bucket& high = *std::max(&source, &target);
  auto lock_both = [&]() NO_THREAD_SAFETY_ANALYSIS {
    low.mutex.lock();
    if (&high != &low) high.mutex.lock();
  };
  auto unlock_both = [&]() NO_THREAD_SAFETY_ANALYSIS {
    if (&high != &low) high.mutex.unlock();
    low.mutex.unlock();
  };
  sync::WakeBatch batch;
  auto run = [&]() -> Result<int64_t> {
    if (expected && TRY(load_user_word(from)) != *expected) return error(EAGAIN);
    int64_t done = 0;
    for (auto place = source.waiters.begin(); place != source.waiters.end() && done < 1 + int64_t{move_count};) {
      Waiter& waiter = *place++;
      if (waiter.key != from_key) continue;
      if (!waiter.wants_pi || waiter.pi_address != to) return error(EINVAL);
      const Task* const sleeper = waiter.context->task;
      const int32_t tid = sleeper ? sleeper->tid() : 0;
      const Taken taken = TRY(try_take_locked(target, to_key, to, static_cast<uint32_t>(tid), true));
      waiter.wants_pi = false;
      waiter.key = to_key;
      waiter.pi_tid = tid;
      if (taken == Taken::Yes) {
        source.wake_locked(waiter, batch);
      } else {
        source.dequeue_locked(waiter);
        target.enqueue_locked(waiter);
      }
      ++done;
    }
    return done;
  };
  lock_both();
  Result<int64_t> outcome = run();
  unlock_both();
  return outcome;
}

void release_pi_words_of(Task& task) {
  if (!task.has_pi_waiters.load()) return;
  const uint32_t tid = static_cast<uint32_t>(task.tid());
  for (Bucket& bucket : task.kernel().futexes.buckets()) {
    sync::WakeBatch batch;
    MutexLock lock(bucket.mutex);
    for (auto place = bucket.waiters.begin(); place != bucket.waiters.end();) {
      Waiter& waiter = *place++;
      if (waiter.pi_tid == 0 || waiter.context->task == nullptr || waiter.context->task->address_space_ != task.address_space_) continue;
      const Result<uint32_t> held = load_user_word(waiter.pi_address);
      if (!held.ok() || ((held.value() & kTidMask) != tid && !((held.value() & kOwnerDied) && (held.value() & kTidMask) == 0))) continue;
      (void)hand_over_locked(bucket, waiter, waiter.pi_address, kOwnerDied, batch);
      place = bucket.waiters.begin();
    }
  }
}

}  // namespace umk::futex

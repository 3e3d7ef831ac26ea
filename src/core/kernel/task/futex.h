// Futexes: futex(2). The table of sleepers is in futex_table.h; robust lists in robust_list.h.
#pragma once

#include "core/kernel/task/futex_table.h"
#include "core/kernel/task/task.h"

namespace umk::futex {

inline constexpr uint32_t kWaitersBit = 0x80000000, kOwnerDied = 0x40000000, kTidMask = 0x3fffffff;

/// The key of a word: EINVAL when unaligned, EFAULT.
Result<Key> key_of(Task& task, uint64_t address, bool process_private);

/// Sleeps while the word holds `expected`: EAGAIN when it does not, ETIMEDOUT, ERESTARTSYS.
Result<void> wait(Task& task, uint64_t address, bool process_private, uint32_t expected, uint32_t bitset, Deadline deadline);
/// Wakes up to `count` sleepers whose bitset meets `bitset`; returns how many.
Result<int64_t> wake(Task& task, uint64_t address, bool process_private, int count, uint32_t bitset = ~uint32_t{0});
/// FUTEX_REQUEUE, FUTEX_CMP_REQUEUE (`expected` set): wakes `wake_count`, moves `move_count` to the word at `to`. EAGAIN.
Result<int64_t> requeue(Task& task, uint64_t from, uint64_t to, bool process_private, int wake_count, int move_count, const uint32_t* expected);
/// FUTEX_WAKE_OP.
Result<int64_t> wake_op(Task& task, uint64_t first, uint64_t second, bool process_private, int wake_first, int wake_second, uint32_t operation);

/// One word of futex_waitv(2).
struct WaitItem {
  uint64_t address;
  uint32_t expected;
  bool process_private;
};
inline constexpr size_t kMaximumWaitItems = 128;
/// Sleeps until one of the words is woken; returns its index.
Result<int64_t> wait_any(Task& task, std::span<const WaitItem> items, Deadline deadline);

// Priority-inheritance words (futex_pi.cpp): owner's thread number in the word. Priorities themselves are the host's and are not inherited.
Result<void> lock_pi(Task& task, uint64_t address, bool process_private, bool try_only, Deadline deadline);
Result<void> unlock_pi(Task& task, uint64_t address, bool process_private);
/// Waits on a plain word until requeued to the PI word at `pi_address`, then owns that.
Result<void> wait_requeue_pi(Task& task, uint64_t address, uint64_t pi_address, bool process_private, uint32_t expected, uint32_t bitset, Deadline deadline);
Result<int64_t> requeue_pi(Task& task, uint64_t from, uint64_t to, bool process_private, int wake_count, int move_count, const uint32_t* expected);
/// The current task is exiting: PI words that it owns go to their first waiters, marked FUTEX_OWNER_DIED.
void release_pi_words_of(Task& task);

/// Walks the robust list of the current, exiting task: get_robust_list(2).
void release_robust_list(Task& task);
/// set_tid_address(2): the word becomes 0 and one sleeper wakes.
void clear_child_tid(Task& task);

}  // namespace umk::futex

// Robust lists: when a thread ends, the locks that it holds are marked so that others can recover them. get_robust_list(2).
#include "core/kernel/guest/user_memory.h"
#include "core/kernel/task/futex.h"

namespace umk::futex {

namespace {

/// struct robust_list_head.
struct RobustListHead {
  uint64_t first;
  int64_t word_offset;
  uint64_t pending;
};

constexpr int kMaximumEntries = 2048;  // a list may be a loop

/// The word of one lock of the dead thread: the owner goes, FUTEX_OWNER_DIED comes, one waiter is woken.
Result<void> mark_dead(Task& task, uint64_t address, bool is_pi, bool is_pending) {
  if (address % 4 != 0) return error(EINVAL);
  const uint32_t tid = static_cast<uint32_t>(task.tid());
  uint32_t held = TRY(load_user_word(address));
  for (;;) {
    // It died between unlocking and waking: the wake-up is still owed.
    if (is_pending && !is_pi && held == 0) {
      (void)wake(task, address, false, 1);
      return {};
    }
    if ((held & kTidMask) != tid) return {};
    const uint32_t desired = (held & kWaitersBit) | kOwnerDied;
    const uint32_t before = TRY(compare_exchange_user_word(address, held, desired));
    if (before == held) break;
    held = before;
  }
  if (!is_pi && (held & kWaitersBit)) (void)wake(task, address, false, 1);
  return {};
}

uint64_t pointer_of(uint64_t entry) { return entry & ~uint64_t{1}; }
bool is_pi(uint64_t entry) { return entry & 1; }

}  // namespace

void release_robust_list(Task& task) {
  const uint64_t address = std::exchange(task.robust_list_head, 0);
  if (address == 0) return;
  const Result<RobustListHead> read = UserPtr<RobustListHead>(address).read();
  if (!read.ok()) return;
  const RobustListHead& head = read.value();
  uint64_t entry = head.first;
  for (int i = 0; i < kMaximumEntries && pointer_of(entry) != address; ++i) {
    // The link is read before the word is let go: its next owner may reuse the memory.
    const Result<uint64_t> next = UserPtr<uint64_t>(pointer_of(entry)).read();
    if (pointer_of(entry) != pointer_of(head.pending))
      if (!mark_dead(task, pointer_of(entry) + static_cast<uint64_t>(head.word_offset), is_pi(entry), false).ok()) return;
    if (!next.ok()) return;
    entry = next.value();
  }
  if (head.pending != 0) (void)mark_dead(task, pointer_of(head.pending) + static_cast<uint64_t>(head.word_offset), is_pi(head.pending), true);
}

}  // namespace umk::futex

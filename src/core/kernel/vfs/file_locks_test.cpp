#include "core/kernel/vfs/file_locks.h"

#include <thread>

#include "core/kernel/vfs/testing_vfs.h"

namespace umk::vfs {
namespace {

class FileLocksTest : public VfsTest {
 protected:
  FileLocksTest() {
    EXPECT_EQ(put("/f"), 0);
    EXPECT_EQ(put("/g"), 0);
  }
  static LockOwner owner(int number) { return {reinterpret_cast<const void*>(static_cast<uintptr_t>(number)), number, true}; }
  int lock(int who, uint64_t start, uint64_t end, LockKind kind, bool wait = false, const char* path = "/f") {
    return vfs_->locks().lock_range(inode(path), owner(who), {start, end}, kind, wait).code();
  }
  int unlock(int who, uint64_t start, uint64_t end) { return vfs_->locks().unlock_range(inode("/f"), owner(who), {start, end}).code(); }
  std::optional<RecordLock> conflict(int who, uint64_t start, uint64_t end, LockKind kind) {
    return vfs_->locks().find_conflict(inode("/f"), owner(who), {start, end}, kind).take();
  }
};

TEST_F(FileLocksTest, ReadersShareAndWritersDoNot) {
  EXPECT_EQ(lock(1, 0, 9, LockKind::Read), 0);
  EXPECT_EQ(lock(2, 5, 14, LockKind::Read), 0);
  EXPECT_EQ(lock(2, 0, 4, LockKind::Write), EAGAIN);
  EXPECT_EQ(lock(2, 10, 20, LockKind::Write), 0);
  EXPECT_EQ(lock(1, 10, 10, LockKind::Read), EAGAIN);
  EXPECT_EQ(conflict(1, 0, UINT64_MAX, LockKind::Read)->owner.pid, 2);
}

TEST_F(FileLocksTest, UnlockingTheMiddleSplitsALock) {
  EXPECT_EQ(lock(1, 0, 99, LockKind::Write), 0);
  EXPECT_EQ(unlock(1, 40, 59), 0);
  EXPECT_EQ(lock(2, 40, 59, LockKind::Write), 0);
  EXPECT_EQ(conflict(2, 0, 39, LockKind::Read)->range.end, 39u);
  EXPECT_EQ(conflict(2, 60, 99, LockKind::Read)->range.start, 60u);
  EXPECT_FALSE(conflict(2, 100, 200, LockKind::Write).has_value());
}

TEST_F(FileLocksTest, AdjacentLocksOfAKindBecomeOne) {
  EXPECT_EQ(lock(1, 0, 9, LockKind::Read), 0);
  EXPECT_EQ(lock(1, 20, 29, LockKind::Read), 0);
  EXPECT_EQ(lock(1, 10, 19, LockKind::Read), 0);
  const auto found = conflict(2, 15, 15, LockKind::Write);
  EXPECT_EQ(found->range.start, 0u);
  EXPECT_EQ(found->range.end, 29u);
  EXPECT_EQ(lock(1, 12, 14, LockKind::Write), 0);
  EXPECT_EQ(conflict(2, 0, UINT64_MAX, LockKind::Read)->range.start, 12u);
  EXPECT_EQ(conflict(2, 15, 99, LockKind::Write)->range.end, 29u);
}

// A random sequence agrees with a byte-by-byte model.
TEST_F(FileLocksTest, AgreesWithAModel) {
  constexpr int kBytes = 40, kOwners = 3;
  int model[kOwners][kBytes] = {};  // 0 none, 1 read, 2 write
  uint32_t state = 12345;
  auto random = [&](uint32_t bound) {
    state = state * 1664525 + 1013904223;
    return (state >> 8) % bound;
  };
  for (int step = 0; step < 20000; ++step) {
    const int who = static_cast<int>(random(kOwners));
    uint64_t start = random(kBytes), end = random(kBytes);
    if (start > end) std::swap(start, end);
    const int wanted = static_cast<int>(random(3));
    bool conflicts = false;
    for (int other = 0; other < kOwners; ++other)
      for (uint64_t i = start; i <= end && other != who; ++i) conflicts |= wanted != 0 && (model[other][i] == 2 || (model[other][i] == 1 && wanted == 2));
    const int code = wanted == 0 ? unlock(who + 1, start, end) : lock(who + 1, start, end, wanted == 1 ? LockKind::Read : LockKind::Write);
    ASSERT_EQ(code, conflicts ? EAGAIN : 0) << step;
    if (!conflicts)
      for (uint64_t i = start; i <= end; ++i) model[who][i] = wanted;
    for (uint64_t i = 0; i < kBytes; ++i) {
      bool any = false;
      for (int other = 0; other < kOwners; ++other) any |= model[other][i] != 0;
      ASSERT_EQ(conflict(99, i, i, LockKind::Write).has_value(), any) << step;
    }
  }
}

TEST_F(FileLocksTest, ClosingADescriptorDropsTheProcessLocks) {
  EXPECT_EQ(lock(1, 0, 9, LockKind::Write), 0);
  RefPtr<OpenFile> file = open("/f").take();
  file->on_descriptor_closed(owner(1).identity);
  EXPECT_EQ(lock(2, 0, 9, LockKind::Write), 0);
}

TEST_F(FileLocksTest, DeadlockBetweenProcessesIsRefused) {
  EXPECT_EQ(lock(1, 0, 0, LockKind::Write), 0);
  EXPECT_EQ(lock(2, 0, 0, LockKind::Write, false, "/g"), 0);
  std::thread waiter([&] {
    EXPECT_EQ(vfs_->locks().lock_range(inode("/g"), owner(1), {0, 0}, LockKind::Write, true).code(), 0);
  });
  // Once the other one sleeps, waiting for it would never end.
  while (vfs_->locks().waiting_processes() == 0) std::this_thread::yield();
  EXPECT_EQ(lock(2, 0, 0, LockKind::Write, true), EDEADLK);
  EXPECT_EQ(vfs_->locks().unlock_range(inode("/g"), owner(2), {0, UINT64_MAX}).code(), 0);
  waiter.join();
}

TEST_F(FileLocksTest, FlockBelongsToTheOpenFile) {
  RefPtr<OpenFile> a = open("/f").take(), b = open("/f").take();
  FileLockManager& locks = vfs_->locks();
  EXPECT_EQ(locks.flock(*a, LockKind::Read, false).code(), 0);
  EXPECT_EQ(locks.flock(*b, LockKind::Read, false).code(), 0);
  EXPECT_EQ(locks.flock(*a, LockKind::Write, false).code(), EAGAIN);
  EXPECT_EQ(locks.flock(*b, LockKind::Write, false).code(), 0);  // a's lock was lost by the failed change
  EXPECT_EQ(locks.flock(*a, LockKind::Read, false).code(), EAGAIN);
  b = nullptr;
  EXPECT_EQ(locks.flock(*a, LockKind::Write, false).code(), 0);
  EXPECT_EQ(lock(1, 0, 9, LockKind::Write), 0);
}

}  // namespace
}  // namespace umk::vfs

// File locks: record locks of processes (fcntl F_SETLK) and of open files (F_OFD_SETLK), and flock(2) locks.
//
// The locks of one inode are in its FileLockTable, made on first use and freed with the inode. One FileLockManager a kernel holds the mutex (rank
// FileLocks) that guards all tables, and the list of waiters, where deadlocks between processes are found. Locks conflict as fcntl(2) and flock(2) say: record locks
// and flock locks never conflict with each other; record locks of one owner never conflict, whatever their kind.
// The owner of a record lock is what the descriptor calls pass as `lock_owner` (the process's descriptor table), or the open file.
#pragma once

#include <cstdint>

#include "core/base/list.h"
#include "core/base/make.h"
#include "core/kernel/vfs/inode.h"
#include "core/sync/wait_queue.h"

namespace umk::vfs {

class FileLockManager;
struct LockWaiterTag;

enum class LockKind : uint8_t { Read, Write };

/// Bytes [start, end], both inclusive; UINT64_MAX as end reaches past any growth.
struct ByteRange {
  uint64_t start = 0;
  uint64_t end = UINT64_MAX;
  bool overlaps(const ByteRange& other) const { return start <= other.end && other.start <= end; }
};

struct LockOwner {
  const void* identity;
  /// F_GETLK and /proc/locks show it; -1 for locks of open files.
  int32_t pid;
  /// Process locks take part in deadlock detection.
  bool is_process;
};

struct RecordLock {
  LockOwner owner;
  LockKind kind;
  ByteRange range;
};

struct FlockLock {
  const OpenFile* file;
  LockKind kind;
};

class FileLockTable {
 public:
  explicit FileLockTable(FileLockManager& manager) : manager_(manager) {}

 private:
  friend class FileLockManager;
  friend void release_locks_of_process(Inode& inode, const void* owner);
  friend void release_locks_of_file(Inode& inode, const OpenFile& file);

  FileLockManager& manager_;
  Vector<RecordLock> records_;  // sorted by owner arrival; adjacent ranges of one owner and kind are merged
  Vector<FlockLock> flocks_;
  WaitQueue released_;
};

class FileLockManager {
 public:
  static constexpr size_t kMaximumRecords = 65536;  // an inode's; beyond it ENOLCK

  /// Takes a byte-range lock, waiting (when `wait`) while a conflicting one exists: EAGAIN, EDEADLK, ENOLCK, ERESTARTSYS. In each case nothing was taken.
  /// Call with no inode lock held.
  Result<void> lock_range(Inode& inode, const LockOwner& owner, ByteRange range, LockKind kind, bool wait);
  Result<void> unlock_range(Inode& inode, const LockOwner& owner, ByteRange range);
  /// F_GETLK: the first lock that would be in the way.
  Result<std::optional<RecordLock>> find_conflict(Inode& inode, const LockOwner& owner, ByteRange range, LockKind kind);

  /// flock(2): EAGAIN (EWOULDBLOCK) when not waiting. Changing the kind of a lock drops it first, as flock(2) warns.
  Result<void> flock(OpenFile& file, LockKind kind, bool wait);
  void unflock(OpenFile& file);

  /// Processes that wait for record locks of others.
  size_t waiting_processes();

 private:
  friend void release_locks_of_process(Inode& inode, const void* owner);
  friend void release_locks_of_file(Inode& inode, const OpenFile& file);

  struct Blocked : ListHook<LockWaiterTag> {
    const void* waiter;
    const void* holder;
  };
  Result<FileLockTable*> table_of(Inode& inode);
  static const RecordLock* conflict_locked(const FileLockTable& table, const LockOwner& owner, ByteRange range, LockKind kind);
  /// Replaces what `owner` holds in `range` by `kind`, or by nothing.
  Result<void> replace_locked(FileLockTable& table, const LockOwner& owner, ByteRange range, std::optional<LockKind> kind) REQUIRES(mutex_);
  bool would_deadlock_locked(const void* waiter, const void* holder) REQUIRES(mutex_);

  Mutex mutex_{LockRank::FileLocks};
  List<Blocked, LockWaiterTag> blocked_ GUARDED_BY(mutex_);
};

/// Drops the record locks of a process on a file of which it closed a descriptor: POSIX.1.
void release_locks_of_process(Inode& inode, const void* owner);
/// Drops what an open file holds, when it goes.
void release_locks_of_file(Inode& inode, const OpenFile& file);

}  // namespace umk::vfs

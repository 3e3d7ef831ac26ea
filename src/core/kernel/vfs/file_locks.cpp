#include "core/kernel/vfs/file_locks.h"

#include "core/kernel/vfs/open_file.h"

namespace umk::vfs {

namespace {

bool kinds_conflict(LockKind a, LockKind b) { return a == LockKind::Write || b == LockKind::Write; }

}  // namespace

Result<FileLockTable*> FileLockManager::table_of(Inode& inode) {
  FileLockTable* table = inode.file_locks.load(std::memory_order_acquire);
  if (table) return table;
  std::unique_ptr<FileLockTable> fresh(new (std::nothrow) FileLockTable(*this));
  if (!fresh) return error(ENOLCK);
  if (inode.file_locks.compare_exchange_strong(table, fresh.get(), std::memory_order_acq_rel)) return fresh.release();
  return table;
}

const RecordLock* FileLockManager::conflict_locked(const FileLockTable& table, const LockOwner& owner, ByteRange range, LockKind kind) {
  for (const RecordLock& lock : table.records_)
    if (lock.owner.identity != owner.identity && lock.range.overlaps(range) && kinds_conflict(lock.kind, kind)) return &lock;
  return nullptr;
}

Result<void> FileLockManager::replace_locked(FileLockTable& table, const LockOwner& owner, ByteRange range, std::optional<LockKind> kind) {
  Vector<RecordLock>& records = table.records_;
  // A lock in the middle of another splits it: at most two more records than before.
  if (records.size() + 2 > kMaximumRecords || !records.reserve(records.size() + 2).ok()) return error(ENOLCK);
  ByteRange merged = range;
  size_t place = records.size();
  for (size_t i = 0; i < records.size();) {
    RecordLock& lock = records[i];
    if (lock.owner.identity != owner.identity) {
      ++i;
      continue;
    }
    const bool touches = lock.range.start <= (range.end == UINT64_MAX ? range.end : range.end + 1) && range.start <= (lock.range.end == UINT64_MAX ? lock.range.end : lock.range.end + 1);
    if (kind && lock.kind == *kind && touches) {
      if (lock.range.start < merged.start) merged.start = lock.range.start;
      if (lock.range.end > merged.end) merged.end = lock.range.end;
      place = place < i ? place : i;
      records.erase(i);
      continue;
    }
    if (!lock.range.overlaps(range)) {
      ++i;
      continue;
    }
    const ByteRange old = lock.range;
    if (old.start < range.start && old.end > range.end) {
      RecordLock right = lock;
      right.range.start = range.end + 1;
      lock.range.end = range.start - 1;
      MUST(records.insert(i + 1, right), "two slots were reserved");
      place = i + 1;
      i += 2;
    } else if (old.start < range.start) {
      lock.range.end = range.start - 1;
      ++i;
    } else if (old.end > range.end) {
      lock.range.start = range.end + 1;
      place = place < i ? place : i;
      ++i;
    } else {
      place = place < i ? place : i;
      records.erase(i);
    }
  }
  if (kind) {
    if (place > records.size()) place = records.size();
    MUST(records.insert(place, RecordLock{owner, *kind, merged}), "two slots were reserved");
  }
  return {};
}

bool FileLockManager::would_deadlock_locked(const void* waiter, const void* holder) {
  // A blocked process waits for one holder at a time per thread; follow the chain, bounded against cycles made of others.
  constexpr int kMaximumDepth = 64;
  const void* place = holder;
  for (int depth = 0; depth < kMaximumDepth; ++depth) {
    if (place == waiter) return true;
    const void* next = nullptr;
    for (const Blocked& blocked : blocked_)
      if (blocked.waiter == place) next = blocked.holder;
    if (!next) return false;
    place = next;
  }
  return false;
}

Result<void> FileLockManager::lock_range(Inode& inode, const LockOwner& owner, ByteRange range, LockKind kind, bool wait) {
  FileLockTable& table = *TRY(table_of(inode));
  MutexLock lock(mutex_);
  for (;;) {
    const RecordLock* conflict = conflict_locked(table, owner, range, kind);
    if (!conflict) break;
    if (!wait) return error(EAGAIN);
    Blocked blocked;
    blocked.waiter = owner.identity;
    blocked.holder = conflict->owner.identity;
    const bool counts = owner.is_process && conflict->owner.is_process;
    if (counts) {
      if (would_deadlock_locked(blocked.waiter, blocked.holder)) return error(EDEADLK);
      blocked_.push_back(blocked);
    }
    Result<void> outcome = table.released_.wait(mutex_);
    if (counts) blocked.unlink();
    TRY(std::move(outcome));
  }
  TRY(replace_locked(table, owner, range, kind));
  // Turning a write lock into a read lock may let others in.
  if (kind == LockKind::Read) table.released_.wake_all();
  return {};
}

Result<void> FileLockManager::unlock_range(Inode& inode, const LockOwner& owner, ByteRange range) {
  FileLockTable* table = inode.file_locks.load(std::memory_order_acquire);
  if (!table) return {};
  MutexLock lock(mutex_);
  TRY(replace_locked(*table, owner, range, std::nullopt));
  table->released_.wake_all();
  return {};
}

Result<std::optional<RecordLock>> FileLockManager::find_conflict(Inode& inode, const LockOwner& owner, ByteRange range, LockKind kind) {
  FileLockTable* table = inode.file_locks.load(std::memory_order_acquire);
  if (!table) return std::optional<RecordLock>();
  MutexLock lock(mutex_);
  if (const RecordLock* conflict = conflict_locked(*table, owner, range, kind)) return std::optional<RecordLock>(*conflict);
  return std::optional<RecordLock>();
}

Result<void> FileLockManager::flock(OpenFile& file, LockKind kind, bool wait) {
  FileLockTable& table = *TRY(table_of(file.inode()));
  MutexLock lock(mutex_);
  for (size_t i = 0; i < table.flocks_.size(); ++i) {
    if (table.flocks_[i].file != &file) continue;
    if (table.flocks_[i].kind == kind) return {};
    table.flocks_.erase(i);
    table.released_.wake_all();
    break;
  }
  for (;;) {
    bool conflict = false;
    for (const FlockLock& held : table.flocks_) {
      // Another thread with the same open file may have taken the lock while we slept.
      if (held.file == &file && held.kind == kind) return {};
      conflict |= held.file != &file && kinds_conflict(held.kind, kind);
    }
    if (!conflict) break;
    if (!wait) return error(EAGAIN);
    TRY(table.released_.wait(mutex_));
  }
  for (size_t i = 0; i < table.flocks_.size(); ++i) {
    if (table.flocks_[i].file != &file) continue;
    table.flocks_[i].kind = kind;
    return {};
  }
  if (!table.flocks_.push_back(FlockLock{&file, kind}).ok()) return error(ENOLCK);
  return {};
}

void FileLockManager::unflock(OpenFile& file) {
  FileLockTable* table = file.inode().file_locks.load(std::memory_order_acquire);
  if (!table) return;
  MutexLock lock(mutex_);
  for (size_t i = 0; i < table->flocks_.size(); ++i) {
    if (table->flocks_[i].file != &file) continue;
    table->flocks_.erase(i);
    table->released_.wake_all();
    return;
  }
}

size_t FileLockManager::waiting_processes() {
  MutexLock lock(mutex_);
  return blocked_.size();
}

void release_locks_of_process(Inode& inode, const void* owner) {
  FileLockTable& table = *inode.file_locks.load(std::memory_order_acquire);
  MutexLock lock(table.manager_.mutex_);
  bool released = false;
  for (size_t i = table.records_.size(); i-- > 0;) {
    if (table.records_[i].owner.identity != owner) continue;
    table.records_.erase(i);
    released = true;
  }
  if (released) table.released_.wake_all();
}

void release_locks_of_file(Inode& inode, const OpenFile& file) {
  release_locks_of_process(inode, &file);
  FileLockTable& table = *inode.file_locks.load(std::memory_order_acquire);
  MutexLock lock(table.manager_.mutex_);
  for (size_t i = table.flocks_.size(); i-- > 0;) {
    if (table.flocks_[i].file != &file) continue;
    table.flocks_.erase(i);
    table.released_.wake_all();
  }
}

}  // namespace umk::vfs

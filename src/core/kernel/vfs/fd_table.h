// FdTable: the descriptors of a process, shared by threads (CLONE_FILES).
//
// Looking a descriptor up is on the path of nearly every call, so it takes no lock when the table is not shared between threads: then only its one user
// changes it. Whoever looks at the table of another process (proc) holds a reference while it does, and uses the functions that lock.
#pragma once

#include "core/base/make.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::vfs {

struct Fd {
  int number;
};

class FdTable : public RefCounted {
 public:
  FdTable() = default;
  static constexpr uint32_t kMaximum = 1 << 20;

  /// The file of a descriptor; EBADF.
  Result<RefPtr<OpenFile>> get(Fd fd);
  /// As get, and EBADF for O_PATH descriptors, or those not open for reading / writing.
  Result<RefPtr<OpenFile>> usable(Fd fd);
  Result<RefPtr<OpenFile>> readable(Fd fd);
  Result<RefPtr<OpenFile>> writable(Fd fd);

  /// Puts `file` at the lowest free number >= `from` and below `limit` (RLIMIT_NOFILE): EMFILE.
  Result<Fd> add(RefPtr<OpenFile> file, bool close_on_exec, uint64_t limit, int from = 0);
  /// dup2/dup3: puts it at `fd`, closing what was there. EBADF when at or above the limit.
  Result<void> put(Fd fd, RefPtr<OpenFile> file, bool close_on_exec, uint64_t limit, const void* lock_owner);
  Result<void> close(Fd fd, const void* lock_owner);
  /// close_range(2) over [first, last]; marks close-on-exec instead when `mark_only`.
  void close_range(uint32_t first, uint32_t last, bool mark_only, const void* lock_owner);
  void close_on_exec(const void* lock_owner);
  void close_all(const void* lock_owner);

  Result<bool> get_close_on_exec(Fd fd);
  Result<void> set_close_on_exec(Fd fd, bool value);

  /// A copy with the same files (fork).
  Result<RefPtr<FdTable>> clone();
  /// For /proc/PID/fd: the first open descriptor >= `from`, or -1.
  int next_open(int from);
  uint32_t capacity();

 private:
  struct Slot {
    RefPtr<OpenFile> file;
    bool close_on_exec = false;
  };
  Result<void> grow_locked(size_t size) REQUIRES(mutex_);
  RefPtr<OpenFile> take_locked(size_t number) REQUIRES(mutex_);
  Result<RefPtr<OpenFile>> get_unguarded(uint32_t number) const NO_THREAD_SAFETY_ANALYSIS;
  Result<void> fill(std::span<const Slot> slots, size_t lowest_free);

  Mutex mutex_{LockRank::FdTable};
  Vector<Slot> slots_ GUARDED_BY(mutex_);
  size_t lowest_free_ GUARDED_BY(mutex_) = 0;
};

}  // namespace umk::vfs

namespace umk {
using vfs::Fd;
}

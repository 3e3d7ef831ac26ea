// Caller: on whose behalf the VFS works. The VFS knows callers, not tasks.
#pragma once

#include "core/kernel/security/credentials.h"
#include "core/kernel/vfs/path.h"
#include "core/sync/mutex.h"

namespace umk::vfs {

/// Root, working directory and umask: shared by threads (CLONE_FS).
class FsContext : public RefCounted {
 public:
  FsContext(Path root, Path working_directory, uint32_t umask) : root_(std::move(root)), working_directory_(std::move(working_directory)), umask_(umask) {}

  Path root() {
    MutexLock lock(mutex_);
    return root_;
  }
  Path working_directory() {
    MutexLock lock(mutex_);
    return working_directory_;
  }
  void set_root(Path path) {
    MutexLock lock(mutex_);
    std::swap(root_, path);
  }
  void set_working_directory(Path path) {
    MutexLock lock(mutex_);
    std::swap(working_directory_, path);
  }
  uint32_t umask() const { return umask_.load(std::memory_order_relaxed); }
  uint32_t exchange_umask(uint32_t umask) { return umask_.exchange(umask & 0777); }
  Result<RefPtr<FsContext>> clone() { return make_ref<FsContext>(root(), working_directory(), umask()); }

 private:
  Mutex mutex_{LockRank::None};
  Path root_ GUARDED_BY(mutex_);
  Path working_directory_ GUARDED_BY(mutex_);
  std::atomic<uint32_t> umask_;
};

struct Caller {
  const Credentials& credentials;
  FsContext& fs;
  /// RLIMIT_FSIZE in bytes: writes that would start beyond it fail with EFBIG.
  uint64_t file_size_limit = UINT64_MAX;
  /// access(2) checks the real ids instead of the effective ones.
  bool use_real_ids = false;
};

}  // namespace umk::vfs

// MemoryFiles: who makes the nameless files of memfd_create(2). tmpfs implements it; the Vfs knows it after boot.
#pragma once

#include "core/kernel/vfs/caller.h"
#include "core/kernel/vfs/inode.h"

namespace umk::vfs {

/// Seals of fcntl(2), F_ADD_SEALS.
namespace seals {
inline constexpr uint32_t kSeal = 1, kShrink = 2, kGrow = 4, kWrite = 8, kFutureWrite = 16, kExec = 32, kAll = 63;
}

class MemoryFiles {
 public:
  /// An empty regular file, not linked anywhere. `seals`: those set from the start.
  virtual Result<RefPtr<Inode>> make(const Caller& caller, uint32_t mode, uint32_t seals) = 0;
  /// Where they live.
  virtual Superblock& superblock() = 0;

 protected:
  ~MemoryFiles() = default;
};

}  // namespace umk::vfs

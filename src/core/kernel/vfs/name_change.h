// What the verbs that change names share; internal to the VFS.
#pragma once

#include "core/kernel/vfs/vfs.h"

namespace umk::vfs {

class NameChange {
 public:
  /// The dentry of a name, with the directory locked: asks the filesystem when the cache does not know.
  static Result<RefPtr<Dentry>> child_of_locked(Vfs& vfs, Dentry& parent, std::string_view name);
};

/// Whether the caller may take `victim` out of `directory`: EACCES, or EPERM in a sticky directory.
Result<void> check_removable(const Caller& caller, Inode& directory, const Inode& victim);

}  // namespace umk::vfs

// The top of proc: the machine's files, and one directory a process.
#pragma once

#include "core/fs/proc/nodes.h"

namespace umk::proc {

class RootDirectory final : public DirectoryNode {
 public:
  explicit RootDirectory(Superblock& superblock);

  bool names_are_stable() const override { return false; }
  bool revalidate(std::string_view name, vfs::Inode* child) override;
  Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
  Result<uint64_t> list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) override;
};

/// A number as a name of a process or thread: decimal, without leading zeroes; 0 when it is none.
ThreadId parse_tid(std::string_view name);

}  // namespace umk::proc

// MemoryFile: /proc/PID/mem, the memory of a process as a file whose positions are addresses. proc(5).
//
// It shows the memory that the process had when it was opened: nothing any more once the process has another program or none. It keeps none of it alive.
#pragma once

#include "core/fs/proc/nodes.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::proc {

class MemoryFile final : public vfs::OpenFile {
 public:
  static Result<RefPtr<vfs::OpenFile>> open(RefPtr<FileNode> node, const vfs::Caller& caller, uint32_t flags);
  MemoryFile(RefPtr<FileNode> node, uint64_t space_number, uint32_t flags)
      : OpenFile(RefPtr<vfs::Inode>(node), flags, LockRank::ProcFile), space_number_(space_number) {}

  bool is_seekable() const override { return true; }
  bool is_pollable() const override { return false; }
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append) override;
  Result<uint64_t> seek(int64_t offset, int whence) override;

 private:
  /// Null: the memory is gone.
  RefPtr<mm::AddressSpace> space();

  const uint64_t space_number_;  // mm::AddressSpace::Carrier
};

}  // namespace umk::proc

// LogFile: /proc/kmsg, the kernel's log for one daemon: what is read is gone for the next reader. proc(5), syslog(2).
#pragma once

#include "core/fs/proc/nodes.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::proc {

class LogFile final : public vfs::OpenFile {
 public:
  /// EPERM without CAP_SYSLOG.
  static Result<RefPtr<vfs::OpenFile>> open(RefPtr<FileNode> node, const vfs::Caller& caller, uint32_t flags);
  LogFile(RefPtr<FileNode> node, uint32_t flags) : OpenFile(RefPtr<vfs::Inode>(node), flags, LockRank::ProcFile) {}

  Result<size_t> read_at(uint64_t, UserOutBuffer& buffer) override;
  uint32_t poll(vfs::PollTable* table) override;
  /// Possible as on Linux, and without effect: there are no positions in the log.
  Result<uint64_t> seek(int64_t offset, int whence) override;

 private:
  KernelLog& log() const { return static_cast<const FileNode&>(inode()).kernel().kernel_log; }
};

}  // namespace umk::proc

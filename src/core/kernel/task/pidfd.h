// pidfd: a descriptor that stands for a process. pidfd_open(2), pidfd_send_signal(2), CLONE_PIDFD, waitid(P_PIDFD).
#pragma once

#include "core/kernel/task/task.h"

namespace umk {

/// An open /proc/PID: it takes signals as a pidfd does, and is none otherwise. proc implements it.
class ProcessDirectoryFile : public vfs::InodeFile {
 public:
  using InodeFile::InodeFile;
  vfs::FileKind kind() const final { return vfs::FileKind::ProcessDirectory; }
  /// ESRCH once it was reaped.
  virtual Result<RefPtr<Process>> process() = 0;
};

/// A new open file for `process`; its poll says "readable" once the process has ended.
Result<RefPtr<vfs::OpenFile>> make_pidfd(Task& current, RefPtr<Process> process, bool non_blocking);
/// The process behind a descriptor's file; EBADF when it is no pidfd.
Result<RefPtr<Process>> process_of_pidfd(vfs::OpenFile& file);
/// The same for who sends it a signal, which an open /proc/PID allows, too.
Result<RefPtr<Process>> process_to_signal(vfs::OpenFile& file);

}  // namespace umk

// pidfd: a descriptor that stands for a process. pidfd_open(2), pidfd_send_signal(2), CLONE_PIDFD, waitid(P_PIDFD).
#pragma once

#include "core/kernel/task/task.h"

namespace umk {

/// A new open file for `process`; its poll says "readable" once the process has ended.
Result<RefPtr<vfs::OpenFile>> make_pidfd(Task& current, RefPtr<Process> process, bool non_blocking);
/// The process behind a descriptor's file; EBADF when it is no pidfd.
Result<RefPtr<Process>> process_of_pidfd(vfs::OpenFile& file);

}  // namespace umk

// SIGPIPE: what a write to a pipe or socket without reader brings besides EPIPE.
#pragma once

#include "core/kernel/task/signals.h"

namespace umk {

/// Passes the outcome of a write on, and sends SIGPIPE to the calling thread when it is EPIPE. Every call that writes to an open file returns through it.
template <typename T>
Result<T> with_broken_pipe_signal(Task& task, Result<T> written) {
  if (!written.ok() && written.code() == EPIPE) [[unlikely]]
    (void)send_signal(task, SignalInfo::from_user(signals::kPipe, 0, task.process().pid(), task.credentials().uid));
  return written;
}

}  // namespace umk

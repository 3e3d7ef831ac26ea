// AsyncSignals: SIGIO, or the signal that F_SETSIG chose, for signal-driven I/O (vfs/async_io.h). fcntl(2).
#pragma once

#include "core/base/make.h"
#include "core/kernel/vfs/async_io.h"

namespace umk {

class Kernel;
class Task;

class AsyncSignals final : public vfs::AsyncSender {
 public:
  explicit AsyncSignals(Kernel& kernel) : kernel_(kernel) {}
  void send(const vfs::AsyncOwner& owner, int signal, int fd, vfs::AsyncEvent event) override;

  /// The owner that `current` names: ESRCH when there is none of that number. 0 is nobody.
  Result<vfs::AsyncOwner> find_owner(const Task& current, vfs::AsyncOwner::Kind kind, int32_t id);
  /// False once the process, thread or group is gone.
  bool exists(const vfs::AsyncOwner& owner);

 private:
  /// With the task list locked, whose type is not known here.
  RefPtr<Task> find_locked(const vfs::AsyncOwner& owner) NO_THREAD_SAFETY_ANALYSIS;

  Kernel& kernel_;
};

}  // namespace umk

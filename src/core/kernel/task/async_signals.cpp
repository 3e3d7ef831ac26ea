#include "core/kernel/task/async_signals.h"

#include "core/kernel/task/signals.h"
#include "core/kernel/vfs/poll.h"

namespace umk {

using vfs::AsyncEvent, vfs::AsyncOwner;

namespace {

using namespace vfs::poll_bits;

int64_t band_of(AsyncEvent event) {
  switch (event) {
    case AsyncEvent::Input: return kIn | kReadNormal;
    case AsyncEvent::Output: return kOut | kWriteNormal | kWriteBand;
    case AsyncEvent::Message: return kIn | kReadNormal | kMessage;
    case AsyncEvent::Error: return kError;
    case AsyncEvent::Priority: return kPriority | kReadBand;
    case AsyncEvent::HangUp: return kHangUp | kError;
  }
  return 0;
}

/// Signals whose codes mean something else: they come with SI_SIGIO.
constexpr SignalSet kHaveCodes = {SignalSet::of(signals::kIllegal).bits | SignalSet::of(signals::kFloatingPoint).bits | SignalSet::of(signals::kSegv).bits |
                                  SignalSet::of(signals::kBus).bits | SignalSet::of(signals::kTrap).bits | SignalSet::of(signals::kChild).bits |
                                  SignalSet::of(signals::kBadCall).bits};

bool may_tell(const AsyncOwner& owner, const Task& target) {
  const RefPtr<const Credentials> theirs = target.credentials_ref();
  return owner.euid == 0 || owner.euid == theirs->suid || owner.euid == theirs->uid || owner.uid == theirs->suid || owner.uid == theirs->uid;
}

void tell(Task& target, const AsyncOwner& owner, int signal, int fd, AsyncEvent event) {
  if (!may_tell(owner, target)) return;
  const auto send = [&](const SignalInfo& info) {
    return owner.kind == AsyncOwner::Kind::Thread ? send_signal(target, info) : send_signal(target.process(), info);
  };
  if (signal != 0) {
    SignalInfo info = SignalInfo::from_kernel(signal, kHaveCodes.has(signal) ? signal_codes::kSigIo : static_cast<int>(event));
    info.io.band = band_of(event);
    info.io.fd = fd;
    // A real-time signal that finds the queue full is replaced by SIGIO, which is never lost.
    if (send(info).ok()) return;
  }
  (void)send(SignalInfo::from_kernel(signals::kIo));
}

}  // namespace

RefPtr<Task> AsyncSignals::find_locked(const AsyncOwner& owner) {
  RefPtr<Task> task = kernel_.tasks.find_task(owner.id);
  if (task && task->start_time_ns != owner.start_time_ns) return nullptr;
  return task;
}

Result<AsyncOwner> AsyncSignals::find_owner(const Task& current, AsyncOwner::Kind kind, int32_t id) {
  AsyncOwner owner;
  if (id == 0) return owner;
  owner.kind = kind;
  owner.id = id;
  owner.uid = current.credentials().uid;
  owner.euid = current.credentials().euid;
  MutexLock lock(kernel_.tasks.mutex);
  if (kind == AsyncOwner::Kind::Group) {
    if (!kernel_.tasks.find_group(id)) return error(ESRCH);
    return owner;
  }
  const RefPtr<Task> task = kernel_.tasks.find_task(id);
  if (!task) return error(ESRCH);
  owner.start_time_ns = task->start_time_ns;
  return owner;
}

bool AsyncSignals::exists(const AsyncOwner& owner) {
  if (owner.kind == AsyncOwner::Kind::Nobody) return false;
  MutexLock lock(kernel_.tasks.mutex);
  if (owner.kind == AsyncOwner::Kind::Group) return static_cast<bool>(kernel_.tasks.find_group(owner.id));
  return static_cast<bool>(find_locked(owner));
}

void AsyncSignals::send(const AsyncOwner& owner, int signal, int fd, AsyncEvent event) {
  MutexLock lock(kernel_.tasks.mutex);
  if (owner.kind == AsyncOwner::Kind::Group) {
    const RefPtr<ProcessGroup> group = kernel_.tasks.find_group(owner.id);
    if (!group) return;
    for (Process& process : group->members)
      if (process.leader) tell(*process.leader, owner, signal, fd, event);
    return;
  }
  if (const RefPtr<Task> task = find_locked(owner)) tell(*task, owner, signal, fd, event);
}

}  // namespace umk

// Files that report events: eventfd, timerfd, signalfd, inotify.
#include <iterator>

#include "core/abi/inotify.h"
#include "core/abi/time.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/syscall/new_file.h"
#include "core/kernel/task/signal_file.h"
#include "core/kernel/syscall/path_argument.h"
#include "core/kernel/vfs/event_file.h"
#include "core/kernel/vfs/inotify.h"
#include "core/kernel/vfs/timer_file.h"

namespace umk {

namespace {

using vfs::OpenFile;
namespace open_flags = vfs::open_flags;

// EFD_CLOEXEC, TFD_NONBLOCK and so on are the flags of open(2).
constexpr uint32_t kFileFlags = open_flags::kCloseOnExec | open_flags::kNonBlock;

Result<RefPtr<vfs::AnonymousInode>> make_event_inode(Task& task) { return make_anonymous_inode(task, vfs::AnonymousKind::Event, 0600); }

bool closes_on_exec(uint32_t flags) { return (flags & open_flags::kCloseOnExec) != 0; }

// --- eventfd

constexpr uint32_t kEventSemaphore = 1;

// eventfd2(2)
Result<Fd> sys_eventfd2(Task& task, uint32_t count, uint32_t flags) {
  if (flags & ~(kFileFlags | kEventSemaphore)) return error(EINVAL);
  RefPtr<vfs::EventFile> file = TRY(make_ref<vfs::EventFile>(TRY(make_event_inode(task)), uint64_t{count}, (flags & kEventSemaphore) != 0, flags));
  return add_descriptor(task, std::move(file), closes_on_exec(flags));
}

Result<Fd> sys_eventfd(Task& task, uint32_t count) { return sys_eventfd2(task, count, 0); }

// --- timerfd

constexpr uint32_t kTimerCancelOnSet = 2;

// timerfd_create(2)
Result<Fd> sys_timerfd_create(Task& task, int32_t clock_id, uint32_t flags) {
  if (flags & ~kFileFlags) return error(EINVAL);
  switch (clock_id) {
    case clock_ids::kRealtime:
    case clock_ids::kMonotonic:
    case clock_ids::kBoottime: break;
    case clock_ids::kRealtimeAlarm:
    case clock_ids::kBoottimeAlarm:
      if (!task.credentials().has(Capability::WakeAlarm)) return error(EPERM);
      break;
    default: return error(EINVAL);
  }
  RefPtr<vfs::TimerFile> file = TRY(make_ref<vfs::TimerFile>(TRY(make_event_inode(task)), *task.kernel().timers, clock_id, flags));
  return add_descriptor(task, std::move(file), closes_on_exec(flags));
}

Result<RefPtr<OpenFile>> timer_file(Task& task, Fd fd) {
  RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  if (file->kind() != vfs::FileKind::Timer) return error(EINVAL);
  return file;
}

KernelTimerSpec to_spec(vfs::TimerFile::Setting setting) {
  return {KernelTimespec::from_ns(setting.interval_ns), KernelTimespec::from_ns(setting.value_ns)};
}

// timerfd_settime(2). The time of day is the host's and is not set by guests, so TFD_TIMER_CANCEL_ON_SET has nothing to report.
Result<void> sys_timerfd_settime(Task& task, Fd fd, uint32_t flags, UserPtr<KernelTimerSpec> wanted, UserPtr<KernelTimerSpec> old) {
  if (flags & ~(static_cast<uint32_t>(kTimerAbsolute) | kTimerCancelOnSet)) return error(EINVAL);
  const KernelTimerSpec spec = TRY(wanted.read());
  if (!spec.value.is_valid() || !spec.interval.is_valid()) return error(EINVAL);
  RefPtr<OpenFile> file = TRY(timer_file(task, fd));
  const vfs::TimerFile::Setting before =
      TRY(static_cast<vfs::TimerFile&>(*file).set({spec.value.to_ns(), spec.interval.to_ns()}, (flags & kTimerAbsolute) != 0));
  if (old) TRY(old.write(to_spec(before)));
  return {};
}

// timerfd_gettime(2)
Result<void> sys_timerfd_gettime(Task& task, Fd fd, UserPtr<KernelTimerSpec> current) {
  RefPtr<OpenFile> file = TRY(timer_file(task, fd));
  return current.write(to_spec(static_cast<vfs::TimerFile&>(*file).get()));
}

// --- signalfd

// signalfd4(2)
Result<Fd> sys_signalfd4(Task& task, Fd fd, UserPtr<uint64_t> mask, uint64_t mask_size, uint32_t flags) {
  if (flags & ~kFileFlags) return error(EINVAL);
  if (mask_size != sizeof(SignalSet)) return error(EINVAL);
  const SignalSet wanted{TRY(mask.read())};
  if (fd.number == -1)
    return add_descriptor(task, TRY(make_ref<SignalFile>(TRY(make_event_inode(task)), wanted, flags)), closes_on_exec(flags));
  RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  if (file->kind() != vfs::FileKind::Signal) return error(EINVAL);
  static_cast<SignalFile&>(*file).set_wanted(wanted);
  return fd;
}

Result<Fd> sys_signalfd(Task& task, Fd fd, UserPtr<uint64_t> mask, uint64_t mask_size) { return sys_signalfd4(task, fd, mask, mask_size, 0); }

// --- inotify

// inotify_init1(2)
Result<Fd> sys_inotify_init1(Task& task, uint32_t flags) {
  if (flags & ~kFileFlags) return error(EINVAL);
  return add_descriptor(task, TRY(vfs::InotifyFile::create(TRY(make_event_inode(task)), flags)), closes_on_exec(flags));
}

Result<Fd> sys_inotify_init(Task& task) { return sys_inotify_init1(task, 0); }

Result<RefPtr<OpenFile>> inotify_file(Task& task, Fd fd) {
  RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  if (file->kind() != vfs::FileKind::Inotify) return error(EINVAL);
  return file;
}

// inotify_add_watch(2)
Result<int32_t> sys_inotify_add_watch(Task& task, Fd fd, UserString path, uint32_t mask) {
  using namespace inotify_flags;
  constexpr uint32_t kKnown = kAllEvents | vfs::notify_bits::kUnmount | vfs::notify_bits::kIgnored | kQueueOverflow | kOnlyDirectory | kDontFollow |
                              kExcludeUnlinked | kMaskCreate | kMaskAdd | kOneShot | vfs::notify_bits::kIsDirectory;
  if (!(mask & kKnown)) return error(EINVAL);
  if ((mask & kMaskAdd) && (mask & kMaskCreate)) return error(EINVAL);
  RefPtr<OpenFile> file = TRY(inotify_file(task, fd));

  PathArgument text;
  const unsigned walk = ((mask & kDontFollow) ? 0 : vfs::walk::kFollow) | ((mask & kOnlyDirectory) ? vfs::walk::kDirectory : 0);
  const vfs::Caller caller = task.caller();
  const vfs::Path place = TRY(vfs_of(task).lookup(caller, vfs::At{nullptr, TRY(text.read(path))}, walk));
  constexpr unsigned kRead = 4;
  TRY(vfs_of(task).check_access(caller, vfs::Target(place), kRead));
  return static_cast<vfs::InotifyFile&>(*file).add_watch(*place.dentry->inode(), mask);
}

// inotify_rm_watch(2)
Result<void> sys_inotify_rm_watch(Task& task, Fd fd, int32_t watch) {
  RefPtr<OpenFile> file = TRY(inotify_file(task, fd));
  return static_cast<vfs::InotifyFile&>(*file).remove_watch(watch);
}

}  // namespace

const SyscallRow kSysEventRows[] = {
    full<sys_inotify_init>(253, "inotify_init"),
    partial<sys_inotify_add_watch>(254, "inotify_add_watch", "limits count for each instance, not for each user"),
    full<sys_inotify_rm_watch>(255, "inotify_rm_watch"),
    full<sys_signalfd>(282, "signalfd"),
    full<sys_timerfd_create>(283, "timerfd_create"),
    full<sys_eventfd>(284, "eventfd"),
    full<sys_timerfd_settime>(286, "timerfd_settime"),
    full<sys_timerfd_gettime>(287, "timerfd_gettime"),
    full<sys_signalfd4>(289, "signalfd4"),
    full<sys_eventfd2>(290, "eventfd2"),
    full<sys_inotify_init1>(294, "inotify_init1"),
};
const size_t kSysEventRowCount = std::size(kSysEventRows);

}  // namespace umk

// Control of open files: fcntl, flock, ioctl.
#include <iterator>

#include "core/abi/file.h"
#include "core/abi/ioctl.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/syscall/path_argument.h"
#include "core/kernel/vfs/pipe.h"

namespace umk {

namespace {

using vfs::OpenFile;
namespace open_flags = vfs::open_flags;
namespace fcntl = abi::fcntl;

/// The bytes that a struct flock means: POSIX counts a negative length backwards. EINVAL, EOVERFLOW.
Result<vfs::ByteRange> lock_range(OpenFile& file, const abi::RecordLockArgument& argument) {
  int64_t base = 0;
  switch (argument.whence) {
    case 0: break;
    case 1: base = static_cast<int64_t>(file.position()); break;
    case 2: base = static_cast<int64_t>(file.inode().size_bytes()); break;
    default: return error(EINVAL);
  }
  int64_t start;
  if (__builtin_add_overflow(base, argument.start, &start)) return error(EOVERFLOW);
  if (start < 0) return error(EINVAL);
  if (argument.length > 0) {
    int64_t end;
    if (__builtin_add_overflow(start, argument.length - 1, &end)) return error(EOVERFLOW);
    return vfs::ByteRange{static_cast<uint64_t>(start), static_cast<uint64_t>(end)};
  }
  if (argument.length < 0) {
    if (start + argument.length < 0) return error(EINVAL);
    return vfs::ByteRange{static_cast<uint64_t>(start + argument.length), static_cast<uint64_t>(start - 1)};
  }
  return vfs::ByteRange{static_cast<uint64_t>(start), UINT64_MAX};
}

vfs::LockOwner lock_owner(Task& task, OpenFile& file, bool of_file) {
  return of_file ? vfs::LockOwner{&file, -1, false} : vfs::LockOwner{&task.fds(), task.process().pid(), true};
}

// fcntl(2), F_SETLK and its kin.
Result<void> set_record_lock(Task& task, OpenFile& file, uint64_t address, bool of_file, bool wait) {
  const abi::RecordLockArgument argument = TRY(UserPtr<abi::RecordLockArgument>(address).read());
  if (of_file && argument.pid != 0) return error(EINVAL);
  const vfs::ByteRange range = TRY(lock_range(file, argument));
  const vfs::LockOwner owner = lock_owner(task, file, of_file);
  vfs::FileLockManager& locks = vfs_of(task).locks();
  switch (argument.type) {
    case abi::kReadLock:
      if (!file.is_readable()) return error(EBADF);
      return locks.lock_range(file.inode(), owner, range, vfs::LockKind::Read, wait);
    case abi::kWriteLock:
      if (!file.is_writable()) return error(EBADF);
      return locks.lock_range(file.inode(), owner, range, vfs::LockKind::Write, wait);
    case abi::kUnlock: return locks.unlock_range(file.inode(), owner, range);
    default: return error(EINVAL);
  }
}

Result<void> get_record_lock(Task& task, OpenFile& file, uint64_t address, bool of_file) {
  const UserPtr<abi::RecordLockArgument> pointer(address);
  abi::RecordLockArgument argument = TRY(pointer.read());
  if (of_file && argument.pid != 0) return error(EINVAL);
  if (argument.type != abi::kReadLock && argument.type != abi::kWriteLock) return error(EINVAL);
  const vfs::ByteRange range = TRY(lock_range(file, argument));
  const vfs::LockKind kind = argument.type == abi::kReadLock ? vfs::LockKind::Read : vfs::LockKind::Write;
  const std::optional<vfs::RecordLock> conflict = TRY(vfs_of(task).locks().find_conflict(file.inode(), lock_owner(task, file, of_file), range, kind));
  if (!conflict) {
    argument.type = abi::kUnlock;
    return pointer.write(argument);
  }
  argument.type = conflict->kind == vfs::LockKind::Read ? abi::kReadLock : abi::kWriteLock;
  argument.whence = 0;
  argument.start = static_cast<int64_t>(conflict->range.start);
  argument.length = conflict->range.end == UINT64_MAX ? 0 : static_cast<int64_t>(conflict->range.end - conflict->range.start + 1);
  argument.pid = conflict->owner.pid;
  return pointer.write(argument);
}

Result<int64_t> duplicate(Task& task, RefPtr<OpenFile> file, uint64_t from, bool close_on_exec) {
  const uint64_t limit = task.process().limits.soft(Resource::OpenFiles);
  if (from >= limit || from > INT32_MAX) return error(EINVAL);
  return TRY(task.fds().add(std::move(file), close_on_exec, limit, static_cast<int>(from))).number;
}

using AsyncKind = vfs::AsyncOwner::Kind;

Result<void> set_owner(Task& task, OpenFile& file, AsyncKind kind, int32_t id) {
  AsyncSignals& sender = task.kernel().async_signals;
  const vfs::AsyncOwner owner = TRY(sender.find_owner(task, kind, id));
  TRY(file.make_async(sender)).set_owner(owner);
  return {};
}

/// `owner` as F_SETOWN takes it: a process, with a minus sign a process group, 0 nobody. ESRCH.
Result<void> set_owner(Task& task, OpenFile& file, int32_t owner) {
  if (owner == INT32_MIN) return error(EINVAL);
  return set_owner(task, file, owner < 0 ? AsyncKind::Group : AsyncKind::Process, owner < 0 ? -owner : owner);
}

/// The owner, without one that is gone.
vfs::AsyncOwner owner_of(Task& task, OpenFile& file) {
  vfs::AsyncIo* io = file.async();
  if (!io) return {};
  const vfs::AsyncOwner owner = io->owner();
  return task.kernel().async_signals.exists(owner) ? owner : vfs::AsyncOwner{.kind = owner.kind};
}

int32_t owner_number(Task& task, OpenFile& file) {
  const vfs::AsyncOwner owner = owner_of(task, file);
  return owner.kind == AsyncKind::Group ? -owner.id : owner.id;
}

Result<void> set_owner_extended(Task& task, OpenFile& file, uint64_t address) {
  const abi::OwnerArgument owner = TRY(UserPtr<abi::OwnerArgument>(address).read());
  switch (owner.type) {
    case abi::kOwnerThread: return set_owner(task, file, AsyncKind::Thread, owner.pid);
    case abi::kOwnerProcess: return set_owner(task, file, AsyncKind::Process, owner.pid);
    case abi::kOwnerGroup: return set_owner(task, file, AsyncKind::Group, owner.pid);
    default: return error(EINVAL);
  }
}

Result<void> get_owner_extended(Task& task, OpenFile& file, uint64_t address) {
  const vfs::AsyncOwner owner = owner_of(task, file);
  int32_t type = abi::kOwnerThread;
  if (owner.kind == AsyncKind::Process) type = abi::kOwnerProcess;
  if (owner.kind == AsyncKind::Group) type = abi::kOwnerGroup;
  return UserPtr<abi::OwnerArgument>(address).write(abi::OwnerArgument{type, owner.id});
}

Result<void> set_signal(Task& task, OpenFile& file, uint64_t signal) {
  if (signal > signals::kLast) return error(EINVAL);
  TRY(file.make_async(task.kernel().async_signals)).set_signal(static_cast<int>(signal));
  return {};
}

/// O_ASYNC by F_SETFL and FIOASYNC: nothing to do when it is what it was.
Result<void> set_async(Task& task, Fd fd, OpenFile& file, bool on) {
  if (on == ((file.flags() & open_flags::kAsync) != 0)) return {};
  AsyncSignals& sender = task.kernel().async_signals;
  TRY(file.set_async(sender, on, fd.number));
  const std::optional<int32_t> group = file.default_async_group();
  if (!on || !group) return {};
  const AsyncKind kind = *group > 0 ? AsyncKind::Group : AsyncKind::Process;
  Result<vfs::AsyncOwner> owner = sender.find_owner(task, kind, *group > 0 ? *group : task.process().pid());
  if (owner.ok()) file.async()->set_first_owner(owner.value());
  return {};
}

Result<void> set_status_flags(Task& task, Fd fd, OpenFile& file, uint32_t flags) {
  // Only who owns the file may read it without trace.
  if ((flags & ~file.flags() & open_flags::kNoAccessTime) && !vfs::owns_or_may(task.caller(), file.inode())) return error(EPERM);
  TRY(set_async(task, fd, file, (flags & open_flags::kAsync) != 0));
  file.set_status_flags(flags);
  return {};
}

// fcntl(2), F_SETLEASE.
Result<void> set_lease(Task& task, Fd fd, OpenFile& file, uint64_t argument) {
  const int type = static_cast<int>(argument);
  if (type != abi::kReadLock && type != abi::kWriteLock && type != abi::kUnlock) return error(EINVAL);
  const Credentials& credentials = task.credentials();
  if (credentials.fsuid != file.inode().uid() && !credentials.has(Capability::Lease)) return error(EACCES);
  if (!file.inode().is_regular()) return error(EINVAL);
  AsyncSignals& sender = task.kernel().async_signals;
  const vfs::LeaseHolder holder{sender, TRY(sender.find_owner(task, AsyncKind::Process, task.process().pid())), fd.number};
  return vfs::set_lease(file, static_cast<vfs::LeaseKind>(type), holder, vfs_of(task).leases);
}

Result<int64_t> sys_fcntl(Task& task, Fd fd, int command, uint64_t argument) {
  RefPtr<OpenFile> file = TRY(task.fds().get(fd));
  switch (command) {
    case fcntl::kDuplicate: return duplicate(task, std::move(file), argument, false);
    case fcntl::kDuplicateCloseOnExec: return duplicate(task, std::move(file), argument, true);
    case fcntl::kGetDescriptorFlags: return TRY(task.fds().get_close_on_exec(fd)) ? 1 : 0;
    case fcntl::kSetDescriptorFlags: TRY(task.fds().set_close_on_exec(fd, argument & 1)); return 0;
    case fcntl::kGetStatusFlags: return file->flags();
    case fcntl::kDuplicateQuery: return TRY(task.fds().get(Fd{static_cast<int>(argument)})) == file ? 1 : 0;
    default: break;
  }
  if (file->is_path_only()) return error(EBADF);
  switch (command) {
    case fcntl::kSetStatusFlags: TRY(set_status_flags(task, fd, *file, static_cast<uint32_t>(argument))); return 0;
    case fcntl::kGetLock: TRY(get_record_lock(task, *file, argument, false)); return 0;
    case fcntl::kSetLock: TRY(set_record_lock(task, *file, argument, false, false)); return 0;
    case fcntl::kSetLockWait: TRY(set_record_lock(task, *file, argument, false, true)); return 0;
    case fcntl::kGetFileLock: TRY(get_record_lock(task, *file, argument, true)); return 0;
    case fcntl::kSetFileLock: TRY(set_record_lock(task, *file, argument, true, false)); return 0;
    case fcntl::kSetFileLockWait: TRY(set_record_lock(task, *file, argument, true, true)); return 0;
    case fcntl::kGetOwner: return owner_number(task, *file);
    case fcntl::kSetOwner: TRY(set_owner(task, *file, static_cast<int32_t>(argument))); return 0;
    case fcntl::kSetLease: TRY(set_lease(task, fd, *file, argument)); return 0;
    case fcntl::kGetLease: return static_cast<int64_t>(vfs::lease_of(*file));
    case fcntl::kGetSignal: return file->async() ? file->async()->signal() : 0;
    case fcntl::kSetSignal: TRY(set_signal(task, *file, argument)); return 0;
    case fcntl::kSetOwnerExtended: TRY(set_owner_extended(task, *file, argument)); return 0;
    case fcntl::kGetOwnerExtended: TRY(get_owner_extended(task, *file, argument)); return 0;
    case fcntl::kSetPipeSize: {
      vfs::Pipe* pipe = vfs::pipe_of(*file);
      if (!pipe) return error(EBADF);
      return static_cast<int64_t>(TRY(pipe->set_capacity(static_cast<uint32_t>(argument), task.credentials().has(Capability::SysResource))));
    }
    case fcntl::kGetPipeSize: {
      vfs::Pipe* pipe = vfs::pipe_of(*file);
      if (!pipe) return error(EBADF);
      return static_cast<int64_t>(pipe->capacity_bytes());
    }
    case fcntl::kAddSeals:
      if (!file->is_writable()) return error(EPERM);
      TRY(file->inode().add_seals(static_cast<uint32_t>(argument)));
      return 0;
    case fcntl::kGetSeals: return TRY(file->inode().seals());
    default: return error(EINVAL);
  }
}

// flock(2)
Result<void> sys_flock(Task& task, Fd fd, int operation) {
  const RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  const bool wait = !(operation & abi::kFlockNonBlock);
  switch (operation & ~abi::kFlockNonBlock) {
    case abi::kFlockShared: return vfs_of(task).locks().flock(*file, vfs::LockKind::Read, wait);
    case abi::kFlockExclusive: return vfs_of(task).locks().flock(*file, vfs::LockKind::Write, wait);
    case abi::kFlockUnlock: vfs_of(task).locks().unflock(*file); return {};
    default: return error(EINVAL);
  }
}

Result<void> set_flag(OpenFile& file, uint32_t flag, UserPtr<int32_t> pointer) {
  const bool on = TRY(pointer.read()) != 0;
  file.set_status_flags(on ? file.flags() | flag : file.flags() & ~flag);
  return {};
}

// ioctl(2): what all files answer, then the file's own.
Result<int64_t> sys_ioctl(Task& task, Fd fd, uint32_t request, uint64_t argument) {
  const RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  switch (request) {
    case ioctls::kSetCloseOnExec: TRY(task.fds().set_close_on_exec(fd, true)); return 0;
    case ioctls::kClearCloseOnExec: TRY(task.fds().set_close_on_exec(fd, false)); return 0;
    case ioctls::kNonBlocking: TRY(set_flag(*file, open_flags::kNonBlock, UserPtr<int32_t>(argument))); return 0;
    case ioctls::kAsync: {
      const bool on = TRY(UserPtr<int32_t>(argument).read()) != 0;
      if (on && !(file->flags() & open_flags::kAsync) && !file->async_lists().can_tell()) return error(ENOTTY);
      TRY(set_async(task, fd, *file, on));
      return 0;
    }
    case ioctls::kSetOwner:
    case ioctls::kSocketSetOwner:
      if (file->kind() != vfs::FileKind::Socket) break;
      TRY(set_owner(task, *file, TRY(UserPtr<int32_t>(argument).read())));
      return 0;
    case ioctls::kGetOwner:
    case ioctls::kSocketGetOwner:
      if (file->kind() != vfs::FileKind::Socket) break;
      TRY(UserPtr<int32_t>(argument).write(owner_number(task, *file)));
      return 0;
    case ioctls::kBytesReadable:
      // Sockets and terminals answer by themselves, as they have more to say.
      if (!file->inode().is_regular() && file->kind() != vfs::FileKind::Pipe && file->kind() != vfs::FileKind::Inotify) break;
      TRY(UserPtr<int32_t>(argument).write(static_cast<int32_t>(TRY(file->readable_bytes()))));
      return 0;
    default: break;
  }
  return file->ioctl(task, request, argument);
}

}  // namespace

const SyscallRow kSysControlRows[] = {
    full<sys_ioctl>(16, "ioctl"),
    partial<sys_fcntl>(72, "fcntl", "no directory notification (F_NOTIFY)"),
    full<sys_flock>(73, "flock"),
};
const size_t kSysControlRowCount = std::size(kSysControlRows);

}  // namespace umk

// What a file is, and changing it: stat and its kin, statfs, access, readlink, chmod, chown, utimensat, umask.
#include <iterator>

#include "core/abi/stat.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/syscall/path_argument.h"

namespace umk {

namespace {

using vfs::Metadata;
using vfs::Target;
using vfs::Timestamp;

abi::TimeSpec to_abi(const Timestamp& time) { return {time.seconds, time.nanoseconds}; }
abi::StatxTime to_statx(const Timestamp& time) { return {time.seconds, time.nanoseconds, 0}; }

Result<void> write_stat(const Target& target, UserPtr<abi::Stat> into) {
  const Metadata data = TRY(target.inode.metadata());
  const abi::Stat stat{
      .device = target.inode.superblock().device().encoded(),
      .inode = data.number,
      .links = data.links,
      .mode = data.mode,
      .uid = data.uid,
      .gid = data.gid,
      .padding = 0,
      .special_device = data.device.encoded(),
      .size = static_cast<int64_t>(data.size_bytes),
      .block_size = data.block_size,
      .blocks = static_cast<int64_t>(data.blocks),
      .access_time = to_abi(data.access_time),
      .modify_time = to_abi(data.modify_time),
      .change_time = to_abi(data.change_time),
      .unused = {},
  };
  return into.write(stat);
}

Result<void> stat_at(Task& task, Fd directory, UserString path, UserPtr<abi::Stat> into, int flags) {
  if (flags & ~(at_flags::kSymlinkNoFollow | at_flags::kNoAutomount | at_flags::kEmptyPath)) return error(EINVAL);
  PathArgument text;
  // Since Linux 6.11 a null path with AT_EMPTY_PATH is as good as an empty one.
  const bool is_null = !path && (flags & at_flags::kEmptyPath);
  const std::string_view name = is_null ? std::string_view() : TRY(text.read(path));
  TargetArgument target;
  return write_stat(TRY(target.resolve(task, directory, name, !(flags & at_flags::kSymlinkNoFollow), flags & at_flags::kEmptyPath)), into);
}

Result<void> sys_stat(Task& task, UserString path, UserPtr<abi::Stat> into) { return stat_at(task, Fd{kWorkingDirectory}, path, into, 0); }
Result<void> sys_lstat(Task& task, UserString path, UserPtr<abi::Stat> into) { return stat_at(task, Fd{kWorkingDirectory}, path, into, at_flags::kSymlinkNoFollow); }
Result<void> sys_newfstatat(Task& task, Fd directory, UserString path, UserPtr<abi::Stat> into, int flags) { return stat_at(task, directory, path, into, flags); }

Result<void> sys_fstat(Task& task, Fd fd, UserPtr<abi::Stat> into) {
  TargetArgument target;
  return write_stat(TRY(target.resolve(task, fd)), into);
}

// statx(2)
Result<void> sys_statx(Task& task, Fd directory, UserString path, int flags, uint32_t mask, UserPtr<abi::Statx> into) {
  if (mask & abi::statx_bits::kReserved) return error(EINVAL);
  if (flags & ~(at_flags::kSymlinkNoFollow | at_flags::kNoAutomount | at_flags::kEmptyPath | at_flags::kStatxSyncType)) return error(EINVAL);
  if ((flags & at_flags::kStatxSyncType) == at_flags::kStatxSyncType) return error(EINVAL);
  PathArgument text;
  const bool is_null = !path && (flags & at_flags::kEmptyPath);
  const std::string_view name = is_null ? std::string_view() : TRY(text.read(path));
  TargetArgument argument;
  const Target target = TRY(argument.resolve(task, directory, name, !(flags & at_flags::kSymlinkNoFollow), flags & at_flags::kEmptyPath));
  const Metadata data = TRY(target.inode.metadata());
  const vfs::DeviceNumber device = target.inode.superblock().device();
  abi::Statx statx{};
  // Images that are never written do not tell when a file was made.
  const bool has_birth_time = data.birth_time.seconds != 0 || data.birth_time.nanoseconds != 0;
  statx.mask = abi::statx_bits::kBasic | (has_birth_time ? abi::statx_bits::kBirthTime : 0) | (target.mount ? abi::statx_bits::kMountId : 0);
  statx.block_size = data.block_size;
  statx.attributes = data.attributes;
  statx.attributes_mask = abi::statx_bits::kMountRoot;
  if (target.mount && target.dentry == &target.mount->root()) statx.attributes |= abi::statx_bits::kMountRoot;
  statx.links = data.links;
  statx.uid = data.uid;
  statx.gid = data.gid;
  statx.mode = static_cast<uint16_t>(data.mode);
  statx.inode = data.number;
  statx.size = data.size_bytes;
  statx.blocks = data.blocks;
  statx.access_time = to_statx(data.access_time);
  statx.birth_time = to_statx(data.birth_time);
  statx.change_time = to_statx(data.change_time);
  statx.modify_time = to_statx(data.modify_time);
  statx.special_device_major = data.device.major;
  statx.special_device_minor = data.device.minor;
  statx.device_major = device.major;
  statx.device_minor = device.minor;
  statx.mount_id = target.mount ? static_cast<uint64_t>(target.mount->id()) : 0;
  return into.write(statx);
}

Result<void> write_statfs(const Target& target, UserPtr<abi::StatFs> into) {
  vfs::Superblock& superblock = target.inode.superblock();
  const vfs::FilesystemStatistics statistics = TRY(superblock.statistics());
  // ST_VALID, and the mount's flags under the names of statvfs(3).
  int64_t flags = 0x20;
  if (target.mount) {
    const uint64_t mount = target.mount->flags();
    namespace bits = vfs::mount_flags;
    if (target.mount->is_read_only()) flags |= 1;
    if (mount & bits::kNoSetUid) flags |= 2;
    if (mount & bits::kNoDevices) flags |= 4;
    if (mount & bits::kNoExec) flags |= 8;
    if (mount & bits::kNoAccessTime) flags |= 0x400;
    if (mount & bits::kNoDirectoryAccessTime) flags |= 0x800;
    if (mount & bits::kRelativeTime) flags |= 0x1000;
  }
  const abi::StatFs statfs{
      .type = statistics.type_magic,
      .block_size = static_cast<int64_t>(statistics.block_size),
      .blocks = statistics.blocks,
      .blocks_free = statistics.blocks_free,
      .blocks_available = statistics.blocks_available,
      .files = statistics.files,
      .files_free = statistics.files_free,
      .identity = superblock.device().encoded(),
      .name_length = static_cast<int64_t>(statistics.name_length_limit),
      .fragment_size = static_cast<int64_t>(statistics.block_size),
      .flags = flags,
      .spare = {},
  };
  return into.write(statfs);
}

Result<void> sys_statfs(Task& task, UserString path, UserPtr<abi::StatFs> into) {
  PathArgument text;
  TargetArgument target;
  return write_statfs(TRY(target.resolve(task, Fd{kWorkingDirectory}, TRY(text.read(path)), true, false)), into);
}

Result<void> sys_fstatfs(Task& task, Fd fd, UserPtr<abi::StatFs> into) {
  TargetArgument target;
  return write_statfs(TRY(target.resolve(task, fd)), into);
}

/// access(2) asks with the real ids; capabilities count for the superuser only. Null: the credentials as they are will do.
Result<RefPtr<Credentials>> real_credentials(const Credentials& now) {
  const bool is_same = now.fsuid == now.uid && now.fsgid == now.gid;
  const CapabilitySet wanted = now.uid == 0 ? now.permitted : CapabilitySet{};
  if (is_same && now.effective.bits == wanted.bits) return RefPtr<Credentials>();
  RefPtr<Credentials> real = TRY(now.clone());
  real->fsuid = now.uid;
  real->fsgid = now.gid;
  real->effective = wanted;
  return real;
}

Result<void> access_at(Task& task, Fd directory, UserString path, uint32_t want, int flags) {
  if (want & ~7u) return error(EINVAL);
  if (flags & ~(at_flags::kEffectiveIds | at_flags::kSymlinkNoFollow | at_flags::kEmptyPath)) return error(EINVAL);
  PathArgument text;
  const std::string_view name = TRY(text.read(path));
  vfs::Caller caller = task.caller();
  RefPtr<Credentials> real;
  if (!(flags & at_flags::kEffectiveIds)) real = TRY(real_credentials(task.credentials()));
  const vfs::Caller asking{.credentials = real ? *real : task.credentials(), .fs = caller.fs, .file_size_limit = caller.file_size_limit};
  if (name.empty() && (flags & at_flags::kEmptyPath) && directory.number != kWorkingDirectory) {
    TargetArgument target;
    return vfs_of(task).check_access(asking, TRY(target.resolve(task, directory)), want);
  }
  // The walk itself needs search permission of the same ids.
  AtArgument at;
  unsigned walk_flags = flags & at_flags::kSymlinkNoFollow ? 0 : vfs::walk::kFollow;
  if (flags & at_flags::kEmptyPath) walk_flags |= vfs::walk::kEmptyPath;
  const vfs::Path place = TRY(vfs_of(task).lookup(asking, TRY(at.resolve(task, directory, name)), walk_flags));
  return vfs_of(task).check_access(asking, Target(place), want);
}

Result<void> sys_access(Task& task, UserString path, uint32_t want) { return access_at(task, Fd{kWorkingDirectory}, path, want, 0); }
Result<void> sys_faccessat(Task& task, Fd directory, UserString path, uint32_t want) { return access_at(task, directory, path, want, 0); }
Result<void> sys_faccessat2(Task& task, Fd directory, UserString path, uint32_t want, int flags) { return access_at(task, directory, path, want, flags); }

// readlink(2): the text is cut without a word when the buffer is too small.
Result<size_t> sys_readlinkat(Task& task, Fd directory, UserString path, uint64_t buffer, int64_t size) {
  if (size <= 0 || size > INT32_MAX) return error(EINVAL);
  PathArgument text;
  const std::string_view name = TRY(text.read(path));
  TargetArgument argument;
  // An empty path means the descriptor, opened with O_PATH | O_NOFOLLOW.
  const Target target = TRY(argument.resolve(task, directory, name, false, true));
  if (name.empty() && directory.number == kWorkingDirectory) return error(ENOENT);
  if (!target.inode.is_symlink()) return error(name.empty() ? ENOENT : EINVAL);
  const String link = TRY(target.inode.read_link());
  target.inode.touch_access_time();
  UserOutBuffer into(buffer, static_cast<size_t>(size));
  const std::string_view view = link.view();
  return into.put(std::as_bytes(std::span(view.data(), view.size())));
}
Result<size_t> sys_readlink(Task& task, UserString path, uint64_t buffer, int32_t size) { return sys_readlinkat(task, Fd{kWorkingDirectory}, path, buffer, size); }

Result<void> chmod_at(Task& task, Fd directory, UserString path, uint32_t mode, int flags) {
  if (flags & ~(at_flags::kSymlinkNoFollow | at_flags::kEmptyPath)) return error(EINVAL);
  PathArgument text;
  TargetArgument target;
  return vfs_of(task).change_mode(
      task.caller(), TRY(target.resolve(task, directory, TRY(text.read(path)), !(flags & at_flags::kSymlinkNoFollow), flags & at_flags::kEmptyPath)), mode);
}

Result<void> sys_chmod(Task& task, UserString path, uint32_t mode) { return chmod_at(task, Fd{kWorkingDirectory}, path, mode, 0); }
Result<void> sys_fchmodat(Task& task, Fd directory, UserString path, uint32_t mode) { return chmod_at(task, directory, path, mode, 0); }
Result<void> sys_fchmodat2(Task& task, Fd directory, UserString path, uint32_t mode, int flags) { return chmod_at(task, directory, path, mode, flags); }

Result<void> sys_fchmod(Task& task, Fd fd, uint32_t mode) {
  const RefPtr<vfs::OpenFile> file = TRY(task.fds().usable(fd));
  return vfs_of(task).change_mode(task.caller(), Target(*file), mode);
}

Result<void> sys_fchownat(Task& task, Fd directory, UserString path, uint32_t uid, uint32_t gid, int flags) {
  if (flags & ~(at_flags::kSymlinkNoFollow | at_flags::kEmptyPath)) return error(EINVAL);
  PathArgument text;
  TargetArgument target;
  return vfs_of(task).change_owner(
      task.caller(), TRY(target.resolve(task, directory, TRY(text.read(path)), !(flags & at_flags::kSymlinkNoFollow), flags & at_flags::kEmptyPath)), uid, gid);
}

Result<void> sys_chown(Task& task, UserString path, uint32_t uid, uint32_t gid) { return sys_fchownat(task, Fd{kWorkingDirectory}, path, uid, gid, 0); }
Result<void> sys_lchown(Task& task, UserString path, uint32_t uid, uint32_t gid) {
  return sys_fchownat(task, Fd{kWorkingDirectory}, path, uid, gid, at_flags::kSymlinkNoFollow);
}

Result<void> sys_fchown(Task& task, Fd fd, uint32_t uid, uint32_t gid) {
  const RefPtr<vfs::OpenFile> file = TRY(task.fds().usable(fd));
  return vfs_of(task).change_owner(task.caller(), Target(*file), uid, gid);
}

// --- times

struct TimePair {
  vfs::TimeChange access, modify;
};

constexpr TimePair kBothNow{{vfs::TimeChange::Kind::Now, {}}, {vfs::TimeChange::Kind::Now, {}}};

Result<vfs::TimeChange> time_change(const abi::TimeSpec& time) {
  constexpr int64_t kNow = 0x3fffffff, kOmit = 0x3ffffffe;  // UTIME_NOW, UTIME_OMIT
  using Kind = vfs::TimeChange::Kind;
  if (time.nanoseconds == kNow) return vfs::TimeChange{Kind::Now, {}};
  if (time.nanoseconds == kOmit) return vfs::TimeChange{Kind::Omit, {}};
  if (time.nanoseconds < 0 || time.nanoseconds >= 1'000'000'000) return error(EINVAL);
  return vfs::TimeChange{Kind::Set, {time.seconds, static_cast<uint32_t>(time.nanoseconds)}};
}

Result<TimePair> read_times(UserPtr<abi::TimeValue> pointer) {
  if (!pointer) return kBothNow;
  abi::TimeValue times[2];
  TRY(pointer.read_array(times));
  for (const abi::TimeValue& time : times)
    if (time.microseconds < 0 || time.microseconds >= 1'000'000) return error(EINVAL);
  const abi::TimeSpec first{times[0].seconds, times[0].microseconds * 1000}, second{times[1].seconds, times[1].microseconds * 1000};
  return TimePair{TRY(time_change(first)), TRY(time_change(second))};
}

Result<void> change_times_at(Task& task, Fd directory, UserString path, const TimePair& times, int flags) {
  PathArgument text;
  TargetArgument target;
  return vfs_of(task).change_times(
      task.caller(), TRY(target.resolve(task, directory, TRY(text.read(path)), !(flags & at_flags::kSymlinkNoFollow), flags & at_flags::kEmptyPath)), times.access,
      times.modify);
}

// utimensat(2): a null path means the descriptor.
Result<void> sys_utimensat(Task& task, Fd directory, UserString path, UserPtr<abi::TimeSpec> pointer, int flags) {
  TimePair times = kBothNow;
  if (pointer) {
    abi::TimeSpec given[2];
    TRY(pointer.read_array(given));
    times = TimePair{TRY(time_change(given[0])), TRY(time_change(given[1]))};
    // With both omitted not even the path is looked at.
    if (times.access.kind == vfs::TimeChange::Kind::Omit && times.modify.kind == vfs::TimeChange::Kind::Omit) return {};
  }
  if (flags & ~(at_flags::kSymlinkNoFollow | at_flags::kEmptyPath)) return error(EINVAL);
  if (!path && directory.number != kWorkingDirectory) {
    if (flags) return error(EINVAL);
    TargetArgument target;
    return vfs_of(task).change_times(task.caller(), TRY(target.resolve(task, directory)), times.access, times.modify);
  }
  return change_times_at(task, directory, path, times, flags);
}

Result<void> sys_utime(Task& task, UserString path, UserPtr<int64_t> pointer) {
  TimePair times = kBothNow;
  if (pointer) {
    int64_t seconds[2];
    TRY(pointer.read_array(seconds));
    times = TimePair{{vfs::TimeChange::Kind::Set, {seconds[0], 0}}, {vfs::TimeChange::Kind::Set, {seconds[1], 0}}};
  }
  return change_times_at(task, Fd{kWorkingDirectory}, path, times, 0);
}

Result<void> sys_utimes(Task& task, UserString path, UserPtr<abi::TimeValue> pointer) {
  return change_times_at(task, Fd{kWorkingDirectory}, path, TRY(read_times(pointer)), 0);
}

Result<void> sys_futimesat(Task& task, Fd directory, UserString path, UserPtr<abi::TimeValue> pointer) {
  const TimePair times = TRY(read_times(pointer));
  if (path) return change_times_at(task, directory, path, times, 0);
  TargetArgument target;
  return vfs_of(task).change_times(task.caller(), TRY(target.resolve(task, directory)), times.access, times.modify);
}

Result<uint32_t> sys_umask(Task& task, uint32_t mask) { return task.fs().exchange_umask(mask & 0777); }

}  // namespace

const SyscallRow kSysStatRows[] = {
    full<sys_stat>(4, "stat"),
    full<sys_fstat>(5, "fstat"),
    full<sys_lstat>(6, "lstat"),
    full<sys_access>(21, "access"),
    full<sys_readlink>(89, "readlink"),
    full<sys_chmod>(90, "chmod"),
    full<sys_fchmod>(91, "fchmod"),
    full<sys_chown>(92, "chown"),
    full<sys_fchown>(93, "fchown"),
    full<sys_lchown>(94, "lchown"),
    full<sys_umask>(95, "umask"),
    full<sys_utime>(132, "utime"),
    full<sys_statfs>(137, "statfs"),
    full<sys_fstatfs>(138, "fstatfs"),
    full<sys_utimes>(235, "utimes"),
    full<sys_fchownat>(260, "fchownat"),
    full<sys_futimesat>(261, "futimesat"),
    full<sys_newfstatat>(262, "newfstatat"),
    full<sys_readlinkat>(267, "readlinkat"),
    full<sys_fchmodat>(268, "fchmodat"),
    full<sys_faccessat>(269, "faccessat"),
    full<sys_utimensat>(280, "utimensat"),
    full<sys_statx>(332, "statx"),
    full<sys_faccessat2>(439, "faccessat2"),
    full<sys_fchmodat2>(452, "fchmodat2"),
};
const size_t kSysStatRowCount = std::size(kSysStatRows);

}  // namespace umk

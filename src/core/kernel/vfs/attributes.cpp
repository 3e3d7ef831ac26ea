// Attributes of files: chmod(2), chown(2), utimensat(2), truncate(2), access(2).
#include "core/kernel/vfs/notify.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::vfs {

namespace {

void notify_attributes(const Target& target) {
  if (target.dentry) notify_file(target.inode, *target.dentry, notify_bits::kAttributes);
}

}  // namespace

Result<void> Vfs::change_mode(const Caller& caller, const Target& target, uint32_t permissions) {
  TRY(check_writable(target.mount));
  if (target.inode.is_symlink()) return error(EOPNOTSUPP);
  if (!owns_or_may(caller, target.inode)) return error(EPERM);
  permissions &= kPermissionMask;
  // chmod(2): who is not in the file's group cannot make it set-group-id.
  if (!caller.credentials.in_group(target.inode.gid()) && !caller.credentials.has(Capability::Fsetid)) permissions &= ~mode::kSetGid;
  MetadataChange change;
  change.permissions = permissions;
  TRY(target.inode.change(change));
  notify_attributes(target);
  return {};
}

Result<void> Vfs::change_owner(const Caller& caller, const Target& target, UserId uid, GroupId gid) {
  TRY(check_writable(target.mount));
  Inode& inode = target.inode;
  const Credentials& who = caller.credentials;
  MetadataChange change;
  if (uid != UINT32_MAX) change.uid = uid;
  if (gid != UINT32_MAX) change.gid = gid;
  // chown(2): the owner may keep himself as owner, and give the file to a group he is in; all else needs CAP_CHOWN.
  const bool is_owner = who.fsuid == inode.uid();
  if (change.uid && !(is_owner && uid == inode.uid()) && !who.has(Capability::Chown)) return error(EPERM);
  if (change.gid && !(is_owner && (gid == inode.gid() || who.in_group(gid))) && !who.has(Capability::Chown)) return error(EPERM);
  // The privileges of the old owner do not pass to the new one, whoever changes it; a call that changes nothing clears them too.
  if (!inode.is_directory()) {
    const uint32_t bits = inode.mode();
    uint32_t cleared = bits & mode::kSetUid;
    // Without group execution the bit means mandatory locking, which a privileged caller leaves alone.
    if ((bits & mode::kSetGid) && ((bits & 010) || (!who.in_group(inode.gid()) && !who.has(Capability::Fsetid)))) cleared |= mode::kSetGid;
    if (cleared) change.permissions = bits & kPermissionMask & ~cleared;
  }
  TRY(inode.change(change));
  notify_attributes(target);
  return {};
}

Result<void> Vfs::change_times(const Caller& caller, const Target& target, const TimeChange& access, const TimeChange& modify) {
  using Kind = TimeChange::Kind;
  if (access.kind == Kind::Omit && modify.kind == Kind::Omit) return {};
  TRY(check_writable(target.mount));
  if (!owns_or_may(caller, target.inode)) {
    // utimensat(2): to set both to now, write permission is enough.
    if (access.kind != Kind::Now || modify.kind != Kind::Now) return error(EPERM);
    TRY(target.inode.check_access(caller.credentials, 2));
  }
  const Timestamp now = file_time_now();
  MetadataChange change;
  if (access.kind != Kind::Omit) change.access_time = access.kind == Kind::Now ? now : access.time;
  if (modify.kind != Kind::Omit) change.modify_time = modify.kind == Kind::Now ? now : modify.time;
  change.access_is_now = access.kind == Kind::Now;
  change.modify_is_now = modify.kind == Kind::Now;
  TRY(target.inode.change(change));
  notify_attributes(target);
  return {};
}

Result<void> Vfs::truncate(const Caller& caller, const Target& target, uint64_t size_bytes, bool check_permission) {
  Inode& inode = target.inode;
  if (size_bytes > INT64_MAX) return error(EINVAL);
  if (inode.is_directory()) return error(EISDIR);
  if (!inode.is_regular()) return error(EINVAL);
  TRY(check_writable(target.mount));
  if (check_permission) {
    TRY(inode.check_access(caller.credentials, 2));
    TRY(inode.add_writer());
  }
  Result<void> outcome = [&]() -> Result<void> {
    if (check_permission) TRY(break_leases(inode, true, true, leases));
    if (size_bytes > inode.size_bytes() && size_bytes > caller.file_size_limit) return error(EFBIG);
    MetadataChange change;
    change.size_bytes = size_bytes;
    return inode.change(change);
  }();
  if (check_permission) inode.drop_writer();
  TRY(std::move(outcome));
  clear_privileges(caller, target);
  if (target.dentry) notify_file(inode, *target.dentry, notify_bits::kModify);
  return {};
}

Result<void> Vfs::check_access(const Caller& caller, const Target& target, unsigned want) {
  Inode& inode = target.inode;
  if (want & 1 && inode.is_regular() && target.mount && (target.mount->flags() & mount_flags::kNoExec)) return error(EACCES);
  if (want != 0) TRY(inode.check_access(caller.credentials, want));
  // Writing to a device or a FIFO does not change the filesystem.
  const bool is_plain = inode.is_regular() || inode.is_directory() || inode.is_symlink();
  if ((want & 2) && is_plain) TRY(check_writable(target.mount));
  return {};
}

void Vfs::clear_privileges(const Caller& caller, const Target& target) {
  Inode& inode = target.inode;
  const uint32_t bits = inode.mode();
  if (!inode.is_regular() || !(bits & (mode::kSetUid | mode::kSetGid)) || caller.credentials.has(Capability::Fsetid)) return;
  uint32_t kept = bits & kPermissionMask & ~mode::kSetUid;
  if (bits & 010) kept &= ~mode::kSetGid;
  if (kept == (bits & kPermissionMask)) return;
  MetadataChange change;
  change.permissions = kept;
  // The data was written already: a filesystem that cannot store the bits has nothing to undo.
  (void)inode.change(change).ok();
}

}  // namespace umk::vfs

// Making and removing names: mkdir(2), mknod(2), symlink(2), link(2), unlink(2), rmdir(2).
#include "core/kernel/vfs/name_change.h"
#include "core/kernel/vfs/notify.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::vfs {

Result<void> check_writable(const Mount* mount) {
  if (mount && mount->is_read_only()) return error(EROFS);
  return {};
}

bool owns_or_may(const Caller& caller, const Inode& inode) {
  return caller.credentials.fsuid == inode.uid() || caller.credentials.has(Capability::Fowner);
}

Result<void> check_removable(const Caller& caller, Inode& directory, const Inode& victim) {
  TRY(directory.check_access(caller.credentials, 3));
  if (!(directory.mode() & mode::kSticky)) return {};
  const UserId who = caller.credentials.fsuid;
  if (victim.uid() == who || directory.uid() == who || caller.credentials.has(Capability::Fowner)) return {};
  return error(EPERM);
}

namespace {

enum class Kind { Directory, Other };

/// Makes the last component of `at` with `make(directory inode, name)`, which returns the new inode. The place is left in `made` when it is not null.
template <typename Make>
Result<void> make_name(Vfs& vfs, const Caller& caller, At at, Kind kind, Path* made, Make&& make) {
  PathWalk walk(vfs, caller, at.base, at.path, 0);
  TRY(walk.to_parent());
  if (walk.last_kind() != PathWalk::Last::Name) return error(EEXIST);
  Dentry& parent = walk.dentry();
  Inode& directory = *parent.inode();
  if (!directory.is_directory()) return error(ENOTDIR);
  TRY(directory.check_access(caller.credentials, 1));
  const std::string_view name = walk.last();
  RefPtr<Dentry> child = TRY(vfs.child_of(parent, name));
  {
    MutexLock lock(directory.mutex());
    child = TRY(NameChange::child_of_locked(vfs, parent, name));
    if (!child->is_negative()) return error(EEXIST);
    // Only a directory may be named with a slash after it before it exists.
    if (walk.has_trailing_slash() && kind != Kind::Directory) return error(ENOENT);
    TRY(check_writable(&walk.mount()));
    TRY(directory.check_access(caller.credentials, 3));
    RefPtr<Inode> inode = TRY(make(directory, name));
    vfs.dentries().instantiate(*child, std::move(inode));
  }
  notify_entry(directory, notify_bits::kCreate | (kind == Kind::Directory ? notify_bits::kIsDirectory : 0), name);
  if (made) *made = Path(RefPtr<Mount>(walk.mount()), std::move(child));
  return {};
}

}  // namespace

Result<RefPtr<Dentry>> NameChange::child_of_locked(Vfs& vfs, Dentry& parent, std::string_view name) {
  return vfs.child_of_locked(parent, name, hash_name(name));
}

Result<void> Vfs::make_directory(const Caller& caller, At at, uint32_t permissions) {
  return make_name(*this, caller, at, Kind::Directory, nullptr, [&](Inode& directory, std::string_view name) {
    const uint32_t mode = (permissions & (01777)) & ~caller.fs.umask();
    return directory.make_directory(caller, name, mode | static_cast<uint32_t>(FileType::Directory));
  });
}

Result<void> Vfs::make_node(const Caller& caller, At at, uint32_t mode, DeviceNumber device, Path* made) {
  const uint32_t type = mode & kFileTypeMask ? mode & kFileTypeMask : static_cast<uint32_t>(FileType::Regular);
  const bool is_device = type == static_cast<uint32_t>(FileType::CharacterDevice) || type == static_cast<uint32_t>(FileType::BlockDevice);
  switch (static_cast<FileType>(type)) {
    case FileType::Regular:
    case FileType::Fifo:
    case FileType::Socket:
    case FileType::CharacterDevice:
    case FileType::BlockDevice: break;
    case FileType::Directory: return error(EPERM);
    default: return error(EINVAL);
  }
  return make_name(*this, caller, at, Kind::Other, made, [&](Inode& directory, std::string_view name) -> Result<RefPtr<Inode>> {
    const uint32_t permissions = mode & kPermissionMask & ~caller.fs.umask();
    if (type == static_cast<uint32_t>(FileType::Regular)) return directory.create(caller, name, permissions | type);
    // Number 0:0 as a character device is a whiteout of union mounts, which needs no privilege.
    if (is_device && !caller.credentials.has(Capability::Mknod) &&
        !(type == static_cast<uint32_t>(FileType::CharacterDevice) && device == DeviceNumber{}))
      return error(EPERM);
    return directory.make_node(caller, name, permissions | type, is_device ? device : DeviceNumber{});
  });
}

Result<void> Vfs::make_symlink(const Caller& caller, std::string_view target, At at) {
  if (target.empty()) return error(ENOENT);
  return make_name(*this, caller, at, Kind::Other, nullptr,
                   [&](Inode& directory, std::string_view name) { return directory.make_symlink(caller, name, target); });
}

Result<void> Vfs::link(const Caller& caller, At existing, unsigned flags, At at) {
  const Path source = TRY(lookup(caller, existing, flags));
  return link_file(caller, source, at);
}

Result<void> Vfs::link_file(const Caller& caller, const Path& existing, At at) {
  Inode& inode = *existing.dentry->inode();
  PathWalk walk(*this, caller, at.base, at.path, 0);
  TRY(walk.to_parent());
  if (walk.last_kind() != PathWalk::Last::Name) return error(EEXIST);
  Dentry& parent = walk.dentry();
  Inode& directory = *parent.inode();
  if (!directory.is_directory()) return error(ENOTDIR);
  TRY(directory.check_access(caller.credentials, 1));
  {
    MutexLock lock(directory.mutex());
    RefPtr<Dentry> child = TRY(child_of_locked(parent, walk.last(), hash_name(walk.last())));
    if (!child->is_negative()) return error(EEXIST);
    if (walk.has_trailing_slash()) return error(ENOENT);
    if (existing.mount.get() != &walk.mount()) return error(EXDEV);
    TRY(check_writable(&walk.mount()));
    // proc(5), protected_hardlinks: a link to what one could not use is a way to keep or to trick others with it.
    if (protections.hardlinks.load(std::memory_order_relaxed) && !owns_or_may(caller, inode)) {
      const uint32_t bits = inode.mode();
      const bool is_special = !inode.is_regular() || (bits & mode::kSetUid) || (bits & (mode::kSetGid | 010)) == (mode::kSetGid | 010);
      if (is_special || !inode.check_access(caller.credentials, 6).ok()) return error(EPERM);
    }
    TRY(directory.check_access(caller.credentials, 3));
    if (inode.is_directory()) return error(EPERM);
    // A file whose last name was removed cannot get a new one, but one that never had a name can.
    if (inode.links() == 0 && !inode.may_be_linked()) return error(ENOENT);
    TRY(directory.link(walk.last(), inode));
    dentries_->instantiate(*child, RefPtr<Inode>(inode));
  }
  notify_inode(inode, notify_bits::kAttributes);
  notify_entry(directory, notify_bits::kCreate, walk.last());
  return {};
}

Result<void> Vfs::unlink(const Caller& caller, At at) {
  PathWalk walk(*this, caller, at.base, at.path, 0);
  TRY(walk.to_parent());
  if (walk.last_kind() != PathWalk::Last::Name) return error(EISDIR);
  Dentry& parent = walk.dentry();
  Inode& directory = *parent.inode();
  if (!directory.is_directory()) return error(ENOTDIR);
  TRY(directory.check_access(caller.credentials, 1));
  RefPtr<Dentry> child;
  {
    MutexLock lock(directory.mutex());
    child = TRY(child_of_locked(parent, walk.last(), hash_name(walk.last())));
    if (child->is_negative()) return error(ENOENT);
    Inode& victim = *child->inode();
    if (walk.has_trailing_slash()) return error(victim.is_directory() ? EISDIR : ENOTDIR);
    TRY(check_writable(&walk.mount()));
    TRY(check_removable(caller, directory, victim));
    if (victim.is_directory()) return error(EISDIR);
    if (child->mounted_here.load() != 0) return error(EBUSY);
    TRY(directory.unlink(walk.last(), victim));
    dentries_->remove(*child);
  }
  notify_inode(*child->inode(), notify_bits::kAttributes);
  notify_entry(directory, notify_bits::kDelete, walk.last());
  return {};
}

Result<void> Vfs::remove_directory(const Caller& caller, At at) {
  PathWalk walk(*this, caller, at.base, at.path, 0);
  TRY(walk.to_parent());
  switch (walk.last_kind()) {
    case PathWalk::Last::Dot: return error(EINVAL);
    case PathWalk::Last::DotDot: return error(ENOTEMPTY);
    case PathWalk::Last::Root: return error(EBUSY);
    case PathWalk::Last::Name: break;
  }
  Dentry& parent = walk.dentry();
  Inode& directory = *parent.inode();
  if (!directory.is_directory()) return error(ENOTDIR);
  TRY(directory.check_access(caller.credentials, 1));
  RefPtr<Dentry> child;
  {
    MutexLock lock(directory.mutex());
    child = TRY(child_of_locked(parent, walk.last(), hash_name(walk.last())));
    if (child->is_negative()) return error(ENOENT);
    Inode& victim = *child->inode();
    TRY(check_writable(&walk.mount()));
    TRY(check_removable(caller, directory, victim));
    if (!victim.is_directory()) return error(ENOTDIR);
    if (child->mounted_here.load() != 0) return error(EBUSY);
    MutexLock victim_lock(victim.mutex());
    TRY(directory.remove_directory(walk.last(), victim));
    victim.mark_removed();
    dentries_->remove(*child);
    dentries_->remove_children(*child);
  }
  notify_entry(directory, notify_bits::kDelete | notify_bits::kIsDirectory, walk.last());
  return {};
}

}  // namespace umk::vfs

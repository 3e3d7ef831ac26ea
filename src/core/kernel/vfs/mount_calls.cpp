// mount(2), umount2(2), pivot_root(2).
#include "core/kernel/block/block_devices.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::vfs {

namespace {

Result<void> check_privilege(const Caller& caller) {
  if (!caller.credentials.has(Capability::SysAdmin)) return error(EPERM);
  return {};
}

/// The flags that a mount keeps. As Linux, relatime is what one gets who asks for nothing else.
uint64_t kept_flags(uint64_t flags) {
  using namespace mount_flags;
  uint64_t kept = flags & kPerMount;
  if (!(flags & (kNoAccessTime | kStrictAccessTime))) kept |= kRelativeTime;
  if (flags & kStrictAccessTime) kept &= ~(kRelativeTime | kNoAccessTime);
  return kept;
}

}  // namespace

Result<RefPtr<Superblock>> Vfs::make_superblock_on_device(const Caller& caller, FilesystemType& type, std::string_view source, bool read_only,
                                                          std::string_view options) {
  const Path place = TRY(lookup(caller, {nullptr, source}));
  const Inode& node = *place.dentry->inode();
  if (node.type() != FileType::BlockDevice) return error(ENOTBLK);
  if (place.mount->flags() & mount_flags::kNoDevices) return error(EACCES);
  const RefPtr<block::BlockDevice> device = block_devices_ ? block_devices_->find(node.device()) : nullptr;
  if (!device) return error(ENXIO);
  // mount(8) tries again read-only upon this.
  if (device->is_read_only() && !read_only) return error(EACCES);

  // One device has one superblock, however often it is mounted.
  Vector<RefPtr<Superblock>> mounted;
  TRY(mounts_->superblocks(mounted));
  for (RefPtr<Superblock>& superblock : mounted) {
    if (superblock->device() != device->number()) continue;
    if (superblock->type_name() != type.name() || superblock->is_read_only() != read_only) return error(EBUSY);
    return std::move(superblock);
  }
  return type.mount({source, options, read_only, caller, {}, device.get()});
}

Result<RefPtr<Superblock>> Vfs::make_superblock(const Caller& caller, FilesystemType& type, std::string_view source, bool read_only, std::string_view options) {
  if (type.needs_device()) return make_superblock_on_device(caller, type, source, read_only, options);
  return type.mount({source, options, read_only, caller, next_anonymous_device()});
}

Result<void> Vfs::mount(const Caller& caller, std::string_view source, At target, std::string_view type_name, uint64_t flags, std::string_view options) {
  using namespace mount_flags;
  if ((flags & kMagicMask) == kMagic) flags &= ~kMagicMask;
  const Path place = TRY(lookup(caller, target));
  TRY(check_privilege(caller));

  // One call does one of these, looked for in this order: mount(2).
  if ((flags & (kRemount | kBind)) == (kRemount | kBind)) return mounts_->change_flags(place, kept_flags(flags));
  if (flags & kRemount) {
    if (place.dentry.get() != &place.mount->root()) return error(EINVAL);
    Superblock& superblock = place.mount->superblock();
    const bool read_only = flags & kReadOnly;
    if (read_only && !superblock.is_read_only() && mounts_->has_writers(superblock)) return error(EBUSY);
    TRY(superblock.remount(options, read_only));
    superblock.set_read_only(read_only);
    // The flags of this mount change along with the filesystem; read-only is the filesystem's now.
    return mounts_->change_flags(place, kept_flags(flags));
  }
  if (flags & kBind) {
    const Path from = TRY(lookup(caller, {nullptr, source}));
    return mounts_->bind(from, place, flags & kRecursive);
  }
  if (flags & (kShared | kPrivate | kSlave | kUnbindable)) return mounts_->change_propagation(place, flags);
  if (flags & kMove) {
    const Path from = TRY(lookup(caller, {nullptr, source}));
    return mounts_->move(from, place);
  }

  if (type_name.empty()) return error(EINVAL);
  FilesystemType* type = find_type(type_name);
  if (!type) return error(ENODEV);
  const bool read_only = flags & kReadOnly;
  RefPtr<Superblock> superblock = TRY(make_superblock(caller, *type, source, read_only, options));
  // A filesystem of which there is one instance may be shown read-only at one place; one that is ours alone is so as a whole.
  if (superblock->active_mounts.load() == 0) superblock->set_read_only(read_only);
  superblock->count_in(object_counts_);
  RefPtr<Mount> fresh = TRY(mounts_->make(std::move(superblock), source, kept_flags(flags)));
  return mounts_->attach(std::move(fresh), place);
}

Result<void> Vfs::unmount(const Caller& caller, At target, int flags) {
  using namespace umount_flags;
  if (flags & ~(kForce | kDetach | kExpire | kNoFollow)) return error(EINVAL);
  if ((flags & kExpire) && (flags & (kForce | kDetach))) return error(EINVAL);
  TRY(check_privilege(caller));
  Path place = TRY(lookup(caller, target, walk::kUnmount | (flags & kNoFollow ? 0 : walk::kFollow)));
  if (place.dentry.get() != &place.mount->root()) return error(EINVAL);
  const bool is_callers_root = place.mount == caller.fs.root().mount;
  if (is_callers_root && (flags & kExpire)) return error(EINVAL);
  if (is_callers_root && !(flags & kDetach)) {
    // One's own root is not taken away: it becomes read-only, as umount(8) of "/" at shutdown expects.
    Superblock& superblock = place.mount->superblock();
    if (superblock.is_read_only()) return {};
    if (mounts_->has_writers(superblock)) return error(EBUSY);
    TRY(superblock.remount({}, true));
    superblock.set_read_only(true);
    return {};
  }
  TRY(place.mount->superblock().sync());
  return mounts_->unmount(std::move(place), flags);
}

Result<Vfs::Pivot> Vfs::pivot_root(const Caller& caller, At new_root, At put_old) {
  TRY(check_privilege(caller));
  Pivot pivot;
  pivot.new_root = TRY(lookup(caller, new_root, walk::kFollow | walk::kDirectory));
  const Path old_place = TRY(lookup(caller, put_old, walk::kFollow | walk::kDirectory));
  pivot.old_root = caller.fs.root();
  TRY(mounts_->pivot_root(pivot.new_root, old_place, pivot.old_root));
  return pivot;
}

}  // namespace umk::vfs

// open(2), openat2(2).
#include "core/kernel/vfs/notify.h"
#include "core/kernel/vfs/pipe.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::vfs {

namespace {

unsigned wanted_access(uint32_t flags) {
  switch (flags & open_flags::kAccessMask) {
    case open_flags::kReadOnly: return flags & open_flags::kTruncate ? 6 : 4;
    case open_flags::kWriteOnly: return 2;
    default: return 6;  // read and write; also 3, which needs both and can then do neither
  }
}

// proc(5), protected_regular and protected_fifos: O_CREAT does not open what others planted in a shared sticky directory.
Result<void> check_planted(const Caller& caller, const Protections& protections, const Inode& directory, const Inode& inode) {
  if (!(directory.mode() & mode::kSticky)) return {};
  const int level = inode.is_regular() ? protections.regular.load() : inode.type() == FileType::Fifo ? protections.fifos.load() : 0;
  if (level == 0 || inode.uid() == directory.uid() || inode.uid() == caller.credentials.fsuid) return {};
  if ((directory.mode() & 02) || (level >= 2 && (directory.mode() & 020))) return error(EACCES);
  return {};
}

}  // namespace

Result<RefPtr<OpenFile>> Vfs::open(const Caller& caller, At at, const OpenRequest& request) {
  using namespace open_flags;
  const uint32_t flags = request.flags;
  unsigned walk_flags = request.resolve;
  if (!(flags & kNoFollow)) walk_flags |= walk::kFollow;
  if (flags & kDirectory) walk_flags |= walk::kDirectory;

  if ((flags & kTemporary) == kTemporary) {
    if (!(flags & (kWriteOnly | kReadWrite))) return error(EINVAL);
    PathWalk walk(*this, caller, at.base, at.path, walk_flags);
    TRY(walk.to_end());
    return open_temporary(caller, walk.take(), request);
  }
  PathWalk walk(*this, caller, at.base, at.path, walk_flags);
  if (!(flags & kCreate) || (flags & kPath)) {
    TRY(walk.to_end());
    return open_place(caller, walk.take(), flags);
  }

  if ((flags & (kCreate | kDirectory)) == (kCreate | kDirectory)) return error(EINVAL);
  TRY(walk.to_parent());
  for (;;) {
    if (walk.last_kind() != PathWalk::Last::Name) {
      if (flags & kExclusive) return error(EEXIST);
      return error(EISDIR);
    }
    if (walk.has_trailing_slash()) return error(EISDIR);
    Inode& directory = *walk.dentry().inode();
    if (!directory.is_directory()) return error(ENOTDIR);
    TRY(directory.check_access(caller.credentials, 1));
    RefPtr<Dentry> child = TRY(child_of(walk.dentry(), walk.last(), request.resolve & walk::kCachedOnly));
    bool created = false;
    if (child->is_negative()) child = TRY(create_file(caller, walk, request.mode, &created));
    if (created) {
      Path place(RefPtr<Mount>(walk.mount()), child);
      // A new file may be opened as asked, whatever its permissions say.
      RefPtr<OpenFile> file = TRY(make_open_file(caller, std::move(place), flags & ~(kCreate | kExclusive | kTruncate)));
      return file;
    }
    if (flags & kExclusive) return error(EEXIST);
    Inode& inode = *child->inode();
    if (inode.is_symlink()) {
      if (flags & kNoFollow) return error(ELOOP);
      if (TRY(walk.follow_last(std::move(child)))) return open_place(caller, walk.take(), flags);
      continue;
    }
    TRY(check_planted(caller, protections, directory, inode));
    TRY(walk.enter(std::move(child)));
    if (walk.dentry().inode()->is_directory()) return error(EISDIR);
    return open_place(caller, walk.take(), flags);
  }
}

/// Makes the file that the walk's last component names, unless somebody else just did.
Result<RefPtr<Dentry>> Vfs::create_file(const Caller& caller, PathWalk& walk, uint32_t mode, bool* created) {
  Dentry& parent = walk.dentry();
  Inode& directory = *parent.inode();
  RefPtr<Dentry> child;
  {
    MutexLock lock(directory.mutex());
    child = TRY(child_of_locked(parent, walk.last(), hash_name(walk.last())));
    if (!child->is_negative()) return child;
    TRY(check_writable(&walk.mount()));
    TRY(directory.check_access(caller.credentials, 3));
    const uint32_t permissions = mode & kPermissionMask & ~caller.fs.umask();
    RefPtr<Inode> inode = TRY(directory.create(caller, walk.last(), permissions | static_cast<uint32_t>(FileType::Regular)));
    dentries_->instantiate(*child, std::move(inode));
  }
  *created = true;
  notify_entry(directory, notify_bits::kCreate, walk.last());
  return child;
}

Result<RefPtr<OpenFile>> Vfs::open_place(const Caller& caller, Path place, uint32_t flags) {
  using namespace open_flags;
  Inode& inode = *place.dentry->inode();
  if ((flags & kDirectory) && !inode.is_directory()) return error(ENOTDIR);
  if (flags & kPath) return make_open_file(caller, std::move(place), flags & (kPath | kDirectory | kNoFollow | kCloseOnExec));

  const unsigned want = wanted_access(flags);
  switch (inode.type()) {
    case FileType::Symlink: return error(ELOOP);
    case FileType::Socket: return error(ENXIO);
    case FileType::Directory:
      if ((want & 2) || (flags & kCreate)) return error(EISDIR);
      break;
    case FileType::CharacterDevice:
    case FileType::BlockDevice:
      if (place.mount->flags() & mount_flags::kNoDevices) return error(EACCES);
      break;
    default: break;
  }
  // Writing to a device, a FIFO or a socket does not change the filesystem.
  if ((want & 2) && (inode.is_regular() || inode.is_directory())) TRY(check_writable(place.mount.get()));
  TRY(inode.check_access(caller.credentials, want));
  if ((flags & kNoAccessTime) && !owns_or_may(caller, inode)) return error(EPERM);

  const bool truncates = (flags & kTruncate) && inode.is_regular();
  const Path place_kept = truncates ? place : Path();
  // O_EXCL by itself means something for block devices alone: open(2).
  const uint32_t exclusive = inode.type() == FileType::BlockDevice && !(flags & kCreate) ? 0 : kExclusive;
  RefPtr<OpenFile> file = TRY(make_open_file(caller, std::move(place), flags & ~(kCreate | exclusive | kTruncate)));
  if (truncates) {
    // With O_RDONLY the effect of O_TRUNC is unspecified; Linux truncates, and needs no other program to run the file.
    TRY(truncate(caller, Target(place_kept), 0, false));
  }
  return file;
}

Result<RefPtr<OpenFile>> Vfs::make_open_file(const Caller& caller, Path place, uint32_t flags) {
  using namespace open_flags;
  Inode& inode = *place.dentry->inode();
  const uint32_t access = flags & kAccessMask;
  const bool counts = inode.is_regular() && !(flags & kPath);
  const bool writes = counts && (access == kWriteOnly || access == kReadWrite);
  const bool reads = counts && access == kReadOnly;
  if (writes) TRY(inode.add_writer());
  if (reads) inode.add_reader();
  Result<RefPtr<OpenFile>> opened = [&]() -> Result<RefPtr<OpenFile>> {
    const uint32_t kept = flags & ~kCloseOnExec;
    if (counts) TRY(break_leases(inode, access != kReadOnly, !(flags & kNonBlock), leases));
    if (flags & kPath) {
      RefPtr<InodeFile> file = TRY(make_ref<InodeFile>(RefPtr<Inode>(inode), kept));
      return RefPtr<OpenFile>(std::move(file));
    }
    switch (inode.type()) {
      case FileType::Fifo: return inode.has_own_pipe() ? inode.open(caller, kept) : open_fifo(inode, kept);
      case FileType::CharacterDevice:
      case FileType::BlockDevice:
        if (!device_opener_) return error(ENXIO);
        return device_opener_->open_device(caller, RefPtr<Inode>(inode), inode.type(), inode.device(), place, kept);
      default: return inode.open(caller, kept);
    }
  }();
  if (!opened.ok()) {
    if (writes) inode.drop_writer();
    if (reads) inode.drop_reader();
    return opened;
  }
  RefPtr<OpenFile> file = opened.take();
  // A driver may have handed out an open file that exists, or set a path of its own.
  if (!file->path()) file->set_path(std::move(place));
  if (writes) file->set_counted_as_writer();
  if (reads) file->set_counted_as_reader();
  if (!(flags & kPath) && file->path().dentry) notify_file(file->inode(), *file->path().dentry, notify_bits::kOpen);
  return file;
}

Result<RefPtr<OpenFile>> Vfs::open_temporary(const Caller& caller, Path directory_place, const OpenRequest& request) {
  Inode& directory = *directory_place.dentry->inode();
  TRY(check_writable(directory_place.mount.get()));
  TRY(directory.check_access(caller.credentials, 3));
  const uint32_t permissions = request.mode & kPermissionMask & ~caller.fs.umask();
  RefPtr<Inode> inode;
  {
    MutexLock lock(directory.mutex());
    if (directory.is_removed()) return error(ENOENT);
    inode = TRY(directory.create_temporary(caller, permissions | static_cast<uint32_t>(FileType::Regular), !(request.flags & open_flags::kExclusive)));
  }
  Path place(directory_place.mount, TRY(dentries_->make_nameless(*directory_place.dentry, std::move(inode))));
  return make_open_file(caller, std::move(place), request.flags & ~(open_flags::kTemporary | open_flags::kCreate | open_flags::kExclusive));
}

}  // namespace umk::vfs

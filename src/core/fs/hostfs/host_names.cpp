// Directories: making, moving and removing names.
#include "core/fs/hostfs/host_superblock.h"
#include "core/host/calls.h"
#include "core/kernel/vfs/caller.h"

namespace umk::hostfs {

namespace {

using vfs::FileType;

constexpr int kOpenName = host::file_flags::kPath | host::file_flags::kNoFollow | host::file_flags::kCloseOnExec;
constexpr int kOpenNew = host::file_flags::kReadWrite | host::file_flags::kNoFollow | host::file_flags::kCloseOnExec;
constexpr unsigned kExchange = 2;

/// Mode bits for the host: never those that give a user of the host more rights, and always those that let umk do what its guest may.
uint32_t mode_on_host(FileType type, uint32_t permissions) { return (permissions & 0777) | (type == FileType::Directory ? 0700u : 0600u); }

Result<String> join(const String& directory, std::string_view name) {
  if (directory.empty()) return String::from(name);
  return format_string("{}/{}", directory, name);
}

}  // namespace

Result<OwnerRecord> HostInode::show_as(const HostDescriptor& file, const host::FileStatus& status, const OwnerRecord& old, UserId uid, GroupId gid,
                                       uint32_t permissions, std::string_view path) {
  OwnerRecord record;
  record.type = old.type;
  record.device = old.device;
  record.has_nodes = old.has_nodes;
  if (host().shown_user(status.uid) != uid || host().shown_group(status.gid) != gid) {
    record.uid = uid;
    record.gid = gid;
  }
  const auto type = static_cast<FileType>(status.mode & vfs::kFileTypeMask);
  if (type != FileType::Symlink) {
    uint32_t on_host = status.mode & vfs::kPermissionMask;
    const uint32_t wanted = mode_on_host(type, permissions);
    if (on_host != wanted && host().is_host_owner(status.uid)) {
      TRY(host::change_mode(DescriptorPath(file).c_str(), wanted));
      on_host = wanted;
    }
    if (on_host != permissions) record.permissions = permissions;
  }

  if (type == FileType::Regular || type == FileType::Directory) {
    Result<void> written = write_record(file, old, record);
    if (written.code() != EOPNOTSUPP) {
      TRY(std::move(written));
      return record;
    }
  }
  if (path.empty()) {
    if (!record.is_empty()) return error(EOPNOTSUPP);
    return record;
  }
  if (record.is_empty()) {
    TRY(host().owner_file().forget(path));
    return record;
  }
  OwnerRecord line = record;
  if (!line.uid) {
    line.uid = uid;
    line.gid = gid;
  }
  if (!line.permissions && type != FileType::Symlink) line.permissions = permissions;
  TRY(host().owner_file().set(path, line));
  return line;
}

/// Gives a new host file the owner and mode that its maker asked for.
Result<host::FileStatus> HostInode::record_new(HostDescriptor& file, std::string_view name, const NewFile& wanted) {
  const host::FileStatus status = TRY(host::status_of(file.fd()));
  if (!host().maps_owners()) return status;
  const bool is_node = wanted.type != FileType::Regular && wanted.type != FileType::Directory && wanted.type != FileType::Symlink;
  const bool as_is = !is_node && host().shown_user(status.uid) == wanted.uid && host().shown_group(status.gid) == wanted.gid &&
                     (wanted.type == FileType::Symlink || (status.mode & vfs::kPermissionMask) == wanted.permissions);
  if (as_is) return status;

  const String path = name.empty() ? String() : TRY(join(TRY(path_from_top()), name));
  OwnerRecord old;
  if (is_node) {
    // The type is written first: until the rest is there the file is nobody's but the superuser's.
    OwnerRecord node;
    node.type = wanted.type;
    node.device = wanted.device;
    Result<void> written = write_record(file, old, node);
    if (written.code() != EOPNOTSUPP) TRY(std::move(written));
    old = node;
    if (written.ok()) {
      bool is_marked;
      {
        MutexLock lock(file_mutex_);
        is_marked = record_.has_nodes;
        record_.has_nodes = true;
      }
      if (!is_marked) (void)mark_nodes(*TRY(descriptor())).ok();
    }
  }
  TRY(show_as(file, status, old, wanted.uid, wanted.gid, wanted.permissions, path.view()));
  return host::status_of(file.fd());
}

/// `file` was just made as `name` (empty: without a name). Removes it again when it cannot be shown as wanted.
Result<RefPtr<vfs::Inode>> HostInode::adopt_new(RefPtr<HostDescriptor> file, std::string_view name, const NewFile& wanted) {
  Result<host::FileStatus> status = record_new(*file, name, wanted);
  if (!status.ok()) {
    if (!name.empty()) {
      RefPtr<HostDescriptor> directory = TRY(descriptor());
      (void)host::unlink(directory->fd(), HostName(name).c_str(), wanted.type == FileType::Directory ? host::at_flags::kRemoveDirectory : 0).ok();
    }
    return status.failure();
  }
  RefPtr<HostInode> inode = TRY(host().inode_of(std::move(file), status.value(), name.empty() ? nullptr : this, name));
  inode->name_checked_ns_.store(host::now_ns(host::Clock::MonotonicCoarse), std::memory_order_relaxed);
  inode->mark_fresh();
  return RefPtr<vfs::Inode>(std::move(inode));
}

Result<RefPtr<vfs::Inode>> HostInode::create(const vfs::Caller& caller, std::string_view name, uint32_t mode) {
  TRY(check_changeable());
  if (is_hidden(name)) return error(EACCES);
  const vfs::NewOwner owner = vfs::owner_of_new(*this, caller, mode);
  const uint32_t permissions = owner.mode & vfs::kPermissionMask;
  RefPtr<HostDescriptor> directory = TRY(descriptor());
  const int fd = TRY(host::openat(directory->fd(), HostName(name).c_str(), kOpenNew | host::file_flags::kCreate | host::file_flags::kExclusive,
                                  host().maps_owners() ? mode_on_host(FileType::Regular, permissions) : permissions));
  RefPtr<HostDescriptor> file = TRY(HostDescriptor::adopt(host().descriptors(), fd, HostDescriptor::kRead | HostDescriptor::kWrite));
  return adopt_new(std::move(file), name, {FileType::Regular, owner.uid, owner.gid, permissions, {}});
}

Result<RefPtr<vfs::Inode>> HostInode::make_directory(const vfs::Caller& caller, std::string_view name, uint32_t mode) {
  TRY(check_changeable());
  if (is_hidden(name)) return error(EACCES);
  const vfs::NewOwner owner = vfs::owner_of_new(*this, caller, (mode & ~vfs::kFileTypeMask) | static_cast<uint32_t>(FileType::Directory));
  const uint32_t permissions = owner.mode & vfs::kPermissionMask;
  RefPtr<HostDescriptor> directory = TRY(descriptor());
  const HostName host_name(name);
  TRY(host::make_directory(directory->fd(), host_name.c_str(), host().maps_owners() ? mode_on_host(FileType::Directory, permissions) : permissions));
  RefPtr<HostDescriptor> file = TRY(
      HostDescriptor::adopt(host().descriptors(), TRY(host::openat(directory->fd(), host_name.c_str(), kOpenName | host::file_flags::kDirectory, 0)), 0));
  return adopt_new(std::move(file), name, {FileType::Directory, owner.uid, owner.gid, permissions, {}});
}

Result<RefPtr<vfs::Inode>> HostInode::make_node(const vfs::Caller& caller, std::string_view name, uint32_t mode, vfs::DeviceNumber device) {
  TRY(check_changeable());
  if (is_hidden(name)) return error(EACCES);
  const vfs::NewOwner owner = vfs::owner_of_new(*this, caller, mode);
  const uint32_t permissions = owner.mode & vfs::kPermissionMask;
  const auto type = static_cast<FileType>(mode & vfs::kFileTypeMask);
  RefPtr<HostDescriptor> directory = TRY(descriptor());
  const HostName host_name(name);
  if (!host().maps_owners()) {
    // A node of the host's own devices is nothing for a guest to make, whoever runs umk.
    if (type == FileType::CharacterDevice || type == FileType::BlockDevice) return error(EPERM);
    TRY(host::make_node(directory->fd(), host_name.c_str(), (mode & vfs::kFileTypeMask) | permissions, device.encoded()));
    RefPtr<HostDescriptor> file =
        TRY(HostDescriptor::adopt(host().descriptors(), TRY(host::openat(directory->fd(), host_name.c_str(), kOpenName, 0)), 0));
    return adopt_new(std::move(file), name, {type, owner.uid, owner.gid, permissions, device});
  }
  // An empty file stands for the node: the host has nothing there that somebody could open by mistake.
  const int fd = TRY(host::openat(directory->fd(), host_name.c_str(), kOpenNew | host::file_flags::kCreate | host::file_flags::kExclusive, 0600));
  RefPtr<HostDescriptor> made = TRY(HostDescriptor::adopt(host().descriptors(), fd, HostDescriptor::kRead | HostDescriptor::kWrite));
  RefPtr<vfs::Inode> inode = TRY(adopt_new(std::move(made), name, {type, owner.uid, owner.gid, permissions, device}));
  static_cast<HostInode&>(*inode).drop_write_access_if_unused();
  return inode;
}

Result<RefPtr<vfs::Inode>> HostInode::make_symlink(const vfs::Caller& caller, std::string_view name, std::string_view target) {
  TRY(check_changeable());
  if (is_hidden(name)) return error(EACCES);
  const vfs::NewOwner owner = vfs::owner_of_new(*this, caller, static_cast<uint32_t>(FileType::Symlink) | 0777);
  RefPtr<HostDescriptor> directory = TRY(descriptor());
  const HostName host_name(name);
  const String text = TRY(String::from(target));
  TRY(host::make_symlink(text.c_str(), directory->fd(), host_name.c_str()));
  RefPtr<HostDescriptor> file = TRY(HostDescriptor::adopt(host().descriptors(), TRY(host::openat(directory->fd(), host_name.c_str(), kOpenName, 0)), 0));
  return adopt_new(std::move(file), name, {FileType::Symlink, owner.uid, owner.gid, 0777, {}});
}

Result<RefPtr<vfs::Inode>> HostInode::create_temporary(const vfs::Caller& caller, uint32_t mode, bool linkable) {
  TRY(check_changeable());
  const vfs::NewOwner owner = vfs::owner_of_new(*this, caller, mode);
  const uint32_t permissions = owner.mode & vfs::kPermissionMask;
  RefPtr<HostDescriptor> directory = TRY(descriptor());
  const int flags = host::file_flags::kTemporary | host::file_flags::kReadWrite | host::file_flags::kCloseOnExec | (linkable ? 0 : host::file_flags::kExclusive);
  const int fd = TRY(host::openat(directory->fd(), ".", flags, host().maps_owners() ? mode_on_host(FileType::Regular, permissions) : permissions));
  RefPtr<HostDescriptor> file = TRY(HostDescriptor::adopt(host().descriptors(), fd, HostDescriptor::kRead | HostDescriptor::kWrite));
  RefPtr<vfs::Inode> inode = TRY(adopt_new(std::move(file), {}, {FileType::Regular, owner.uid, owner.gid, permissions, {}}));
  auto& fresh = static_cast<HostInode&>(*inode);
  fresh.is_nameless_.store(linkable, std::memory_order_relaxed);
  fresh.keep_descriptor();
  return inode;
}

Result<void> HostInode::link(std::string_view name, vfs::Inode& target) {
  TRY(check_changeable());
  if (is_hidden(name)) return error(EACCES);
  auto& linked = static_cast<HostInode&>(target);
  TRY(linked.check_changeable());
  RefPtr<HostDescriptor> directory = TRY(descriptor());
  RefPtr<HostDescriptor> file = TRY(linked.descriptor());
  TRY(host::link(host::kWorkingDirectory, DescriptorPath(*file).c_str(), directory->fd(), HostName(name).c_str(), host::at_flags::kFollow));
  if (!host().owner_file().is_empty() && host().maps_owners()) {
    const String from = TRY(linked.path_from_top());
    if (const std::optional<OwnerRecord> record = host().owner_file().find(from.view()))
      TRY(host().owner_file().set(TRY(join(TRY(path_from_top()), name)).view(), *record));
  }
  if (linked.is_nameless_.exchange(false)) TRY(linked.set_place(this, name));
  linked.links_.fetch_add(1, std::memory_order_relaxed);
  linked.forget_fresh();
  return {};
}

Result<void> HostInode::unlink(std::string_view name, vfs::Inode& victim) {
  TRY(check_changeable());
  auto& removed = static_cast<HostInode&>(victim);
  removed.keep_descriptor();
  RefPtr<HostDescriptor> directory = TRY(descriptor());
  TRY(host::unlink(directory->fd(), HostName(name).c_str(), 0));
  if (removed.links_.load() > 0) removed.links_.fetch_sub(1, std::memory_order_relaxed);
  if (!host().owner_file().is_empty()) TRY(host().owner_file().forget(TRY(join(TRY(path_from_top()), name)).view()));
  return {};
}

Result<void> HostInode::remove_directory(std::string_view name, vfs::Inode& victim) {
  TRY(check_changeable());
  auto& removed = static_cast<HostInode&>(victim);
  if (removed.is_covered_) return error(EBUSY);
  removed.keep_descriptor();
  RefPtr<HostDescriptor> directory = TRY(descriptor());
  TRY(host::unlink(directory->fd(), HostName(name).c_str(), host::at_flags::kRemoveDirectory));
  removed.links_.store(0, std::memory_order_relaxed);
  if (!host().owner_file().is_empty()) TRY(host().owner_file().forget(TRY(join(TRY(path_from_top()), name)).view()));
  return {};
}

Result<void> HostInode::rename(std::string_view name, vfs::Inode& moved, vfs::Inode& new_parent, std::string_view new_name, vfs::Inode* replaced, bool exchange) {
  auto& target = static_cast<HostInode&>(new_parent);
  auto& source = static_cast<HostInode&>(moved);
  auto* other = static_cast<HostInode*>(replaced);
  TRY(check_changeable());
  TRY(target.check_changeable());
  if (target.is_hidden(new_name)) return error(EACCES);
  if (other && !exchange) other->keep_descriptor();
  RefPtr<HostDescriptor> from = TRY(descriptor());
  RefPtr<HostDescriptor> to = TRY(target.descriptor());
  TRY(host::rename(from->fd(), HostName(name).c_str(), to->fd(), HostName(new_name).c_str(), exchange ? kExchange : 0));

  OwnerFile& owners = host().owner_file();
  if (!owners.is_empty()) {
    const String old_path = TRY(join(TRY(path_from_top()), name));
    const String new_path = TRY(join(TRY(target.path_from_top()), new_name));
    if (exchange) {
      constexpr std::string_view kAside = ".umk-owners.aside";
      TRY(owners.move(new_path.view(), kAside));
      TRY(owners.move(old_path.view(), new_path.view()));
      TRY(owners.move(kAside, old_path.view()));
    } else {
      TRY(owners.move(old_path.view(), new_path.view()));
    }
  }
  source.forget_fresh();
  TRY(source.set_place(&target, new_name));
  if (other && exchange) TRY(other->set_place(this, name));
  if (other && !exchange && other->links_.load() > 0) other->links_.fetch_sub(1, std::memory_order_relaxed);
  return {};
}

}  // namespace umk::hostfs

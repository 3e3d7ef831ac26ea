#include "core/fs/tmpfs/devtmpfs.h"

#include "core/fs/tmpfs/tmpfs_inode.h"

namespace umk::fs {

Result<std::unique_ptr<DevtmpfsType>> DevtmpfsType::create(mm::CacheWindow& window, device::DeviceRegistry& registry, vfs::DeviceNumber device) {
  TmpfsOptions options;
  options.root_mode = 0755;
  std::unique_ptr<DevtmpfsType> type = TRY(make_unique<DevtmpfsType>(TRY(TmpfsSuperblock::create("devtmpfs", window, options, device, 0))));
  TRY(registry.set_listener(*type));
  return type;
}

Result<RefPtr<vfs::Superblock>> DevtmpfsType::mount(const vfs::MountRequest&) { return RefPtr<vfs::Superblock>(superblock_.get()); }

/// The directory `name` in `parent`, made when it is not there.
static Result<RefPtr<TmpfsDirectory>> subdirectory(TmpfsDirectory& parent, std::string_view name) {
  MutexLock lock(parent.mutex());
  Result<RefPtr<vfs::Inode>> known = parent.lookup(name);
  if (known.ok()) {
    if (!known.value()->is_directory()) return error(ENOTDIR);
    return RefPtr<TmpfsDirectory>(static_cast<TmpfsDirectory*>(known.value().get()));
  }
  RefPtr<TmpfsDirectory> made = TRY(make_tmpfs_inode<TmpfsDirectory>(parent.filesystem(), 0755u, UserId{0}, GroupId{0}));
  TRY(parent.insert(name, made));
  return made;
}

Result<void> DevtmpfsType::add_node(const device::Node& node) {
  std::string_view rest = node.name;
  std::string_view name = split_first(rest, '/');
  RefPtr<TmpfsDirectory> directory(superblock_->root_directory());
  while (!rest.empty()) {
    directory = TRY(subdirectory(*directory, name));
    name = split_first(rest, '/');
  }
  RefPtr<TmpfsNode> made = TRY(make_tmpfs_inode<TmpfsNode>(*superblock_, static_cast<uint32_t>(node.type) | node.permissions, node.uid, node.gid, node.number));
  MutexLock lock(directory->mutex());
  Result<void> inserted = directory->insert(name, std::move(made));
  // Somebody made a node of that name before; his is as good.
  if (!inserted.ok() && inserted.code() != EEXIST) return inserted;
  return {};
}

}  // namespace umk::fs

#include "core/fs/tmpfs/devtmpfs.h"

#include "core/fs/tmpfs/tmpfs_inode.h"

namespace umk::fs {

Result<std::unique_ptr<DevtmpfsType>> DevtmpfsType::create(mm::CacheWindow& window, device::DeviceRegistry& registry, vfs::DeviceNumber device) {
  TmpfsOptions options;
  options.root_mode = 0755;
  std::unique_ptr<DevtmpfsType> type = TRY(make_unique<DevtmpfsType>(TRY(TmpfsSuperblock::create("devtmpfs", window, options, device, 0))));
  type->superblock_->root_directory().expect_changes();
  TRY(registry.add_listener(*type));
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
  made->expect_changes();
  TRY(parent.insert(name, made));
  return made;
}

/// The directory that a node belongs in; `name` becomes the last part of its name.
Result<RefPtr<TmpfsDirectory>> DevtmpfsType::directory_of(const device::Node& node, std::string_view& name) {
  std::string_view rest = node.name;
  name = split_first(rest, '/');
  RefPtr<TmpfsDirectory> directory(superblock_->root_directory());
  while (!rest.empty()) {
    directory = TRY(subdirectory(*directory, name));
    name = split_first(rest, '/');
  }
  return directory;
}

Result<void> DevtmpfsType::add_node(const device::Node& node) {
  std::string_view name;
  const RefPtr<TmpfsDirectory> directory = TRY(directory_of(node, name));
  RefPtr<TmpfsNode> made = TRY(make_tmpfs_inode<TmpfsNode>(*superblock_, static_cast<uint32_t>(node.type) | node.permissions, node.uid, node.gid, node.number));
  MutexLock lock(directory->mutex());
  Result<void> inserted = directory->insert(name, std::move(made));
  // Somebody made a node of that name before; his is as good.
  if (!inserted.ok() && inserted.code() != EEXIST) return inserted;
  return {};
}

void DevtmpfsType::remove_node(const device::Node& node) {
  std::string_view name;
  const Result<RefPtr<TmpfsDirectory>> directory = directory_of(node, name);
  if (!directory.ok()) return;
  MutexLock lock(directory.value()->mutex());
  directory.value()->withdraw(name, node.type, node.number);
}

}  // namespace umk::fs

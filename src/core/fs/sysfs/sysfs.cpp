#include "core/fs/sysfs/sysfs.h"

#include "core/fs/sysfs/tree.h"

namespace umk::sysfs {

namespace {

constexpr int64_t kMagic = 0x62656572;

Result<void> check_options(std::string_view text) {
  while (!text.empty())
    if (!split_first(text, ',').empty()) return error(EINVAL);
  return {};
}

}  // namespace

Result<RefPtr<Superblock>> Superblock::create(Kernel& kernel, vfs::DeviceNumber device) {
  RefPtr<Superblock> superblock = TRY(make_ref<Superblock>(device, kernel.devices));
  superblock->root_ = TRY(make_ref<Directory>(*superblock));
  TRY(build_tree(*superblock->root_, kernel));
  if (!kernel.devices) return superblock;
  TRY(kernel.devices->add_listener(*superblock));
  if (kernel.block_devices) TRY(kernel.block_devices->add_watcher(*superblock));
  return superblock;
}

Result<void> Superblock::on_added(block::BlockDevice& device) { return add_block_device(*root_, device, devices_->uevents()); }

void Superblock::on_removed(block::BlockDevice& device) { remove_block_device(*root_, device); }

Result<void> Superblock::add_node(const device::Node& node) {
  return node.type == vfs::FileType::CharacterDevice ? add_device(*root_, node, devices_->uevents()) : Result<void>();
}

void Superblock::remove_node(const device::Node& node) {
  if (node.type == vfs::FileType::CharacterDevice) remove_device(*root_, node);
}

Result<vfs::FilesystemStatistics> Superblock::statistics() {
  vfs::FilesystemStatistics statistics;
  statistics.type_magic = kMagic;
  return statistics;
}

Result<void> Superblock::remount(std::string_view options, bool) { return check_options(options); }

Result<RefPtr<vfs::Superblock>> Type::mount(const vfs::MountRequest& request) {
  TRY(check_options(request.options));
  MutexLock lock(mutex_);
  if (!superblock_) superblock_ = TRY(Superblock::create(kernel_, request.anonymous_device));
  return RefPtr<vfs::Superblock>(superblock_);
}

}  // namespace umk::sysfs

// sysfs: a small /sys, with what programs look for: processors and memory nodes for nproc, lscpu and language runtimes, and the devices that drivers
// have announced. sysfs(5).
//
// The tree is built once, when it is first mounted. Devices come and go in it. What can be written: each device's file `uevent`, by which udev(7) has events sent
// again, and kernel/uevent_helper.
// Devices lie in devices/virtual/CLASS/NAME, as those of Linux without a bus do; class/, block/ and dev/ link to them.
//
// Locks: none of its own.
#pragma once

#include "core/fs/sysfs/nodes.h"
#include "core/kernel/block/block_devices.h"
#include "core/kernel/device/device_registry.h"
#include "core/kernel/task/kernel.h"

namespace umk::sysfs {

class Superblock final : public vfs::Superblock, public block::BlockDevices::Watcher, public device::NodeListener {
 public:
  static Result<RefPtr<Superblock>> create(Kernel& kernel, vfs::DeviceNumber device);
  Superblock(vfs::DeviceNumber device, device::DeviceRegistry* devices) : vfs::Superblock("sysfs", device), devices_(devices) {}

  RefPtr<vfs::Inode> root() override { return root_; }
  Result<vfs::FilesystemStatistics> statistics() override;
  Result<void> remount(std::string_view options, bool read_only) override;
  vfs::InodeNumber next_number() { return last_number_.fetch_add(1, std::memory_order_relaxed) + 1; }

  Result<void> on_added(block::BlockDevice& device) override;
  void on_removed(block::BlockDevice& device) override;
  Result<void> add_node(const device::Node& node) override;
  void remove_node(const device::Node& node) override;

 private:
  device::DeviceRegistry* const devices_;  // null in tests without devices
  std::atomic<vfs::InodeNumber> last_number_{0};
  RefPtr<Directory> root_;
};

/// `mount -t sysfs`. There are no options.
class Type final : public vfs::FilesystemType {
 public:
  explicit Type(Kernel& kernel) : kernel_(kernel) {}
  std::string_view name() const override { return "sysfs"; }
  Result<RefPtr<vfs::Superblock>> mount(const vfs::MountRequest& request) override;

 private:
  Kernel& kernel_;
  Mutex mutex_{LockRank::None};
  RefPtr<Superblock> superblock_ GUARDED_BY(mutex_);
};

}  // namespace umk::sysfs

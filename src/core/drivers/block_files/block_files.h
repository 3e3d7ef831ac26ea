// Block device files: what an open of /dev/ubda reads, writes and controls. One driver for the files of all block devices, whoever drives the device.
//
// It announces a node for each device, so that /dev shows disks and partitions as they come and go.
//
// Locks: BlockDevice::part_mutex while a sector is read, changed in part and written.
#pragma once

#include "core/kernel/block/block_devices.h"
#include "core/kernel/device/device_registry.h"

namespace umk::block_files {

class BlockFiles final : public device::Driver, public block::BlockDevices::Watcher {
 public:
  BlockFiles(block::BlockDevices& devices, device::DeviceRegistry& registry) : devices_(devices), registry_(registry) {}

  /// Serves the numbers of a major under the name that /proc/devices shows, which outlives this.
  Result<void> add_major(uint32_t major, std::string_view name);
  /// Announces what is there and what comes. After all add_major.
  Result<void> attach() { return devices_.add_watcher(*this); }

  std::string_view name() const override { return "block"; }
  Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::DeviceNumber number, const vfs::Path& path,
                                     uint32_t flags) override;

  Result<void> on_added(block::BlockDevice& device) override;
  void on_removed(block::BlockDevice& device) override;

  block::BlockDevices& devices() { return devices_; }

 private:
  /// /proc/devices wants a name a major.
  struct Major final : device::Driver {
    Major(BlockFiles& block_files, std::string_view label) : files(block_files), shown(label) {}
    std::string_view name() const override { return shown; }
    Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::DeviceNumber number, const vfs::Path& path,
                                       uint32_t flags) override {
      return files.open(caller, std::move(inode), number, path, flags);
    }
    BlockFiles& files;
    std::string_view shown;
  };

  block::BlockDevices& devices_;
  device::DeviceRegistry& registry_;
  Vector<std::unique_ptr<Major>> majors_;
};

}  // namespace umk::block_files

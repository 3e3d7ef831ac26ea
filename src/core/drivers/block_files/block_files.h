// Block device files: what an open of /dev/ubda reads, writes and controls. One driver for the files of all block devices, whoever drives the device.
//
// It announces a node for each device, so that /dev shows disks and partitions as they come and go, tells programs of them (device/uevents.h), and keeps the
// cached pages of devices that are open.
//
// Locks: `pages_mutex_` guards the list of cached devices; only memory is allocated under it.
#pragma once

#include "core/kernel/block/block_devices.h"
#include "core/kernel/block/device_pages.h"
#include "core/kernel/device/device_registry.h"

namespace umk::block_files {

class BlockFiles final : public device::Driver,
                         public block::BlockDevices::Watcher,
                         public block::BlockDevices::Announcer,
                         public block::DevicePages::Keeper {
 public:
  BlockFiles(block::BlockDevices& devices, device::DeviceRegistry& registry, mm::PageCache& cache) : devices_(devices), registry_(registry), cache_(cache) {}

  /// Serves the numbers of a major under the name that /proc/devices shows, which outlives this.
  Result<void> add_major(uint32_t major, std::string_view name);
  /// Announces what is there and what comes. After all add_major.
  Result<void> attach() {
    devices_.set_announcer(*this);
    return devices_.add_watcher(*this);
  }

  std::string_view name() const override { return "block"; }
  Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::DeviceNumber number, const vfs::Path& path,
                                     uint32_t flags) override;

  Result<void> on_added(block::BlockDevice& device) override;
  void on_removed(block::BlockDevice& device) override;
  void announce(const block::BlockDevice& device, block::BlockDevices::Event event) override;

  block::BlockDevices& devices() { return devices_; }
  /// The cached pages of a device: those that others use, or new ones.
  Result<RefPtr<block::DevicePages>> pages_of(block::BlockDevice& device);
  /// Pages that nobody uses are about to go.
  void forget(block::DevicePages& pages) override;

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
  mm::PageCache& cache_;
  Mutex pages_mutex_{LockRank::None};
  Vector<block::DevicePages*> pages_ GUARDED_BY(pages_mutex_);  // of devices that are open or mapped
  Vector<std::unique_ptr<Major>> majors_;
};

}  // namespace umk::block_files

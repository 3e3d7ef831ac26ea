// LoopDriver: the loop devices of a machine, and /dev/loop-control, which makes more: loop(4).
#pragma once

#include "core/drivers/loop/loop_device.h"
#include "core/kernel/device/device_registry.h"

namespace umk::loop {

class LoopDriver final : public device::Driver {
 public:
  /// As many as Debian's kernel has from the start.
  static constexpr uint32_t kAtStart = 8;
  static constexpr uint32_t kMaximum = 1024;

  explicit LoopDriver(block::BlockDevices& devices) : devices_(devices) {}
  /// Adds the devices and registers /dev/loop-control. After the files of major 7 were registered.
  Result<void> attach(device::DeviceRegistry& registry);

  std::string_view name() const override { return "misc"; }
  Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::DeviceNumber number, const vfs::Path& path,
                                     uint32_t flags) override;

  /// EEXIST when it is there, EINVAL for a number that is too large.
  Result<void> add(uint32_t number);
  /// EBUSY while it is in use, ENODEV when it is not there.
  Result<void> remove(uint32_t number);
  /// The lowest number without a file; a device is made when there is none. ENOSPC.
  Result<uint32_t> find_free();

 private:
  RefPtr<LoopDevice> find_locked(uint32_t number) REQUIRES(mutex_);
  Result<void> add_locked(uint32_t number) REQUIRES(mutex_);

  block::BlockDevices& devices_;
  Mutex mutex_{LockRank::None};  // held while devices are added and removed
  Vector<RefPtr<LoopDevice>> loops_ GUARDED_BY(mutex_);
};

}  // namespace umk::loop

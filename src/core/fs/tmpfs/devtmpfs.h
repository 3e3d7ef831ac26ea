// devtmpfs: a tmpfs that holds the nodes of the machine's devices. All its mounts show one instance.
#pragma once

#include "core/fs/tmpfs/tmpfs.h"
#include "core/kernel/device/device_registry.h"

namespace umk::fs {

class TmpfsDirectory;

class DevtmpfsType final : public vfs::FilesystemType, public device::NodeListener {
 public:
  /// Makes the instance and fills it with what the registry announced.
  static Result<std::unique_ptr<DevtmpfsType>> create(mm::CacheWindow& window, device::DeviceRegistry& registry, vfs::DeviceNumber device);

  std::string_view name() const override { return "devtmpfs"; }
  Result<RefPtr<vfs::Superblock>> mount(const vfs::MountRequest& request) override;

  Result<void> add_node(const device::Node& node) override;
  /// Leaves alone what somebody has put in the node's place.
  void remove_node(const device::Node& node) override;

  explicit DevtmpfsType(RefPtr<TmpfsSuperblock> superblock) : superblock_(std::move(superblock)) {}

 private:
  Result<RefPtr<TmpfsDirectory>> directory_of(const device::Node& node, std::string_view& name);

  RefPtr<TmpfsSuperblock> superblock_;
};

}  // namespace umk::fs

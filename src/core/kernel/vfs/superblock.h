// Superblock: one instance of a filesystem. FilesystemType: a kind of filesystem, registered by name.
#pragma once

#include "core/kernel/vfs/inode.h"

namespace umk::vfs {

class Dentry;

/// What statfs(2) tells.
struct FilesystemStatistics {
  int64_t type_magic = 0;
  uint64_t block_size = kPageSize;
  uint64_t blocks = 0, blocks_free = 0, blocks_available = 0;
  uint64_t files = 0, files_free = 0;
  uint64_t name_length_limit = 255;
};

class Superblock : public RefCounted {
 public:
  /// The device number shown in st_dev: of the block device, or an anonymous one (major 0) of its own.
  DeviceNumber device() const { return device_; }
  std::string_view type_name() const { return type_name_; }
  virtual RefPtr<Inode> root() = 0;
  virtual Result<FilesystemStatistics> statistics() = 0;
  virtual Result<void> sync() { return {}; }
  /// Changes options (mount -o remount). EINVAL for those it does not know.
  virtual Result<void> remount(std::string_view options, bool read_only);
  /// Called once when the last mount of it is gone and its cached names were dropped; the object may live on for later mounts.
  virtual void unmounted() {}
  /// Options beyond ro/rw for /proc/mounts, each with a leading comma.
  virtual void show_options(TextSink&) {}

  bool is_read_only() const { return read_only_.load(std::memory_order_relaxed); }
  void set_read_only(bool read_only) { read_only_.store(read_only); }

  /// Inodes that have inotify marks: lets the VFS skip notification with one load (notify.h).
  std::atomic<uint32_t> watched_inodes{0};
  std::atomic<uint32_t> last_notify_cookie{0};

  // Kept by the mount tree (mount.h).
  /// Mounts that show this filesystem. When the last one goes, its cached names are dropped.
  std::atomic<uint32_t> active_mounts{0};
  /// The name of root(), shared by all mounts; guarded by the mount tree's lock.
  RefPtr<Dentry> root_dentry;

 protected:
  ~Superblock() override;
  Superblock(std::string_view type_name, DeviceNumber device);

 private:
  std::string_view type_name_;
  DeviceNumber device_;
  std::atomic<bool> read_only_{false};
};

/// What a filesystem may use of the kernel when it is mounted, without knowing the Kernel object.
struct MountRequest {
  std::string_view source;   // device or label, may be empty
  std::string_view options;  // after the generic ones were taken out
  bool read_only;
  const Caller& caller;
  /// An anonymous device number (0:N) of its own, for a filesystem without a block device.
  DeviceNumber anonymous_device;
};

class FilesystemType {
 public:
  virtual std::string_view name() const = 0;
  /// Needs a block device as source: shown without "nodev" in /proc/filesystems.
  virtual bool needs_device() const { return false; }
  virtual Result<RefPtr<Superblock>> mount(const MountRequest& request) = 0;

 protected:
  ~FilesystemType() = default;
};

}  // namespace umk::vfs

// Superblock: one instance of a filesystem. FilesystemType: a kind of filesystem, registered by name.
#pragma once

#include "core/kernel/vfs/inode.h"

namespace umk::vfs {

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
  /// Options beyond ro/rw for /proc/mounts, each with a leading comma.
  virtual void show_options(TextSink&) {}

  bool is_read_only() const { return read_only_.load(std::memory_order_relaxed); }
  void set_read_only(bool read_only) { read_only_.store(read_only); }

 protected:
  Superblock(std::string_view type_name, DeviceNumber device) : type_name_(type_name), device_(device) {}

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

/// The next anonymous device number (0:N) for a filesystem without a block device.
DeviceNumber next_anonymous_device();

}  // namespace umk::vfs

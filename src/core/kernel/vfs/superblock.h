// Superblock: one instance of a filesystem. FilesystemType: a kind of filesystem, registered by name.
#pragma once

#include "core/kernel/vfs/inode.h"

namespace umk::block {
class BlockDevice;
}

namespace umk::mm {
class ErrorSequence;
}

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

/// Objects of a machine that are alive, for /proc/umk: leak tests compare them before and after. Shared by all its filesystems, as they may outlive the Vfs.
struct ObjectCounts : RefCounted {
  std::atomic<int64_t> inodes{0}, open_files{0};
  ObjectCounts() = default;
  ~ObjectCounts() override = default;
};

class Superblock : public RefCounted {
 public:
  /// The device number shown in st_dev: of the block device, or an anonymous one (major 0) of its own.
  DeviceNumber device() const { return device_; }
  std::string_view type_name() const { return type_name_; }
  virtual RefPtr<Inode> root() = 0;
  virtual Result<FilesystemStatistics> statistics() = 0;
  virtual Result<void> sync() { return {}; }
  /// Write errors of all its files, which syncfs(2) reports; null: there can be none.
  virtual mm::ErrorSequence* write_errors() { return nullptr; }
  /// Changes options (mount -o remount). EINVAL for those it does not know.
  virtual Result<void> remount(std::string_view options, bool read_only);
  /// Called once when the last mount of it is gone and its cached names were dropped; the object may live on for later mounts.
  virtual void unmounted() {}
  /// Options beyond ro/rw for /proc/mounts, each with a leading comma.
  virtual void show_options(TextSink&) {}

  bool is_read_only() const { return read_only_.load(std::memory_order_relaxed); }
  void set_read_only(bool read_only) { read_only_.store(read_only || is_never_written()); }
  /// A format that knows no writing: mounted read-only whatever is asked for.
  virtual bool is_never_written() const { return false; }

  /// Inodes that have inotify marks: lets the VFS skip notification with one load (notify.h).
  std::atomic<uint32_t> watched_inodes{0};
  std::atomic<uint32_t> last_notify_cookie{0};

  /// Counts inodes and open files of this filesystem in `counts` from now on, with those that are there already. The first call counts.
  void count_in(RefPtr<ObjectCounts> counts);
  void count_inode(int change) { counts().inodes.fetch_add(change, std::memory_order_relaxed); }
  void count_open_file(int change) { counts().open_files.fetch_add(change, std::memory_order_relaxed); }

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

  ObjectCounts& counts() {
    ObjectCounts* shared = shared_counts_.load(std::memory_order_acquire);
    return shared ? *shared : own_counts_;
  }
  ObjectCounts own_counts_;                              // until count_in
  std::atomic<ObjectCounts*> shared_counts_{nullptr};  // owns a reference
};

/// What a filesystem may use of the kernel when it is mounted, without knowing the Kernel object.
struct MountRequest {
  std::string_view source;   // device or label, may be empty
  std::string_view options;  // after the generic ones were taken out
  bool read_only;
  const Caller& caller;
  /// An anonymous device number (0:N) of its own, for a filesystem without a block device.
  DeviceNumber anonymous_device;
  /// The device that `source` names, for a type that needs one; null otherwise. The filesystem claims it (EBUSY), and has its number as Superblock::device().
  block::BlockDevice* device = nullptr;
};

class FilesystemType {
 public:
  virtual std::string_view name() const = 0;
  /// Needs a block device as source: shown without "nodev" in /proc/filesystems. A further mount of the same device shows the same superblock.
  virtual bool needs_device() const { return false; }
  virtual Result<RefPtr<Superblock>> mount(const MountRequest& request) = 0;

 protected:
  ~FilesystemType() = default;
};

}  // namespace umk::vfs

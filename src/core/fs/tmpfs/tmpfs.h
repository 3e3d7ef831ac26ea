// tmpfs: a filesystem in the page cache, tmpfs(5). Also what devtmpfs and memfd_create(2) are made of.
//
// A TmpfsSuperblock holds its root; a directory's entries hold their inodes. Data lies in mm::PageStores. Limits (size=, nr_inodes=) are counted here, apart
// from the machine's memory limit, which the page stores charge.
//
// Locks: names under a directory are guarded by its inode mutex, as the VFS takes it. Writers of a file hold its data mutex (rank FileData), so that
// appends and truncations are atomic; readers take none.
#pragma once

#include "core/kernel/mm/cache_window.h"
#include "core/kernel/vfs/memory_files.h"
#include "core/kernel/vfs/superblock.h"

namespace umk::fs {

class TmpfsDirectory;

struct TmpfsOptions {
  uint64_t size_bytes = 0;  // 0: no limit
  uint64_t inodes = 0;      // 0: no limit
  uint32_t root_mode = 01777;
  UserId uid = 0;
  GroupId gid = 0;

  /// Changes what the text names: size=, nr_blocks=, nr_inodes=, mode=, uid=, gid=, huge= and the like without effect. EINVAL.
  Result<void> parse(std::string_view text, uint64_t memory_bytes);
};

class TmpfsSuperblock final : public vfs::Superblock {
 public:
  static Result<RefPtr<TmpfsSuperblock>> create(std::string_view type_name, mm::CacheWindow& window, const TmpfsOptions& options, vfs::DeviceNumber device,
                                                uint64_t memory_bytes);
  ~TmpfsSuperblock() override;

  RefPtr<vfs::Inode> root() override;
  Result<vfs::FilesystemStatistics> statistics() override;
  Result<void> remount(std::string_view options, bool read_only) override;
  void show_options(TextSink& sink) override;

  TmpfsDirectory& root_directory() { return *root_; }
  mm::CacheWindow& window() { return window_; }
  vfs::InodeNumber next_number() { return next_number_.fetch_add(1, std::memory_order_relaxed); }

  /// Counts an inode, or a further link of one, against nr_inodes: ENOSPC.
  Result<void> charge_inode();
  void release_inode() { inodes_used_.fetch_sub(1, std::memory_order_relaxed); }
  /// How many more bytes fit.
  uint64_t free_bytes() const;
  void adjust_used(int64_t delta_bytes) { bytes_used_.fetch_add(delta_bytes, std::memory_order_relaxed); }

  TmpfsSuperblock(std::string_view type_name, mm::CacheWindow& window, const TmpfsOptions& options, vfs::DeviceNumber device, uint64_t memory_bytes);

 private:
  mm::CacheWindow& window_;
  const uint64_t memory_bytes_;
  std::atomic<uint64_t> size_limit_;
  std::atomic<uint64_t> inode_limit_;
  TmpfsOptions initial_;
  std::atomic<int64_t> bytes_used_{0};
  std::atomic<int64_t> inodes_used_{0};
  std::atomic<vfs::InodeNumber> next_number_{1};
  RefPtr<TmpfsDirectory> root_;
};

/// `mount -t tmpfs`: each mount is a filesystem of its own, limited to half of the memory unless told otherwise.
class TmpfsType final : public vfs::FilesystemType {
 public:
  TmpfsType(mm::CacheWindow& window, uint64_t memory_bytes, std::string_view name = "tmpfs") : window_(window), memory_bytes_(memory_bytes), name_(name) {}
  std::string_view name() const override { return name_; }
  Result<RefPtr<vfs::Superblock>> mount(const vfs::MountRequest& request) override;

 private:
  mm::CacheWindow& window_;
  const uint64_t memory_bytes_;
  std::string_view name_;
};

/// The filesystem behind memfd_create(2), which is mounted nowhere.
class TmpfsMemoryFiles final : public vfs::MemoryFiles {
 public:
  static Result<std::unique_ptr<TmpfsMemoryFiles>> create(mm::CacheWindow& window, vfs::DeviceNumber device);
  Result<RefPtr<vfs::Inode>> make(const vfs::Caller& caller, uint32_t mode, uint32_t seals) override;
  vfs::Superblock& superblock() override { return *superblock_; }

  explicit TmpfsMemoryFiles(RefPtr<TmpfsSuperblock> superblock) : superblock_(std::move(superblock)) {}

 private:
  RefPtr<TmpfsSuperblock> superblock_;
};

}  // namespace umk::fs

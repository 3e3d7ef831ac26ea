#include "core/fs/tmpfs/tmpfs.h"

#include "core/fs/tmpfs/tmpfs_inode.h"

namespace umk::fs {

Result<void> TmpfsOptions::parse(std::string_view text, uint64_t memory_bytes) {
  while (!text.empty()) {
    const std::string_view option = split_first(text, ',');
    if (option.empty()) continue;
    std::string_view value = option;
    const std::string_view name = split_first(value, '=');
    if (name == "size") {
      if (value.ends_with('%')) {
        const auto percent = parse_unsigned(value.substr(0, value.size() - 1));
        if (!percent || *percent > 1000) return error(EINVAL);
        size_bytes = page_up(memory_bytes / 100 * *percent);
      } else {
        const auto size = parse_size(value);
        if (!size || *size > INT64_MAX) return error(EINVAL);
        size_bytes = page_up(*size);
      }
    } else if (name == "nr_blocks") {
      const auto blocks = parse_size(value);
      if (!blocks || *blocks > INT64_MAX / kPageSize) return error(EINVAL);
      size_bytes = *blocks * kPageSize;
    } else if (name == "nr_inodes") {
      const auto count = parse_size(value);
      if (!count) return error(EINVAL);
      inodes = *count;
    } else if (name == "mode") {
      const auto mode = parse_unsigned(value, 8);
      if (!mode) return error(EINVAL);
      root_mode = static_cast<uint32_t>(*mode) & vfs::kPermissionMask;
    } else if (name == "uid" || name == "gid") {
      const auto id = parse_unsigned(value);
      if (!id || *id >= UINT32_MAX) return error(EINVAL);
      (name == "uid" ? uid : gid) = static_cast<uint32_t>(*id);
    } else if (name != "huge" && name != "mpol" && name != "inode32" && name != "inode64" && name != "noswap") {
      return error(EINVAL);
    }
  }
  return {};
}

TmpfsSuperblock::TmpfsSuperblock(std::string_view type_name, mm::CacheWindow& window, const TmpfsOptions& options, vfs::DeviceNumber device,
                                 uint64_t memory_bytes)
    : Superblock(type_name, device), window_(window), memory_bytes_(memory_bytes), size_limit_(options.size_bytes), inode_limit_(options.inodes), initial_(options) {}

TmpfsSuperblock::~TmpfsSuperblock() { TmpfsDirectory::tear_down(std::move(root_)); }

Result<RefPtr<TmpfsSuperblock>> TmpfsSuperblock::create(std::string_view type_name, mm::CacheWindow& window, const TmpfsOptions& options,
                                                        vfs::DeviceNumber device, uint64_t memory_bytes) {
  RefPtr<TmpfsSuperblock> superblock = TRY(make_ref<TmpfsSuperblock>(type_name, window, options, device, memory_bytes));
  superblock->root_ = TRY(make_tmpfs_inode<TmpfsDirectory>(*superblock, options.root_mode, options.uid, options.gid));
  return superblock;
}

RefPtr<vfs::Inode> TmpfsSuperblock::root() { return RefPtr<vfs::Inode>(root_.get()); }

uint64_t TmpfsSuperblock::free_bytes() const {
  const uint64_t limit = size_limit_.load(std::memory_order_relaxed);
  if (limit == 0) return UINT64_MAX;
  const int64_t used = bytes_used_.load(std::memory_order_relaxed);
  return used < 0 ? limit : static_cast<uint64_t>(used) >= limit ? 0 : limit - static_cast<uint64_t>(used);
}

Result<void> TmpfsSuperblock::charge_inode() {
  const uint64_t limit = inode_limit_.load(std::memory_order_relaxed);
  const int64_t before = inodes_used_.fetch_add(1, std::memory_order_relaxed);
  if (limit == 0 || static_cast<uint64_t>(before) < limit) return {};
  release_inode();
  return error(ENOSPC);
}

Result<vfs::FilesystemStatistics> TmpfsSuperblock::statistics() {
  vfs::FilesystemStatistics statistics;
  statistics.type_magic = 0x01021994;
  if (const uint64_t limit = size_limit_.load()) {
    statistics.blocks = limit / kPageSize;
    statistics.blocks_free = statistics.blocks_available = free_bytes() / kPageSize;
  }
  if (const uint64_t limit = inode_limit_.load()) {
    const int64_t used = inodes_used_.load();
    statistics.files = limit;
    statistics.files_free = static_cast<uint64_t>(used) < limit ? limit - static_cast<uint64_t>(used) : 0;
  }
  return statistics;
}

Result<void> TmpfsSuperblock::remount(std::string_view options, bool) {
  TmpfsOptions wanted = initial_;
  wanted.size_bytes = size_limit_.load();
  wanted.inodes = inode_limit_.load();
  TRY(wanted.parse(options, memory_bytes_));
  // A limit cannot be lower than what is used, nor be set where there was none.
  if (wanted.size_bytes != size_limit_.load()) {
    if (size_limit_.load() == 0 || static_cast<int64_t>(wanted.size_bytes) < bytes_used_.load()) return error(EINVAL);
    size_limit_.store(wanted.size_bytes);
  }
  if (wanted.inodes != inode_limit_.load()) {
    if (inode_limit_.load() == 0 || static_cast<int64_t>(wanted.inodes) < inodes_used_.load()) return error(EINVAL);
    inode_limit_.store(wanted.inodes);
  }
  return {};
}

void TmpfsSuperblock::show_options(TextSink& sink) {
  const uint64_t size = size_limit_.load(), inodes = inode_limit_.load();
  if (size != page_up(memory_bytes_ / 2)) format(sink, ",size={}k", size / 1024);
  if (inodes != memory_bytes_ / 2 / kPageSize) format(sink, ",nr_inodes={}", inodes);
  if (initial_.root_mode != 01777) format(sink, ",mode={:03o}", initial_.root_mode);
  if (initial_.uid != 0) format(sink, ",uid={}", initial_.uid);
  if (initial_.gid != 0) format(sink, ",gid={}", initial_.gid);
}

Result<RefPtr<vfs::Superblock>> TmpfsType::mount(const vfs::MountRequest& request) {
  TmpfsOptions options;
  options.size_bytes = page_up(memory_bytes_ / 2);
  options.inodes = memory_bytes_ / 2 / kPageSize;
  options.uid = request.caller.credentials.fsuid;
  options.gid = request.caller.credentials.fsgid;
  TRY(options.parse(request.options, memory_bytes_));
  RefPtr<TmpfsSuperblock> superblock = TRY(TmpfsSuperblock::create(name_, window_, options, request.anonymous_device, memory_bytes_));
  return RefPtr<vfs::Superblock>(std::move(superblock));
}

Result<std::unique_ptr<TmpfsMemoryFiles>> TmpfsMemoryFiles::create(mm::CacheWindow& window, vfs::DeviceNumber device) {
  return make_unique<TmpfsMemoryFiles>(TRY(TmpfsSuperblock::create("tmpfs", window, TmpfsOptions{}, device, 0)));
}

Result<RefPtr<vfs::Inode>> TmpfsMemoryFiles::make(const vfs::Caller& caller, uint32_t mode, uint32_t seals) {
  RefPtr<TmpfsFile> file = TRY(make_tmpfs_inode<TmpfsFile>(*superblock_, (mode & vfs::kPermissionMask) | static_cast<uint32_t>(vfs::FileType::Regular),
                                                           caller.credentials.fsuid, caller.credentials.fsgid));
  file->set_links(0);
  file->set_seals(seals);
  return RefPtr<vfs::Inode>(std::move(file));
}

}  // namespace umk::fs

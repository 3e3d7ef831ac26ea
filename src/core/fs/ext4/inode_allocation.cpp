// Which inodes are free. Files go to the group of their directory, directories of the root to a group with much room, others to their parent's.
#include <algorithm>

#include "core/base/log.h"
#include "core/fs/ext4/volume.h"
#include "core/kernel/time/log_limit.h"

namespace umk::ext4 {

namespace {
// Whoever mounts, or uses what is damaged, in a loop must not flood the log.
constinit LogLimit log_limit;
}  // namespace

std::optional<uint32_t> Volume::choose_group(uint32_t parent, bool is_directory) {
  const uint32_t parent_group = (parent - 1) / geometry_.inodes_per_group;
  if (is_directory && parent == kRootInode) {
    const uint64_t mean_blocks = static_cast<uint64_t>(std::max<int64_t>(free_blocks_.load(), 0)) / geometry_.group_count;
    std::optional<uint32_t> best;
    uint32_t best_inodes = 0;
    for (uint32_t group = 0; group < geometry_.group_count; ++group) {
      const GroupDescriptor d = descriptor(group);
      if (d.free_inodes() <= best_inodes || d.free_blocks() < mean_blocks) continue;
      best = group;
      best_inodes = d.free_inodes();
    }
    if (best) return best;
  }
  for (const bool needs_blocks : {true, false}) {
    for (uint32_t i = 0; i < geometry_.group_count; ++i) {
      const uint32_t group = (parent_group + i) % geometry_.group_count;
      const GroupDescriptor d = descriptor(group);
      if (d.free_inodes() != 0 && (!needs_blocks || d.free_blocks() != 0)) return group;
    }
  }
  return std::nullopt;
}

Result<RefPtr<Buffer>> Volume::usable_inode_bitmap(Journal::Handle& handle, uint32_t group) {
  GroupDescriptor d = descriptor(group);
  if (!geometry_.has_group_checksums() || !(d.flags() & group_flags::kInodesUninitialised)) {
    Result<RefPtr<Buffer>> bitmap = cache_.read(d.inode_bitmap(), BufferKind::InodeBitmap, group);
    if (!bitmap.ok() && bitmap.code() == EUCLEAN) log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: the inode bitmap of group {} is damaged", device_->name(), group);
    return bitmap;
  }
  RefPtr<Buffer> bitmap = TRY(cache_.make(d.inode_bitmap(), BufferKind::InodeBitmap, group));
  mark_range(bitmap->bytes(), geometry_.inodes_per_group, 8 * geometry_.block_size - geometry_.inodes_per_group);
  handle.modify(*bitmap, BufferKind::InodeBitmap, group);
  modify_descriptor(handle, group);
  d.set_flags(static_cast<uint16_t>(d.flags() & ~group_flags::kInodesUninitialised));
  // A group with inodes has a block bitmap.
  TRY(usable_block_bitmap(handle, group));
  return bitmap;
}

Result<uint32_t> Volume::allocate_inode(Journal::Handle& handle, uint32_t parent, bool is_directory) {
  MutexLock lock(allocation_mutex_);
  const std::optional<uint32_t> chosen = choose_group(parent, is_directory);
  if (!chosen) return error(ENOSPC);
  for (uint32_t i = 0; i < geometry_.group_count; ++i) {
    const uint32_t group = (*chosen + i) % geometry_.group_count;
    GroupDescriptor d = descriptor(group);
    if (d.free_inodes() == 0) continue;
    Result<RefPtr<Buffer>> bitmap = usable_inode_bitmap(handle, group);
    if (!bitmap.ok()) {
      if (bitmap.code() == EUCLEAN) continue;
      return bitmap.failure();
    }
    // The reserved ones are marked in the first group's bitmap, unless that is damaged.
    const uint32_t from = group == 0 ? geometry_.first_inode - 1 : 0;
    const uint32_t index = next_clear_bit(bitmap.value()->bytes(), from, geometry_.inodes_per_group);
    if (index == geometry_.inodes_per_group) continue;
    handle.modify(*bitmap.value(), BufferKind::InodeBitmap, group);
    modify_descriptor(handle, group);
    set_bit(bitmap.value()->bytes(), index);
    d.set_free_inodes(d.free_inodes() - 1);
    if (is_directory) d.set_directories(d.directories() + 1);
    if (geometry_.has_group_checksums()) d.set_unused_inodes(std::min(d.unused_inodes(), geometry_.inodes_per_group - index - 1));
    free_inodes_.fetch_sub(1, std::memory_order_relaxed);
    return group * geometry_.inodes_per_group + index + 1;
  }
  return error(ENOSPC);
}

Result<void> Volume::free_inode(Journal::Handle& handle, uint32_t number, bool is_directory) {
  if (number < geometry_.first_inode || number > geometry_.inode_count) return damaged("freed inode number", number);
  const uint32_t group = (number - 1) / geometry_.inodes_per_group, index = (number - 1) % geometry_.inodes_per_group;
  MutexLock lock(allocation_mutex_);
  RefPtr<Buffer> bitmap = TRY(usable_inode_bitmap(handle, group));
  if (!test_bit(bitmap->bytes(), index)) return damaged("inode that is freed twice", number);
  GroupDescriptor d = descriptor(group);
  handle.modify(*bitmap, BufferKind::InodeBitmap, group);
  modify_descriptor(handle, group);
  clear_bit(bitmap->bytes(), index);
  d.set_free_inodes(std::min(d.free_inodes() + 1, geometry_.inodes_per_group));
  if (is_directory && d.directories() != 0) d.set_directories(d.directories() - 1);
  free_inodes_.fetch_add(1, std::memory_order_relaxed);
  return {};
}

Result<bool> Volume::is_inode_used(uint32_t number) {
  const uint32_t group = (number - 1) / geometry_.inodes_per_group, index = (number - 1) % geometry_.inodes_per_group;
  const GroupDescriptor d = descriptor(group);
  if (geometry_.has_group_checksums() && (d.flags() & group_flags::kInodesUninitialised)) return false;
  RefPtr<Buffer> bitmap = TRY(cache_.read(d.inode_bitmap(), BufferKind::InodeBitmap, group));
  return test_bit(bitmap->bytes(), index);
}

}  // namespace umk::ext4

// Growing while mounted: resize2fs(8).
//
// First the last group is filled up, then whole groups follow, each in a transaction of its own that makes a valid filesystem, so that a crash leaves what
// had been reached. A new group holds its bitmaps and its inode table itself. Blocks for further descriptors come from the reserve behind the present ones, which
// the resize inode holds (with its copies in other groups); without a reserve, or when it is used up, descriptors lie in the groups they describe: meta_bg.
//
// Readers take no lock: what they look things up in (descriptors, places of metadata) is published for the whole of the growth before the counts say that
// there is more.
//
// Linux, Documentation/filesystems/ext4/super.rst, group_descr.rst, "Meta Block Groups"; the resize inode is described in the e2fsprogs' debugfs(8) and by its
// own structure: a file whose doubly indirect block points to the reserved blocks, each of which lists its copies.
#include <algorithm>

#include "core/base/log.h"
#include "core/fs/ext4/node.h"
#include "core/kernel/time/log_limit.h"

namespace umk::ext4 {

namespace {
// Whoever mounts, or uses what is damaged, in a loop must not flood the log.
constinit LogLimit log_limit;
}  // namespace

namespace {

/// Seen by readers without a lock, who find either number good.
template <typename T>
void store_count(T& field, T value) {
  std::atomic_ref<T>(field).store(value, std::memory_order_release);
}

constexpr size_t kDoublyIndirect = 4 * 13;

}  // namespace

/// The resize inode and its doubly indirect block.
struct Volume::ResizeInode {
  InodePlace place;
  RefPtr<Buffer> map;

  InodeRecord record(const Geometry& geometry) const { return InodeRecord(place.buffer->bytes().subspan(place.offset, geometry.inode_size)); }
};

/// One at a time; leaves everything in its place, with the copies that e2fsck(8) falls back to.
template <typename Work>
Result<void> Volume::grow_alone(Work work) {
  if (is_read_only() || !is_writing_) return error(EROFS);
  if (mount_state(superblock_bytes()) & state::kErrors) return error(EPERM);
  if (geometry_.has_compat(compat::kSparseSuper2) || geometry_.has_ro_compat(ro_compat::kBigAllocation)) return error(EOPNOTSUPP);
  if (is_growing_.exchange(true)) return error(EBUSY);
  const uint64_t old_blocks = geometry_.block_count;
  const uint32_t last_index = geometry_.descriptor_blocks() - 1;
  Result<void> outcome = work();
  if (geometry_.block_count != old_blocks) {
    log_limited(log_limit, "ext4", LogLevel::Info, "ext4: {}: grown from {} to {} blocks", device_->name(), old_blocks, geometry_.block_count);
    const Result<void> written = journal_.checkpoint();
    if (outcome.ok()) outcome = written;
    if (written.ok()) write_backups(last_index);
  }
  is_growing_.store(false);
  return outcome;
}

Geometry Volume::grown_to(uint64_t blocks) const {
  Geometry whole = geometry_;
  whole.block_count = blocks;
  whole.group_count = static_cast<uint32_t>((blocks - whole.first_data_block + whole.blocks_per_group - 1) / whole.blocks_per_group);
  whole.inode_count = whole.group_count * whole.inodes_per_group;
  if (!whole.has_incompat(incompat::kMetaGroups)) {
    const uint32_t used = whole.descriptor_blocks() - geometry_.descriptor_blocks();
    whole.reserved_descriptor_blocks = whole.reserved_descriptor_blocks > used ? whole.reserved_descriptor_blocks - used : 0;
  }
  // The same share as before, in 1/1024.
  const uint64_t share = (geometry_.reserved_blocks * 1024 + geometry_.block_count / 2) / geometry_.block_count;
  whole.reserved_blocks += (blocks - geometry_.block_count) * share / 1024;
  return whole;
}

Result<void> Volume::check_new_size(uint64_t blocks) const {
  if (blocks < geometry_.block_count) return error(EINVAL);
  if (blocks > UINT32_MAX && !geometry_.has_incompat(incompat::k64Bit)) return error(EINVAL);
  if (blocks >> 48 || (blocks - geometry_.first_data_block) / geometry_.blocks_per_group >= UINT32_MAX / geometry_.inodes_per_group - 1) return error(EINVAL);
  if (blocks > device_->size_bytes() >> geometry_.block_bits) return error(ENOSPC);
  return {};
}

Result<void> Volume::grow(uint64_t wanted) {
  return grow_alone([&]() -> Result<void> {
    TRY(check_new_size(wanted));
    uint64_t blocks = wanted;
    const uint32_t table_blocks = geometry_.inodes_per_group / geometry_.inodes_per_block();
    // The groups of one block of descriptors, or as many as there is room for.
    while (geometry_.block_count < blocks) {
      Geometry whole = grown_to(blocks);
      if (const uint32_t last = whole.group_count - 1; last >= geometry_.group_count) {
        const uint64_t first = whole.group_first_block(last);
        if (first + whole.group_overhead(last) + 2 + table_blocks + 1 >= blocks) {
          blocks = first;
          continue;
        }
      }
      const uint64_t end_of_last = geometry_.group_first_block(geometry_.group_count - 1) + geometry_.blocks_per_group;
      if (geometry_.block_count < end_of_last) {
        TRY(extend_last_group(std::min(blocks, end_of_last)));
        continue;
      }
      if (!geometry_.has_incompat(incompat::kMetaGroups)) {
        const uint32_t reserve = geometry_.has_compat(compat::kResizeInode) ? geometry_.reserved_descriptor_blocks : 0;
        const uint64_t room = uint64_t{geometry_.descriptor_blocks() + reserve} * geometry_.descriptors_per_block();
        if (geometry_.group_count == room) {
          TRY(use_meta_groups());
          continue;
        }
        if (whole.group_count > room) whole = grown_to(geometry_.first_data_block + room * geometry_.blocks_per_group);
      }
      Vector<NewGroup> fresh;
      TRY(fresh.reserve(whole.group_count - geometry_.group_count));
      for (uint32_t group = geometry_.group_count; group < whole.group_count; ++group) {
        const uint64_t at = whole.group_first_block(group) + whole.group_overhead(group);
        TRY(fresh.push_back({group, at, at + 1, at + 2, whole.group_blocks(group), 0}));
      }
      TRY(enter_groups(whole, fresh));
    }
    return {};
  });
}

Result<void> Volume::grow_last_group(uint64_t blocks) {
  return grow_alone([&]() -> Result<void> {
    TRY(check_new_size(blocks));
    const uint64_t end = geometry_.group_first_block(geometry_.group_count - 1) + geometry_.blocks_per_group;
    blocks = std::min(blocks, end);
    if (blocks == geometry_.block_count) return {};
    return extend_last_group(blocks);
  });
}

Result<void> Volume::add_group(const NewGroup& group) {
  return grow_alone([&]() -> Result<void> {
    const uint64_t first = geometry_.group_first_block(geometry_.group_count), end = first + group.blocks;
    if (group.number != geometry_.group_count || geometry_.block_count != first) return error(EINVAL);
    if (group.blocks == 0 || group.blocks > geometry_.blocks_per_group) return error(EINVAL);
    if (group.reserved_blocks > group.blocks / 5) return error(EINVAL);
    TRY(check_new_size(end));
    Geometry whole = grown_to(end);
    whole.reserved_blocks = geometry_.reserved_blocks + group.reserved_blocks;
    if (!geometry_.has_incompat(incompat::kMetaGroups) && whole.descriptor_blocks() > geometry_.descriptor_blocks() &&
        (!geometry_.has_compat(compat::kResizeInode) || geometry_.reserved_descriptor_blocks == 0))
      return error(EPERM);
    const uint64_t from = first + whole.group_overhead(group.number), table_blocks = geometry_.inodes_per_group / geometry_.inodes_per_block();
    const auto is_inside = [&](uint64_t block, uint64_t count) { return block >= from && count <= group.blocks && block <= end - count; };
    const auto meet = [](uint64_t block, uint64_t table, uint64_t count) { return block >= table && block - table < count; };
    if (!is_inside(group.block_bitmap, 1) || !is_inside(group.inode_bitmap, 1) || !is_inside(group.inode_table, table_blocks)) return error(EINVAL);
    if (group.block_bitmap == group.inode_bitmap) return error(EINVAL);
    if (meet(group.block_bitmap, group.inode_table, table_blocks) || meet(group.inode_bitmap, group.inode_table, table_blocks)) return error(EINVAL);
    return enter_groups(whole, std::span(&group, 1));
  });
}

/// The counts in the superblock, which the caller has told the journal of, and in memory.
void Volume::publish_size_locked(const Geometry& whole) {
  const Bytes raw = superblock_bytes();
  put32(raw, 0x0, whole.inode_count);
  put32(raw, 0x4, static_cast<uint32_t>(whole.block_count));
  put32(raw, 0x8, static_cast<uint32_t>(whole.reserved_blocks));
  if (whole.has_incompat(incompat::k64Bit)) {
    put32(raw, 0x150, static_cast<uint32_t>(whole.block_count >> 32));
    put32(raw, 0x154, static_cast<uint32_t>(whole.reserved_blocks >> 32));
  }
  put16(raw, 0xce, static_cast<uint16_t>(whole.reserved_descriptor_blocks));
  put32(raw, 0x248, 0);  // blocks that the filesystem takes for itself: to be counted anew
  store_count(geometry_.reserved_descriptor_blocks, whole.reserved_descriptor_blocks);
  store_count(geometry_.reserved_blocks, whole.reserved_blocks);
  store_count(geometry_.block_count, whole.block_count);
  store_count(geometry_.group_count, whole.group_count);
  store_count(geometry_.inode_count, whole.inode_count);
}

Result<void> Volume::extend_last_group(uint64_t end) {
  const uint32_t group = geometry_.group_count - 1;
  const Geometry whole = grown_to(end);
  Journal::Handle handle = TRY(begin(6));
  MutexLock lock(allocation_mutex_);
  RefPtr<Buffer> bitmap = TRY(usable_block_bitmap(handle, group));
  const uint32_t from = geometry_.group_blocks(group), to = whole.group_blocks(group);
  handle.modify(*bitmap, BufferKind::BlockBitmap, group);
  modify_descriptor(handle, group);
  handle.modify(*superblock_, BufferKind::Superblock);
  for (uint32_t bit = from; bit < to; ++bit) clear_bit(bitmap->bytes(), bit);
  GroupDescriptor d = descriptor(group);
  d.set_free_blocks(d.free_blocks() + (to - from));
  groups_[group].longest_run = UINT32_MAX;
  cache_.set_block_count(whole.block_count);
  publish_size_locked(whole);
  free_blocks_.fetch_add(to - from, std::memory_order_relaxed);
  return {};
}

Result<void> Volume::enter_groups(const Geometry& whole, std::span<const NewGroup> fresh) {
  Vector<RefPtr<Buffer>> descriptors;
  TRY(descriptors.reserve(whole.descriptor_blocks()));
  for (const RefPtr<Buffer>& buffer : *descriptors_)
    if (descriptors.size() < geometry_.descriptor_blocks()) TRY(descriptors.push_back(buffer));
  TRY(descriptors.resize(whole.descriptor_blocks()));
  {
    MutexLock lock(allocation_mutex_);
    TRY(descriptors_.publish(std::move(descriptors)));
    TRY(groups_.reserve(whole.group_count));
  }
  TRY(collect_system_ranges(whole, fresh));
  cache_.set_block_count(whole.block_count);
  for (const NewGroup& group : fresh) TRY(enter_group(group));
  return {};
}

Result<void> Volume::enter_group(const NewGroup& group) {
  const uint32_t number = group.number, index = number / geometry_.descriptors_per_block();
  const uint64_t first = geometry_.group_first_block(number);
  Geometry whole = grown_to(first + group.blocks);
  if (group.reserved_blocks != 0) whole.reserved_blocks = geometry_.reserved_blocks + group.reserved_blocks;
  const uint32_t table_blocks = geometry_.inodes_per_group / geometry_.inodes_per_block(), overhead = whole.group_overhead(number);
  const bool has_reserve = geometry_.has_compat(compat::kResizeInode) && !geometry_.has_incompat(incompat::kMetaGroups);
  const bool needs_copies = has_reserve && whole.group_has_superblock(number) && whole.reserved_descriptor_blocks != 0;
  // Blocks that belong to nobody yet: what is written here counts only once the transaction is there.
  const uint32_t bits = geometry_.block_bits;
  if (overhead != 0) TRY(device_->write_zeroes(first << bits, uint64_t{overhead} << bits));
  TRY(device_->write_zeroes(group.inode_table << bits, uint64_t{table_blocks} << bits));

  Journal::Handle handle = TRY(begin(12 + (needs_copies ? whole.reserved_descriptor_blocks : 0)));
  RefPtr<Buffer> block_bitmap = TRY(cache_.make(group.block_bitmap, BufferKind::BlockBitmap, number));
  RefPtr<Buffer> inode_bitmap = TRY(cache_.make(group.inode_bitmap, BufferKind::InodeBitmap, number));
  RefPtr<Buffer> descriptors = (*descriptors_)[index];
  if (!descriptors && !has_reserve) descriptors = TRY(cache_.make(geometry_.descriptor_block(index), BufferKind::Descriptors, index));
  if (has_reserve && (!descriptors || needs_copies)) {
    ResizeInode inode = TRY(load_resize_inode(handle));
    if (!descriptors) descriptors = TRY(use_reserved_block(handle, inode, index));
    if (needs_copies) TRY(reserve_copies(handle, inode, number, whole.descriptor_blocks(), whole.reserved_descriptor_blocks));
    inode.record(geometry_).seal(geometry_, kResizeInode);
  }

  MutexLock lock(allocation_mutex_);
  TRY(groups_.resize(number + 1));
  handle.modify(*superblock_, BufferKind::Superblock);
  handle.modify(*descriptors, BufferKind::Descriptors, index);
  handle.modify(*block_bitmap, BufferKind::BlockBitmap, number);
  handle.modify(*inode_bitmap, BufferKind::InodeBitmap, number);
  // Nobody looks at the entry before the counts reach it.
  const_cast<RefPtr<Buffer>&>((*descriptors_)[index]) = std::move(descriptors);
  const auto mark = [&](uint64_t block, uint32_t count) { mark_range(block_bitmap->bytes(), static_cast<uint32_t>(block - first), count); };
  mark(first, overhead);
  mark(group.block_bitmap, 1);
  mark(group.inode_bitmap, 1);
  mark(group.inode_table, table_blocks);
  mark_range(block_bitmap->bytes(), group.blocks, 8 * geometry_.block_size - group.blocks);
  mark_range(inode_bitmap->bytes(), geometry_.inodes_per_group, 8 * geometry_.block_size - geometry_.inodes_per_group);
  const uint32_t free = group.blocks - overhead - 2 - table_blocks;
  GroupDescriptor d = descriptor(number);
  d.set_block_bitmap(group.block_bitmap);
  d.set_inode_bitmap(group.inode_bitmap);
  d.set_inode_table(group.inode_table);
  d.set_free_blocks(free);
  d.set_free_inodes(geometry_.inodes_per_group);
  if (geometry_.has_group_checksums()) {
    d.set_flags(group_flags::kTableZeroed);
    d.set_unused_inodes(geometry_.inodes_per_group);
  }
  publish_size_locked(whole);
  free_blocks_.fetch_add(free, std::memory_order_relaxed);
  free_inodes_.fetch_add(geometry_.inodes_per_group, std::memory_order_relaxed);
  return {};
}

Result<Volume::ResizeInode> Volume::load_resize_inode(Journal::Handle& handle) {
  ResizeInode inode{TRY(inode_place(kResizeInode)), nullptr};
  const uint32_t map = get32(inode.record(geometry_).block_map(), kDoublyIndirect);
  if (!may_be_file_blocks(map, 1)) return damaged("resize inode", kResizeInode, map);
  inode.map = TRY(cache_.read(map, BufferKind::Plain));
  handle.modify(*inode.place.buffer, BufferKind::InodeTable);
  return inode;
}

/// A reserved block becomes one of descriptors, as its copies do.
Result<RefPtr<Buffer>> Volume::use_reserved_block(Journal::Handle& handle, ResizeInode& inode, uint32_t index) {
  const uint64_t block = geometry_.descriptor_block(index);
  const uint32_t pointers = geometry_.block_size / 4;
  if (get32(inode.map->bytes(), 4 * (index % pointers)) != block) return damaged("reserved descriptor block", kResizeInode, block);
  uint32_t copies = 0;
  for (uint32_t group = 1; group < geometry_.group_count; ++group) copies += geometry_.group_has_superblock(group);
  InodeRecord record = inode.record(geometry_);
  const uint64_t sectors = uint64_t{copies + 1} * (geometry_.block_size / 512);
  if (record.sectors(geometry_) < sectors) return damaged("size of the resize inode", kResizeInode);
  RefPtr<Buffer> fresh = TRY(cache_.make(block, BufferKind::Descriptors, index));
  handle.modify(*fresh, BufferKind::Descriptors, index);
  handle.modify(*inode.map, BufferKind::Plain);
  put32(inode.map->bytes(), 4 * (index % pointers), 0);
  (void)record.set_sectors(geometry_, record.sectors(geometry_) - sectors);
  return fresh;
}

/// A new group begins with copies: those of the `count` reserved blocks from the descriptor block `first` on are entered behind the others.
Result<void> Volume::reserve_copies(Journal::Handle& handle, ResizeInode& inode, uint32_t group, uint32_t first, uint32_t count) {
  uint32_t copies = 0;
  for (uint32_t other = 1; other < group; ++other) copies += geometry_.group_has_superblock(other);
  if (copies >= geometry_.block_size / 4) return error(EPERM);
  const uint64_t distance = uint64_t{group} * geometry_.blocks_per_group;
  Vector<RefPtr<Buffer>> lists;
  TRY(lists.reserve(count));
  for (uint32_t index = first; index < first + count; ++index) {
    const uint64_t block = uint64_t{geometry_.first_data_block} + 1 + index;
    if (get32(inode.map->bytes(), 4 * (index % (geometry_.block_size / 4))) != block) return damaged("reserved descriptor block", kResizeInode, block);
    if (block + distance > UINT32_MAX) return error(EPERM);
    TRY(lists.push_back(TRY(cache_.read(block, BufferKind::Plain))));
  }
  for (const RefPtr<Buffer>& list : lists) {
    handle.modify(*list, BufferKind::Plain);
    put32(list->bytes(), 4 * copies, static_cast<uint32_t>(list->block() + distance));
  }
  InodeRecord record = inode.record(geometry_);
  (void)record.set_sectors(geometry_, record.sectors(geometry_) + uint64_t{count} * (geometry_.block_size / 512));
  return {};
}

/// From the next block of descriptors on they lie in the groups they describe. There is no reserve left.
Result<void> Volume::use_meta_groups() {
  if (geometry_.reserved_descriptor_blocks != 0) return error(EPERM);
  const uint32_t first = geometry_.descriptor_blocks();
  Journal::Handle handle = TRY(begin(10));
  if (geometry_.has_compat(compat::kResizeInode)) {
    const ResizeInode inode = TRY(load_resize_inode(handle));
    InodeRecord record = inode.record(geometry_);
    TRY(free_blocks(handle, inode.map->block(), 1, true));
    fill_zero(record.block_map());
    (void)record.set_sectors(geometry_, 0);
    record.set_size(0);
    record.seal(geometry_, kResizeInode);
  }
  MutexLock lock(allocation_mutex_);
  handle.modify(*superblock_, BufferKind::Superblock);
  const Bytes raw = superblock_bytes();
  set_feature(raw, FeatureSet::Compatible, compat::kResizeInode, false);
  set_feature(raw, FeatureSet::Incompatible, incompat::kMetaGroups, true);
  put32(raw, 0x104, first);
  geometry_.first_meta_group = first;
  geometry_.compat &= ~compat::kResizeInode;
  geometry_.incompat |= incompat::kMetaGroups;
  return {};
}

/// The copies of superblock and descriptors: all superblocks, and the descriptors from this block of them on. Nothing but e2fsck(8) on a damaged
/// filesystem reads them, so a failure is told and no more.
void Volume::write_backups(uint32_t first_index) {
  const uint32_t bits = geometry_.block_bits, in_block = geometry_.descriptors_per_block();
  const auto write_all = [&]() -> Result<void> {
    Vector<std::byte> copy;
    TRY(copy.resize(geometry_.block_size));
    const auto take = [&](uint32_t index) {
      MutexLock lock(allocation_mutex_);
      copy_bytes(copy, (*descriptors_)[index]->bytes());
      for (uint32_t i = 0; i < in_block && index * in_block + i < geometry_.group_count; ++i)
        GroupDescriptor(Bytes(copy).subspan(size_t{i} * geometry_.descriptor_size, geometry_.descriptor_size)).seal(geometry_, index * in_block + i);
    };
    const bool has_meta_groups = geometry_.has_incompat(incompat::kMetaGroups);
    const uint32_t indices = has_meta_groups ? std::min(geometry_.first_meta_group, geometry_.descriptor_blocks()) : geometry_.descriptor_blocks();
    for (uint32_t index = first_index; index < geometry_.descriptor_blocks(); ++index) {
      take(index);
      if (index < indices) {
        // Groups that have descriptors of their own hold no others.
        const uint64_t groups = has_meta_groups ? uint64_t{indices} * in_block : geometry_.group_count;
        for (uint32_t group = 1; group < groups && group < geometry_.group_count; ++group) {
          if (!geometry_.group_has_superblock(group)) continue;
          TRY(device_->write((geometry_.group_first_block(group) + 1 + index) << bits, ConstBytes(copy.data(), copy.size())));
        }
        continue;
      }
      for (const uint32_t group : {index * in_block + 1, index * in_block + in_block - 1}) {
        if (group >= geometry_.group_count) continue;
        const uint64_t block = geometry_.group_first_block(group) + (geometry_.group_has_superblock(group) ? 1 : 0);
        TRY(device_->write(block << bits, ConstBytes(copy.data(), copy.size())));
      }
    }
    for (uint32_t group = 1; group < geometry_.group_count; ++group) {
      if (!geometry_.group_has_superblock(group)) continue;
      const Bytes superblock = Bytes(copy).first(kSuperblockSize);
      {
        MutexLock lock(allocation_mutex_);
        copy_bytes(superblock, superblock_bytes());
      }
      put16(superblock, 0x5a, static_cast<uint16_t>(group));
      // Who falls back to a copy has no use for the journal's state of now.
      set_feature(superblock, FeatureSet::Incompatible, incompat::kRecover, false);
      seal_superblock(superblock);
      TRY(device_->write(geometry_.group_first_block(group) << bits, ConstBytes(superblock)));
    }
    return device_->flush();
  };
  const Result<void> written = write_all();
  if (!written.ok()) log_limited(log_limit, "ext4", LogLevel::Warning, "ext4: {}: copies of the superblock were not brought up to date, errno {}", device_->name(), written.code());
}

}  // namespace umk::ext4

// Which blocks are free, and who gets them.
//
// A wish is for a number of blocks near a goal: behind the file's last block, or in the group of its inode. First the groups are searched, from the goal's
// on, for a run that is long enough, then for the longest that there is. `longest_run` lets groups be passed over that were searched in vain.
#include <algorithm>

#include "core/base/log.h"
#include "core/fs/ext4/volume.h"
#include "core/kernel/task/task.h"
#include "core/kernel/time/log_limit.h"

namespace umk::ext4 {

namespace {
// Whoever mounts, or uses what is damaged, in a loop must not flood the log.
constinit LogLimit log_limit;
}  // namespace

namespace {

/// The longest run of clear bits at or after `from`, at most `wanted`; the first one that has `wanted`.
struct BitRun {
  uint32_t first = 0, count = 0;
};

BitRun find_run(ConstBytes taken, ConstBytes pending, uint32_t from, uint32_t end, uint32_t wanted) {
  BitRun best;
  for (uint32_t bit = from; bit < end;) {
    bit = next_clear_bit(taken, bit, end);
    if (!pending.empty() && bit < end && test_bit(pending, bit)) {
      bit = next_clear_bit(pending, bit, end);
      continue;
    }
    if (bit >= end) break;
    uint32_t stop = next_set_bit(taken, bit, end);
    if (!pending.empty()) stop = next_set_bit(pending, bit, stop);
    if (stop - bit > best.count) best = {bit, stop - bit};
    if (best.count >= wanted) break;
    bit = stop;
  }
  return best;
}

}  // namespace

bool Volume::may_be_file_blocks(uint64_t block, uint64_t count) const {
  if (block <= geometry_.first_data_block || block >= geometry_.block_count || count > geometry_.block_count - block) return false;
  // The first range that ends behind the block must begin behind its end.
  const Vector<SystemRange>& ranges = *system_ranges_;
  const auto found = std::upper_bound(ranges.begin(), ranges.end(), block, [](uint64_t wanted, const SystemRange& range) { return wanted < range.end; });
  return found == ranges.end() || found->first >= block + count;
}

uint64_t Volume::goal_for(uint32_t inode) const {
  const uint32_t group = (inode - 1) / geometry_.inodes_per_group;
  return geometry_.group_first_block(group < geometry_.group_count ? group : 0);
}

/// ext4(5), resuid and resgid; the kernel's own threads only write what was promised.
bool Volume::may_use_reserve() const {
  const Task* task = Task::current_or_null();
  if (!task) return true;
  const Credentials& who = task->credentials();
  return who.fsuid == options_.reserved_uid || (options_.reserved_gid != 0 && (who.fsgid == options_.reserved_gid || who.in_group(options_.reserved_gid))) ||
         who.has(Capability::SysResource);
}

uint64_t Volume::allowance(uint64_t wanted) const {
  const int64_t free = free_blocks_.load(std::memory_order_relaxed) - promised_blocks_.load(std::memory_order_relaxed);
  const int64_t reserved = static_cast<int64_t>(geometry_.reserved_blocks);
  if (free - reserved >= static_cast<int64_t>(wanted)) return wanted;
  const int64_t left = may_use_reserve() ? free : free - reserved;
  return left <= 0 ? 0 : std::min(static_cast<uint64_t>(left), wanted);
}

Result<void> Volume::promise_blocks(uint64_t count) {
  // Some are kept for the metadata that leads to the promised ones.
  const int64_t wanted = static_cast<int64_t>(count), spare = static_cast<int64_t>(count / 64) + 24;
  const int64_t promised = promised_blocks_.fetch_add(wanted, std::memory_order_relaxed);
  const int64_t left = free_blocks_.load(std::memory_order_relaxed) - promised - (wanted + spare);
  if (left >= static_cast<int64_t>(geometry_.reserved_blocks) || (left >= 0 && may_use_reserve())) return {};
  promised_blocks_.fetch_sub(wanted, std::memory_order_relaxed);
  return error(ENOSPC);
}

Result<RefPtr<Buffer>> Volume::block_bitmap(uint32_t group) {
  Result<RefPtr<Buffer>> bitmap = cache_.read(descriptor(group).block_bitmap(), BufferKind::BlockBitmap, group);
  if (!bitmap.ok() && bitmap.code() == EUCLEAN) log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: the block bitmap of group {} is damaged", device_->name(), group);
  return bitmap;
}

/// The bitmap, ready to be changed; made when the group was never used.
Result<RefPtr<Buffer>> Volume::usable_block_bitmap(Journal::Handle& handle, uint32_t group) {
  GroupDescriptor d = descriptor(group);
  if (!geometry_.has_group_checksums() || !(d.flags() & group_flags::kBlocksUninitialised)) return block_bitmap(group);
  RefPtr<Buffer> bitmap = TRY(cache_.make(d.block_bitmap(), BufferKind::BlockBitmap, group));
  const Bytes bits = bitmap->bytes();
  const uint64_t first = geometry_.group_first_block(group), end = first + geometry_.group_blocks(group);
  mark_range(bits, 0, geometry_.group_overhead(group));
  const auto mark_inside = [&](uint64_t block, uint64_t count) {
    for (; count != 0; ++block, --count)
      if (block >= first && block < end) set_bit(bits, static_cast<uint32_t>(block - first));
  };
  mark_inside(d.block_bitmap(), 1);
  mark_inside(d.inode_bitmap(), 1);
  mark_inside(d.inode_table(), geometry_.inodes_per_group / geometry_.inodes_per_block());
  mark_range(bits, static_cast<uint32_t>(end - first), 8 * geometry_.block_size - static_cast<uint32_t>(end - first));
  handle.modify(*bitmap, BufferKind::BlockBitmap, group);
  modify_descriptor(handle, group);
  d.set_flags(static_cast<uint16_t>(d.flags() & ~group_flags::kBlocksUninitialised));
  return bitmap;
}

Result<std::optional<Volume::Run>> Volume::take_from_group(Journal::Handle& handle, uint32_t group, uint32_t goal_bit, uint32_t wanted, bool take_less) {
  Group& state = groups_[group];
  GroupDescriptor d = descriptor(group);
  const uint32_t free = d.free_blocks();
  if (free <= state.pending_count || state.longest_run == 0) return std::optional<Run>{};
  if (!take_less && (free - state.pending_count < wanted || state.longest_run < wanted)) return std::optional<Run>{};
  RefPtr<Buffer> bitmap = TRY(usable_block_bitmap(handle, group));
  const uint32_t end = geometry_.group_blocks(group);
  const ConstBytes pending(state.pending.data(), state.pending.size());
  BitRun run = find_run(bitmap->bytes(), pending, goal_bit, end, wanted);
  if (run.count < wanted && goal_bit != 0) {
    const BitRun other = find_run(bitmap->bytes(), pending, 0, end, wanted);
    if (other.count > run.count) run = other;
  }
  if (run.count < wanted) {
    state.longest_run = run.count;
    if (!take_less || run.count == 0) return std::optional<Run>{};
  }
  const uint32_t count = run.count < wanted ? run.count : wanted;
  const uint64_t first = geometry_.group_first_block(group) + run.first;
  if (!may_be_file_blocks(first, count)) return damaged("block bitmap of a group: metadata marked as free", 0, first);
  if (free < count) return damaged("free block count of a group", 0, first);
  handle.modify(*bitmap, BufferKind::BlockBitmap, group);
  modify_descriptor(handle, group);
  mark_range(bitmap->bytes(), run.first, count);
  d.set_free_blocks(free - count);
  free_blocks_.fetch_sub(count, std::memory_order_relaxed);
  return std::optional<Run>(Run{first, count});
}

Result<Volume::Run> Volume::allocate_blocks(Journal::Handle& handle, uint64_t goal, uint32_t wanted) {
  if (goal < geometry_.first_data_block || goal >= geometry_.block_count) goal = geometry_.first_data_block;
  const uint32_t goal_group = geometry_.group_of_block(goal);
  const uint32_t goal_bit = static_cast<uint32_t>(goal - geometry_.group_first_block(goal_group));
  if (wanted > geometry_.blocks_per_group / 2) wanted = geometry_.blocks_per_group / 2;
  MutexLock lock(allocation_mutex_);
  {
    // Right behind the goal is best even if it is less than wanted, as long as it is not next to nothing.
    GroupDescriptor d = descriptor(goal_group);
    Group& state = groups_[goal_group];
    if (goal_bit != 0 && d.free_blocks() > state.pending_count && !(d.flags() & group_flags::kBlocksUninitialised && geometry_.has_group_checksums())) {
      RefPtr<Buffer> bitmap = TRY(block_bitmap(goal_group));
      const ConstBytes pending(state.pending.data(), state.pending.size());
      const uint32_t end = geometry_.group_blocks(goal_group);
      uint32_t stop = next_set_bit(bitmap->bytes(), goal_bit, end);
      if (!pending.empty()) stop = next_set_bit(pending, goal_bit, stop);
      const uint32_t there = stop - goal_bit;
      if (there != 0 && (there >= wanted || there >= 64)) {
        const uint32_t count = there < wanted ? there : wanted;
        if (!may_be_file_blocks(goal, count)) return damaged("block bitmap of a group: metadata marked as free", 0, goal);
        if (d.free_blocks() < count) return damaged("free block count of a group", 0, goal);
        handle.modify(*bitmap, BufferKind::BlockBitmap, goal_group);
        modify_descriptor(handle, goal_group);
        mark_range(bitmap->bytes(), goal_bit, count);
        d.set_free_blocks(d.free_blocks() - count);
        free_blocks_.fetch_sub(count, std::memory_order_relaxed);
        return Run{goal, count};
      }
    }
  }
  for (const bool take_less : {false, true}) {
    // Of what is less than wanted, the first group with something must do: all were searched for more.
    for (uint32_t i = 0; i < geometry_.group_count; ++i) {
      const uint32_t group = (goal_group + i) % geometry_.group_count;
      Result<std::optional<Run>> run = take_from_group(handle, group, i == 0 ? goal_bit : 0, wanted, take_less);
      if (!run.ok()) {
        // A damaged bitmap makes its group useless, not the others.
        if (run.code() != EUCLEAN || is_read_only()) return run.failure();
        groups_[group].longest_run = 0;
        continue;
      }
      if (run.value()) return *run.value();
    }
    if (wanted == 1) break;
  }
  return error(ENOSPC);
}

Result<void> Volume::free_blocks(Journal::Handle& handle, uint64_t block, uint64_t count, bool is_metadata) {
  if (!may_be_file_blocks(block, count)) return damaged("freed blocks that no file can have", 0, block);
  if (is_metadata)
    for (uint64_t i = 0; i < count; ++i) TRY(handle.forget(block + i));
  MutexLock lock(allocation_mutex_);
  while (count != 0) {
    const uint32_t group = geometry_.group_of_block(block);
    const uint32_t first = static_cast<uint32_t>(block - geometry_.group_first_block(group));
    const uint32_t here = static_cast<uint32_t>(std::min<uint64_t>(count, geometry_.group_blocks(group) - first));
    RefPtr<Buffer> bitmap = TRY(usable_block_bitmap(handle, group));
    Group& state = groups_[group];
    if (next_clear_bit(bitmap->bytes(), first, first + here) != first + here) return damaged("blocks that are freed twice", 0, block);
    if (state.pending.empty()) {
      TRY(state.pending.resize(geometry_.block_size));
      fill_zero(Bytes(state.pending.data(), state.pending.size()));
    }
    TRY(handle.note_freed({block, here}));
    handle.modify(*bitmap, BufferKind::BlockBitmap, group);
    modify_descriptor(handle, group);
    for (uint32_t i = 0; i < here; ++i) clear_bit(bitmap->bytes(), first + i);
    mark_range(Bytes(state.pending.data(), state.pending.size()), first, here);
    state.pending_count += here;
    GroupDescriptor d = descriptor(group);
    d.set_free_blocks(std::min(d.free_blocks() + here, geometry_.blocks_per_group));
    free_blocks_.fetch_add(here, std::memory_order_relaxed);
    block += here;
    count -= here;
  }
  return {};
}

void Volume::on_committed(std::span<const FreedRun> freed) {
  {
    MutexLock lock(allocation_mutex_);
    for (const FreedRun& run : freed) {
      const uint32_t group = geometry_.group_of_block(run.block);
      Group& state = groups_[group];
      const uint32_t first = static_cast<uint32_t>(run.block - geometry_.group_first_block(group));
      for (uint32_t i = 0; i < run.count; ++i) clear_bit(Bytes(state.pending.data(), state.pending.size()), first + i);
      state.pending_count -= run.count;
      state.longest_run = UINT32_MAX;
      if (state.pending_count == 0) state.pending = Vector<std::byte>();
    }
  }
  if (!options_.discard) return;
  for (const FreedRun& run : freed) (void)device_->discard(run.block << geometry_.block_bits, uint64_t{run.count} << geometry_.block_bits).ok();
}

/// Tells the device which free blocks in a range of bytes need not be kept: FITRIM. Returns how many bytes that were.
Result<uint64_t> Volume::trim(uint64_t first_byte, uint64_t bytes, uint64_t minimum_bytes) {
  if (is_read_only()) return error(EROFS);
  if (device_->discard_bytes() == 0) return error(EOPNOTSUPP);
  const uint64_t first = first_byte >> geometry_.block_bits;
  if (first >= geometry_.block_count || bytes < geometry_.block_size) return error(EINVAL);
  const uint64_t count = bytes >> geometry_.block_bits;
  const uint64_t end = count > geometry_.block_count - first ? geometry_.block_count : first + count;
  const uint64_t minimum = std::max<uint64_t>(minimum_bytes >> geometry_.block_bits, 1);
  if (minimum > geometry_.blocks_per_group) return error(EINVAL);
  // What was freed lately counts as free once it is committed.
  TRY(journal_.commit_all());
  uint64_t trimmed = 0;
  for (uint32_t group = 0; group < geometry_.group_count; ++group) {
    const uint64_t group_first = geometry_.group_first_block(group), group_end = group_first + geometry_.group_blocks(group);
    if (group_end <= first || group_first >= end) continue;
    // Nobody gets a block of the group meanwhile.
    MutexLock lock(allocation_mutex_);
    if (geometry_.has_group_checksums() && (descriptor(group).flags() & group_flags::kBlocksUninitialised)) continue;
    RefPtr<Buffer> bitmap = TRY(block_bitmap(group));
    const ConstBytes pending(groups_[group].pending.data(), groups_[group].pending.size());
    const uint32_t stop = static_cast<uint32_t>(std::min(end, group_end) - group_first);
    for (uint32_t bit = first > group_first ? static_cast<uint32_t>(first - group_first) : 0; bit < stop;) {
      const BitRun run = find_run(bitmap->bytes(), pending, bit, stop, 1);
      if (run.count == 0) break;
      bit = run.first + run.count;
      if (run.count < minimum) continue;
      TRY(device_->discard((group_first + run.first) << geometry_.block_bits, uint64_t{run.count} << geometry_.block_bits));
      trimmed += run.count;
    }
  }
  return trimmed << geometry_.block_bits;
}

}  // namespace umk::ext4

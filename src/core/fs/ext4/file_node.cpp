#include "core/fs/ext4/file_node.h"

#include <algorithm>

#include "core/kernel/mm/address_space.h"

namespace umk::ext4 {

using vfs::FallocateMode;

// --- promises

uint64_t FileNode::Promises::missing(uint64_t first, uint64_t end) const {
  uint64_t covered = 0;
  for (const Range* range = std::lower_bound(ranges_.begin(), ranges_.end(), first, [](const Range& r, uint64_t wanted) { return r.end <= wanted; });
       range != ranges_.end() && range->first < end; ++range)
    covered += std::min(range->end, end) - std::max(range->first, first);
  return end - first - covered;
}

Result<void> FileNode::Promises::add(uint64_t first, uint64_t end) {
  const uint64_t fresh = missing(first, end);
  // Everything that touches the new range becomes one with it.
  Range* range = std::lower_bound(ranges_.begin(), ranges_.end(), first, [](const Range& r, uint64_t wanted) { return r.end < wanted; });
  const size_t at = static_cast<size_t>(range - ranges_.begin());
  if (at == ranges_.size() || ranges_[at].first > end) {
    TRY(ranges_.insert(at, {first, end}));
  } else {
    ranges_[at].first = std::min(ranges_[at].first, first);
    ranges_[at].end = std::max(ranges_[at].end, end);
    while (at + 1 < ranges_.size() && ranges_[at + 1].first <= ranges_[at].end) {
      ranges_[at].end = std::max(ranges_[at].end, ranges_[at + 1].end);
      ranges_.erase(at + 1);
    }
  }
  count_ += fresh;
  return {};
}

uint64_t FileNode::Promises::remove(uint64_t first, uint64_t end) {
  uint64_t removed = 0;
  size_t i = static_cast<size_t>(std::lower_bound(ranges_.begin(), ranges_.end(), first, [](const Range& r, uint64_t wanted) { return r.end <= wanted; }) - ranges_.begin());
  while (i < ranges_.size() && ranges_[i].first < end) {
    Range& range = ranges_[i];
    const uint64_t from = std::max(range.first, first), to = std::min(range.end, end);
    if (range.first < from && to < range.end) {
      const Range rest{to, range.end};
      // Without memory for the second half its blocks are promised no more; they are allocated when they are written, if there is room.
      const uint64_t old_end = range.end;
      range.end = from;
      removed += ranges_.insert(i + 1, rest).ok() ? to - from : old_end - from;
      break;
    }
    removed += to - from;
    if (range.first < from) {
      range.end = from;
      ++i;
    } else if (to < range.end) {
      range.first = to;
      break;
    } else {
      ranges_.erase(i);
    }
  }
  count_ -= removed;
  return removed;
}

uint64_t FileNode::Promises::next(uint64_t block) const {
  const Range* range = std::lower_bound(ranges_.begin(), ranges_.end(), block, [](const Range& r, uint64_t wanted) { return r.end <= wanted; });
  return range == ranges_.end() ? UINT64_MAX : std::max(range->first, block);
}

// --- the file

FileNode::FileNode(Volume& volume, uint32_t number, uint32_t mode, UserId uid, GroupId gid, vfs::DeviceNumber device, Vector<std::byte> record)
    : Node(volume, number, mode, uid, gid, device, std::move(record)), cached_(volume.page_cache(), volume.write_back_group(), *this) {}

Result<vfs::Metadata> FileNode::metadata() {
  vfs::Metadata data = TRY(Node::metadata());
  MutexLock lock(map_mutex_);
  data.blocks += promises_.count() << (block_bits() - 9);
  return data;
}

Result<size_t> FileNode::read_at(uint64_t offset, UserOutBuffer& buffer) {
  const uint64_t size = size_bytes();
  if (offset >= size) return size_t{0};
  if (buffer.remaining() > size - offset) buffer.limit(size - offset);
  const size_t count = TRY(cached_.read(offset, buffer));
  if (!(flags() & inode_flags::kNoAccessTime)) touch_access_time();
  return count;
}

Result<size_t> FileNode::read_direct(uint64_t offset, UserOutBuffer& buffer) {
  if (journals_data()) return read_at(offset, buffer);
  const size_t count = TRY(cached_.read_direct(offset, buffer));
  if (!(flags() & inode_flags::kNoAccessTime)) touch_access_time();
  return count;
}

Result<size_t> FileNode::write(uint64_t& offset, UserInBuffer& buffer, bool append, Way way) {
  if (volume().is_read_only()) return error(EROFS);
  if (buffer.remaining() == 0) return size_t{0};
  size_t count;
  bool is_journaled;
  {
    MutexLock lock(data_mutex_);
    is_journaled = journals_data();
    if (is_journaled) way = Way::Cached;
    const uint64_t size = size_bytes();
    if (append) offset = size;
    if (offset >= maximum_size()) return error(EFBIG);
    buffer.limit(maximum_size() - offset);
    if (offset > size) cached_.extend(size, offset);
    const mm::CachedFile::Extending extending(cached_, size);
    count = TRY(way == Way::Direct ? cached_.write_direct(offset, buffer) : cached_.write(offset, buffer));
    if (offset + count > size) size_bytes_.store(offset + count, std::memory_order_release);
  }
  // What did not go past the cache goes to the disk now; what is journaled into the running transaction.
  if (way == Way::Direct || is_journaled) cached_.sync(offset, offset + count);
  if (way == Way::Direct && count != 0) (void)cached_.invalidate(offset >> kPageShift, ((offset + count - 1) >> kPageShift) - (offset >> kPageShift) + 1);
  touch_modify_and_change_time();
  contents_changed();
  volume().page_cache().throttle();
  return count;
}

void FileNode::discard_data() {
  contents_changed();
  cached_.discard();
}

// --- storage

Result<void> FileNode::reserve(uint64_t first_page, uint64_t count) {
  if (volume().is_read_only()) return error(EROFS);
  const uint32_t shift = kPageShift - block_bits();
  const uint64_t end = (first_page + count) << shift;
  for (bool has_retried = false;; has_retried = true) {
    Result<void> outcome;
    {
      MutexLock lock(map_mutex_);
      for (uint64_t block = first_page << shift; block < end && outcome.ok();) {
        if (block >= UINT32_MAX) return error(EFBIG);
        const Mapping mapping = TRY(map_locked(static_cast<uint32_t>(block), static_cast<uint32_t>(end - block)));
        const uint64_t stop = block + mapping.count;
        if (mapping.is_hole()) {
          const uint64_t fresh = promises_.missing(block, stop);
          if (fresh != 0) outcome = volume().promise_blocks(fresh);
          if (outcome.ok() && fresh != 0) {
            const Result<void> added = promises_.add(block, stop);
            if (!added.ok()) {
              volume().drop_promise(fresh);
              outcome = added.failure();
            }
          }
        }
        block = stop;
      }
    }
    if (outcome.ok() || outcome.code() != ENOSPC || has_retried || !volume().journal().has_changes()) return outcome;
    TRY(volume().journal().commit_all());
  }
}

void FileNode::release(uint64_t first_page, uint64_t count) {
  const uint32_t shift = kPageShift - block_bits();
  const uint64_t end = count > (UINT64_MAX >> kPageShift) - first_page ? UINT64_MAX >> shift : (first_page + count) << shift;
  MutexLock lock(map_mutex_);
  volume().drop_promise(promises_.remove(first_page << shift, end));
}

bool FileNode::is_hole(uint64_t page) {
  const uint32_t shift = kPageShift - block_bits();
  MutexLock lock(map_mutex_);
  for (uint64_t block = page << shift; block < (page + 1) << shift; ++block) {
    if (block >= UINT32_MAX) return true;
    Result<Mapping> mapping = map_locked(static_cast<uint32_t>(block), 1);
    if (!mapping.ok() || !mapping.value().is_hole() || promises_.contains(block)) return false;
  }
  return true;
}

// --- size

Result<void> FileNode::drop_beyond_end() {
  TRY(remove_blocks(static_cast<uint32_t>(block_up(size_bytes())), uint64_t{UINT32_MAX} + 1));
  return {};
}

Result<void> FileNode::resize(uint64_t size) {
  if (size > maximum_size()) return error(EFBIG);
  const uint64_t old = size_bytes();
  if (size >= old) {
    if (size == old) return {};
    cached_.extend(old, size);
    Journal::Handle handle = TRY(volume().begin(3));
    size_bytes_.store(size, std::memory_order_release);
    MutexLock lock(map_mutex_);
    return grow_size_on_disk_locked(handle, size);
  }
  {
    Journal::Handle handle = TRY(volume().begin(6));
    // With many blocks the truncation takes several transactions; a crash between them is made good by the next mount.
    TRY(volume().add_orphan(handle, *this));
    MutexLock lock(map_mutex_);
    // Also when the disk has heard of less: the pages that would have told it may be dropped below.
    record().set_size(size);
    TRY(store_record_locked(handle));
  }
  Result<void> outcome;
  {
    mm::CachedFile::NoFills no_fills(cached_);
    size_bytes_.store(size, std::memory_order_release);
    outcome = cached_.truncate(size);
    const Result<void> removed = remove_blocks(static_cast<uint32_t>(block_up(size)), uint64_t{UINT32_MAX} + 1);
    if (outcome.ok()) outcome = removed;
  }
  if (links() != 0) {
    Journal::Handle handle = TRY(volume().begin(4));
    TRY(volume().remove_orphan(handle, *this));
  }
  return outcome;
}

Result<void> FileNode::change(const vfs::MetadataChange& wanted) {
  vfs::MetadataChange rest = wanted;
  rest.size_bytes.reset();
  if (wanted.size_bytes) {
    if (volume().is_read_only()) return error(EROFS);
    if (is_frozen()) return error(EPERM);
    bool shrinks;
    {
      MutexLock lock(data_mutex_);
      shrinks = *wanted.size_bytes < size_bytes();
      TRY(resize(*wanted.size_bytes));
    }
    // After the lock: page faults of those who map the file wait for this.
    if (shrinks) mm::unmap_beyond(*this, *wanted.size_bytes);
    contents_changed();
    touch_modify_and_change_time();
    TRY(store_if_changed());
    if (!rest.permissions && !rest.uid && !rest.gid && !rest.access_time && !rest.modify_time) return {};
  }
  return Node::change(rest);
}

// --- fallocate, holes

/// Gives blocks to holes, which go on to read as zeroes.
Result<void> FileNode::allocate_range(uint64_t first, uint64_t end) {
  bool has_retried = false;
  for (uint64_t block = first; block < end;) {
    Result<uint64_t> next = [&]() -> Result<uint64_t> {
      Journal::Handle handle = TRY(volume().begin(kMapCredits));
      MutexLock lock(map_mutex_);
      const Mapping mapping = TRY(map_locked(static_cast<uint32_t>(block), static_cast<uint32_t>(end - block)));
      if (!mapping.is_hole()) return block + mapping.count;
      uint32_t wanted = std::min<uint32_t>(mapping.count, kUninitialisedExtentMaximum);
      if (const uint64_t fresh = promises_.missing(block, block + wanted)) {
        const uint64_t allowed = volume().allowance(fresh);
        if (allowed == 0) return error(ENOSPC);
        if (allowed < fresh) wanted = static_cast<uint32_t>(allowed);
      }
      const Volume::Run run = TRY(volume().allocate_blocks(handle, goal_locked(static_cast<uint32_t>(block)), wanted));
      const Result<void> inserted = insert_locked(handle, {static_cast<uint32_t>(block), run.count, run.block, false});
      if (!inserted.ok()) {
        add_sectors_locked(-static_cast<int64_t>(run.count));
        const Result<void> freed = volume().free_blocks(handle, run.block, run.count, false);
        return freed.ok() ? inserted.failure() : volume().failed_midway(freed.failure());
      }
      volume().drop_promise(promises_.remove(block, block + run.count));
      return block + run.count;
    }();
    if (next.ok()) {
      block = next.value();
      has_retried = false;
      continue;
    }
    if (next.code() != ENOSPC || has_retried) return next.failure();
    has_retried = true;
    TRY(volume().journal().commit_all());
  }
  return {};
}

Result<void> FileNode::allocate(uint32_t mode, uint64_t offset, uint64_t length) {
  constexpr auto kKeepSize = static_cast<uint32_t>(FallocateMode::KeepSize), kPunchHole = static_cast<uint32_t>(FallocateMode::PunchHole),
                 kZeroRange = static_cast<uint32_t>(FallocateMode::ZeroRange), kCollapse = static_cast<uint32_t>(FallocateMode::CollapseRange),
                 kInsert = static_cast<uint32_t>(FallocateMode::InsertRange);
  if (mode & ~(kKeepSize | kPunchHole | kZeroRange | kCollapse | kInsert)) return error(EOPNOTSUPP);
  if (volume().is_read_only()) return error(EROFS);
  if (flags() & inode_flags::kImmutable) return error(EPERM);
  if ((flags() & inode_flags::kAppend) && (mode & ~kKeepSize)) return error(EPERM);
  if (!uses_extents() && !(mode & kPunchHole)) return error(EOPNOTSUPP);
  const uint64_t end = offset + length;
  if (end > maximum_size()) return error(EFBIG);
  if (mode & (kCollapse | kInsert)) return shift(mode & kCollapse ? Shift::Collapse : Shift::Insert, offset, length);
  {
    MutexLock lock(data_mutex_);
    const uint64_t old = size_bytes();
    if (mode & (kPunchHole | kZeroRange)) {
      {
        // The pages that would have told the disk of the size may be dropped.
        Journal::Handle handle = TRY(volume().begin(3));
        MutexLock map_lock(map_mutex_);
        TRY(grow_size_on_disk_locked(handle, old));
      }
      mm::CachedFile::NoFills no_fills(cached_);
      const uint64_t cut = end < old ? length : offset < old ? page_up(old) - offset : 0;
      if (cut != 0) TRY(cached_.punch(offset, cut));
      // Whole pages go; of the others a part was zeroed.
      const uint64_t first = page_up(offset) >> block_bits();
      const uint64_t stop = end >= old ? block_up(page_up(end)) : page_down(end) >> block_bits();
      if (stop > first) TRY(remove_blocks(static_cast<uint32_t>(first), std::min<uint64_t>(stop, UINT32_MAX)));
    }
    if (!(mode & kPunchHole)) {
      TRY(allocate_range(offset >> block_bits(), block_up(end)));
      if (!(mode & kKeepSize) && end > old) TRY(resize(end));
    }
  }
  touch_modify_and_change_time();
  contents_changed();
  return store_if_changed();
}

Result<uint64_t> FileNode::seek_data_or_hole(uint64_t offset, bool hole) {
  const uint64_t size = size_bytes();
  if (offset >= size) return error(ENXIO);
  const uint64_t end = block_up(size);
  MutexLock lock(map_mutex_);
  for (uint64_t block = offset >> block_bits(); block < end;) {
    const Mapping mapping = TRY(map_locked(static_cast<uint32_t>(block), static_cast<uint32_t>(std::min<uint64_t>(end - block, UINT32_MAX))));
    uint64_t stop = block + mapping.count;
    bool is_data = !mapping.is_hole() && mapping.initialised;
    if (mapping.is_hole()) {
      const uint64_t promised = promises_.next(block);
      is_data = promised == block;
      stop = is_data ? block + 1 : std::min(stop, promised);
    } else if (!mapping.initialised) {
      // Allocated, and perhaps written to in the cache.
      is_data = cached_.is_dirty() && cached_.is_present(block >> (kPageShift - block_bits()));
      if (cached_.is_dirty()) stop = std::min(stop, ((block >> (kPageShift - block_bits())) + 1) << (kPageShift - block_bits()));
    }
    if (is_data != hole) return std::max(offset, block << block_bits());
    block = stop;
  }
  if (!hole) return error(ENXIO);
  return size;
}

}  // namespace umk::ext4

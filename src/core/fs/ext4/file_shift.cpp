// Taking a range out of the middle of a file, or making room for one: fallocate(2), FALLOC_FL_COLLAPSE_RANGE and FALLOC_FL_INSERT_RANGE.
//
// What is cached behind the place is written out and dropped first, as it will be found elsewhere; then the extents behind it move. A file with few extents
// changes in one transaction; with many, a crash in between leaves a part of them moved, as on Linux.
#include "core/fs/ext4/file_node.h"
#include "core/kernel/mm/address_space.h"

namespace umk::ext4 {

Result<void> FileNode::shift(Shift way, uint64_t offset, uint64_t length) {
  if (!is_aligned(offset | length, volume().geometry().block_size)) return error(EINVAL);
  Result<void> outcome;
  {
    MutexLock lock(data_mutex_);
    const uint64_t size = size_bytes();
    if (way == Shift::Insert && length > maximum_size() - size) return error(EFBIG);
    if (way == Shift::Insert ? offset >= size : offset + length >= size) return error(EINVAL);
    outcome = shift_blocks(way, offset, length);
  }
  // Also after a failure, which may have come half way.
  mm::unmap_beyond(*this, page_down(offset));
  TRY(std::move(outcome));
  touch_modify_and_change_time();
  contents_changed();
  return store_if_changed();
}

Result<void> FileNode::shift_blocks(Shift way, uint64_t offset, uint64_t length) {
  const uint64_t old = size_bytes(), size = way == Shift::Insert ? old + length : old - length;
  const uint32_t first = static_cast<uint32_t>(offset >> block_bits()), distance = static_cast<uint32_t>(length >> block_bits());
  // Under NoFills, so that nothing becomes dirty again.
  mm::CachedFile::NoFills no_fills(cached_);
  const std::atomic<mm::ErrorSequence::Position> before = cached_.errors().sample();
  cached_.sync(page_down(offset));
  TRY(cached_.errors().check(before));
  TRY(cached_.truncate(page_down(offset)));
  uint64_t progress = way == Shift::Insert ? UINT64_MAX : 0;
  bool has_size = false, has_retried = false;
  for (;;) {
    const Result<bool> done = [&]() -> Result<bool> {
      Journal::Handle handle = TRY(volume().begin(kShiftCredits + 3));
      MutexLock lock(map_mutex_);
      if (way == Shift::Insert && !has_size) {
        if (TRY(end_of_blocks_locked()) + distance > UINT32_MAX) return error(EINVAL);
        // First of all, so that a crash cuts nothing off.
        TRY(grow_size_on_disk_locked(handle, size));
        size_bytes_.store(size, std::memory_order_release);
        has_size = true;
      }
      if (way == Shift::Insert) return spread_some_locked(handle, first, distance, progress);
      if (!TRY(collapse_some_locked(handle, first, uint64_t{first} + distance, progress))) return false;
      record().set_size(size);
      size_bytes_.store(size, std::memory_order_release);
      TRY(store_record_locked(handle));
      return true;
    }();
    if (done.ok()) {
      if (done.value()) return {};
      has_retried = false;
      continue;
    }
    if (done.code() != ENOSPC || has_retried) return done.failure();
    has_retried = true;
    TRY(volume().journal().commit_all());
  }
}

}  // namespace umk::ext4

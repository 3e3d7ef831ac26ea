// msync(2), mincore(2), mlock(2) and mlockall(2).
#include "core/kernel/mm/address_space.h"
#include "core/kernel/mm/cached_file.h"

namespace umk::mm {

Result<void> AddressSpace::sync(uint64_t start, uint64_t length, int flags) {
  constexpr int kAsync = 1, kInvalidate = 2, kSync = 4;
  if ((flags & ~(kAsync | kInvalidate | kSync)) || (flags & (kAsync | kSync)) == (kAsync | kSync)) return error(EINVAL);
  if (!is_aligned(start, kPageSize)) return error(EINVAL);
  const uint64_t end = start + page_up(length);
  if (end < start) return error(ENOMEM);

  Result<void> outcome;
  uint64_t done = start;
  while (done < end) {
    RefPtr<MappableFile> file;
    {
      MutexLock lock(mutex_);
      auto next = first_behind_locked(done);
      while (next != areas_.end() && !next->is_visible()) ++next;
      if (next == areas_.end() || next->start >= end) return error(ENOMEM);
      if (next->start > done) outcome = error(ENOMEM);
      if ((flags & kInvalidate) && (next->flags & map_flags::kLocked)) return error(EBUSY);
      if ((flags & kSync) && next->is_shared()) file = next->file;
      done = next->end;
    }
    if (file) TRY(file->sync(true));
  }
  return outcome;
}

Result<void> AddressSpace::residency(uint64_t start, uint64_t length, uint64_t user_vector) {
  if (!is_aligned(start, kPageSize)) return error(EINVAL);
  if (start >= layout::kUserEnd || length > layout::kUserEnd - start) return error(ENOMEM);
  const uint64_t end = start + page_up(length);
  if (!is_user_range(user_vector, (end - start) >> kPageShift)) return error(EFAULT);

  uint8_t resident[512];
  uint64_t done = start;
  while (done < end) {
    uint64_t stop;
    {
      MutexLock lock(mutex_);
      const Area* area = find_locked(done);
      if (!area || !area->is_visible()) return error(ENOMEM);
      stop = area->end < end ? area->end : end;
      if (stop - done > sizeof resident * kPageSize) stop = done + sizeof resident * kPageSize;
      if (const CachedFile* file = area->backing == Area::Backing::Cache ? area->source->cached() : nullptr; file && !area->may_have_own_pages()) {
        // The host knows which pages have memory, which is more than those that hold the file's bytes.
        for (uint64_t address = done; address < stop; address += kPageSize)
          resident[(address - done) >> kPageShift] = file->is_present(area->source_offset(address) >> kPageShift);
      } else {
        TRY(engine_.residency(done, stop - done, resident));
      }
    }
    const size_t pages = (stop - done) >> kPageShift;
    for (size_t i = 0; i < pages; ++i) resident[i] &= 1;  // the other bits are the host's own
    if (copy_to_user(user_vector, resident, pages).faulted) return error(EFAULT);
    user_vector += pages;
    done = stop;
  }
  return {};
}

Result<void> AddressSpace::lock_pages(uint64_t start, uint64_t length, bool lock, bool on_fault, const MemoryLimits& limits) {
  // A length that wraps to nothing is nothing, as in Linux.
  const uint64_t first = page_down(start);
  const uint64_t end = first + page_up(length + (start - first));
  if (end < first) return error(EINVAL);
  if (end == first) return {};

  DeadAreas dead;
  MutexLock guard(mutex_);
  if (lock && limits.locked != UINT64_MAX) {
    if (limits.locked == 0) return error(EPERM);
    uint64_t already = 0;
    for (auto area = first_behind_locked(first); area != areas_.end() && area->start < end; ++area)
      if (area->flags & map_flags::kLocked) already += (area->end < end ? area->end : end) - (area->start > first ? area->start : first);
    if (locked_bytes_ - already + (end - first) > limits.locked) return error(ENOMEM);
  }
  TRY(isolate_locked(first, end));
  uint64_t done = first;
  Result<void> outcome;
  while (done < end) {
    Area* area = find_locked(done);
    if (!area || !area->is_visible()) {
      outcome = error(ENOMEM);
      break;
    }
    set_locked_flag_locked(*area, lock, !on_fault);
    done = area->end;
  }
  merge_around_locked(first, end, dead);
  return outcome;
}

Result<void> AddressSpace::lock_all(uint32_t flags, const MemoryLimits& limits) {
  constexpr uint32_t kCurrent = 1, kFuture = 2, kOnFault = 4;
  DeadAreas dead;
  MutexLock guard(mutex_);
  if (flags & kCurrent) {
    if (limits.locked == 0) return error(EPERM);
    if (limits.locked != UINT64_MAX && total_bytes_ > limits.locked) return error(ENOMEM);
  } else if (flags != 0 && limits.locked == 0) {
    return error(EPERM);
  }
  lock_future_ = (flags & kFuture) ? flags : 0;
  if (flags != 0 && !(flags & kCurrent)) return {};
  for (Area& area : areas_)
    if (area.is_visible()) set_locked_flag_locked(area, flags & kCurrent, !(flags & kOnFault));
  merge_around_locked(0, layout::kUserEnd, dead);
  return {};
}

// Pages are brought in. The host may still swap them out: its own mlock is not the guest's to use.
void AddressSpace::set_locked_flag_locked(Area& area, bool lock, bool bring_in) {
  account_locked(area, false);
  area.flags = lock ? area.flags | map_flags::kLocked : area.flags & ~map_flags::kLocked;
  account_locked(area, true);
  if (lock && bring_in && area.protection != 0)
    (void)populate_locked(area, area.start, area.end, (area.protection & guest::kProtWrite) && area.is_private());
}

}  // namespace umk::mm

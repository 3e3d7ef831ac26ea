// mremap(2).
#include "core/kernel/mm/address_space.h"

namespace umk::mm {

namespace {
constexpr uint32_t kMayMove = 1, kFixed = 2, kDontUnmap = 4;
}

Result<uint64_t> AddressSpace::remap(uint64_t old_start, uint64_t old_length, uint64_t new_length, uint32_t remap_flags, uint64_t new_address,
                                     const MemoryLimits& limits) {
  if (remap_flags & ~(kMayMove | kFixed | kDontUnmap)) return error(EINVAL);
  if ((remap_flags & kFixed) && !(remap_flags & kMayMove)) return error(EINVAL);
  if ((remap_flags & kDontUnmap) && (!(remap_flags & kMayMove) || old_length != new_length)) return error(EINVAL);
  if (!is_aligned(old_start, kPageSize)) return error(EINVAL);
  if (old_length > layout::kUserEnd || new_length > layout::kUserEnd) return error(EINVAL);
  old_length = page_up(old_length);
  new_length = page_up(new_length);
  if (new_length == 0) return error(EINVAL);
  if (remap_flags & kFixed) {
    if (!is_aligned(new_address, kPageSize) || new_address >= layout::kUserEnd || new_length > layout::kUserEnd - new_address) return error(EINVAL);
    if (old_start + old_length > new_address && new_address + new_length > old_start) return error(EINVAL);
    if (new_address < layout::kUserStart) return error(EPERM);
  }

  DeadAreas dead;
  MutexLock lock(mutex_);
  Area* area = find_locked(old_start);
  if (!area || !area->is_visible()) return error(EFAULT);
  // What is cut off must be the guest's, as munmap(2) has it.
  if (old_length > layout::kUserEnd - old_start) return error(old_length > new_length ? EINVAL : EFAULT);

  if (!(remap_flags & (kFixed | kDontUnmap)) && old_length >= new_length && old_length != 0) {
    if (old_length > new_length) TRY(unmap_locked(old_start + new_length, old_start + old_length, dead));
    return old_start;
  }
  if (old_length > new_length) {
    TRY(unmap_locked(old_start + new_length, old_start + old_length, dead));
    old_length = new_length;
    area = find_locked(old_start);
  }
  if (old_length > area->end - old_start) return error(EFAULT);
  // A length of zero asks for a second view of shared memory.
  if (old_length == 0 && !area->is_shared()) return error(EINVAL);
  const uint64_t growth = new_length - old_length;
  if (growth > 0 && area->source && area->source_offset(old_start) + new_length > static_cast<uint64_t>(INT64_MAX)) return error(EINVAL);
  if (growth > 0 || (remap_flags & kDontUnmap)) TRY(check_growth_locked(*area, (remap_flags & kDontUnmap) ? new_length : growth, 0, 0, limits));
  // What is added, and what is left behind, is the page cache's; only pages of the process's own stay where they are.
  if (area->backing == Area::Backing::Fixed && (growth > 0 || (remap_flags & kDontUnmap)) && !area->may_have_own_pages()) TRY(become_cache_locked(*area));
  // Copies of a file's text end where it was mapped; there is nothing to grow into.
  const bool can_grow = area->backing == Area::Backing::Anonymous || area->backing == Area::Backing::Cache || area->backing == Area::Backing::HostFile ||
                        area->backing == Area::Backing::Fixed;
  if (growth > 0 && !can_grow) return error(ENOMEM);

  if (!(remap_flags & (kFixed | kDontUnmap)) && old_length > 0 && old_start + old_length == area->end &&
      new_length <= layout::kUserEnd - old_start && is_free_locked(area->end, old_start + new_length, Visibility::All) &&
      !invades_stack_gap_locked(area->end, old_start + new_length)) {
    TRY(grow_locked(*area, old_start + new_length, dead));
    return old_start;
  }
  if (!(remap_flags & kMayMove)) return error(ENOMEM);

  if (remap_flags & kFixed) {
    TRY(free_trampolines_locked(new_address, new_address + new_length, dead));
    TRY(unmap_locked(new_address, new_address + new_length, dead));
    area = find_locked(old_start);
  } else {
    MapRequest wanted;
    wanted.hint = (remap_flags & kDontUnmap) ? new_address : 0;
    new_address = TRY(choose_address_locked(wanted, new_length));
  }
  TRY(move_locked(old_start, old_length, new_address, new_length, remap_flags & kDontUnmap, dead));
  return new_address;
}

// In place: the new part is mapped by itself. The host's own mremap would grow a mapping of the cache into whatever lies behind it there.
Result<void> AddressSpace::grow_locked(Area& area, uint64_t new_end, DeadAreas& dead) {
  std::unique_ptr<Area> added = TRY(make_unique<Area>(*this, area.end, new_end));
  added->copy_from(area);
  added->offset = area.source ? area.source_offset(area.end) : 0;
  added->mapped_end = UINT64_MAX;
  if (added->backing == Area::Backing::Fixed) {
    added->backing = Area::Backing::Cache;
    added->source->store()->pin_mapping();
  }
  return place_locked(std::move(added), dead);
}

Result<void> AddressSpace::move_locked(uint64_t from, uint64_t old_length, uint64_t to, uint64_t new_length, bool keep_old, DeadAreas& dead) {
  if (old_length > 0) TRY(isolate_locked(from, from + old_length));
  Area& old = *find_locked(from);
  // Trampolines lie at a distance from their text, so text that moves becomes private pages.
  if (old.backing == Area::Backing::Text && old_length > 0) {
    Result<void> sealed = seal_locked(old);
    if (!sealed.ok()) return error(sealed.code() == EINPROGRESS ? EAGAIN : sealed.code());  // the file is busy: mremap(2) knows EAGAIN
  }

  std::unique_ptr<Area> moved = TRY(make_unique<Area>(*this, to, to + new_length));
  moved->copy_from(old);
  moved->offset = old.source ? old.source_offset(from) : 0;
  moved->label = {};
  if (old_length == 0) {
    moved->mapped_end = UINT64_MAX;
    return place_locked(std::move(moved), dead);
  }
  if (old.mapped_end != UINT64_MAX) moved->mapped_end = old.mapped_end - from + to;
  TRY(move_pages(from, old_length, to));
  Area& placed = *moved.release();
  insert_locked(placed);
  if (keep_old) {
    // The old place is as if it had just been mapped.
    TRY(establish_locked(old, old.start, old.end));
  } else {
    remove_locked(from, from + old_length, dead);
    drop_unused_trampolines_locked(dead);
  }
  if (new_length > old_length) {
    const Result<void> grown = establish_locked(placed, to + old_length, to + new_length);
    if (!grown.ok()) {
      account_locked(placed, false);
      placed.end = to + old_length;
      account_locked(placed, true);
      return grown.failure();
    }
  }
  merge_around_locked(to, to + new_length, dead);
  return {};
}

// The host moves one mapping of its own at a time, and what is one area here may be several there.
Result<void> AddressSpace::move_pages(uint64_t from, uint64_t length, uint64_t to) {
  const Result<void> moved = engine_.move(from, length, to);
  if (moved.ok() || moved.code() != EFAULT || length == kPageSize) return moved.ok() ? Result<void>{} : Result<void>(moved.failure());
  const uint64_t half = page_up(length / 2);
  TRY(move_pages(from, half, to));
  return move_pages(from + half, length - half, to + half);
}

}  // namespace umk::mm

// munmap(2) and mprotect(2).
#include <algorithm>

#include "core/host/calls.h"
#include "core/kernel/mm/address_space.h"

namespace umk::mm {

using guest::kProtExec, guest::kProtRead, guest::kProtWrite;

Result<void> AddressSpace::unmap(uint64_t start, uint64_t length) {
  if (!is_aligned(start, kPageSize) || start >= layout::kLinuxUserEnd || length > layout::kLinuxUserEnd - start) return error(EINVAL);
  length = page_up(length);
  if (length == 0) return error(EINVAL);
  const uint64_t end = std::min(start + length, layout::kUserEnd);
  if (start >= end) return {};
  DeadAreas dead;
  MutexLock lock(mutex_);
  return unmap_locked(start, end, dead);
}

Result<void> AddressSpace::unmap_locked(uint64_t start, uint64_t end, DeadAreas& dead) {
  if (is_free_locked(start, end, Visibility::GuestOnly)) return {};
  TRY(isolate_locked(start, end));
  // Piece by piece: trampolines in between are not the guest's to unmap; they go when their text does.
  for (auto next = areas_.lower_bound(start); next != areas_.end() && next->start < end;) {
    const uint64_t piece_start = next->start;
    uint64_t piece_end = piece_start;
    for (; next != areas_.end() && next->start == piece_end && next->start < end && next->is_visible(); ++next) piece_end = next->end;
    if (piece_end == piece_start) {
      ++next;
      continue;
    }
    TRY(engine_.unmap(piece_start, piece_end - piece_start));
    remove_locked(piece_start, piece_end, dead);
    next = areas_.lower_bound(piece_end);
  }
  drop_unused_trampolines_locked(dead);
  return {};
}

Result<void> AddressSpace::protect(uint64_t start, uint64_t length, int protection, const MemoryLimits& limits) {
  constexpr int kProtSem = 8, kProtGrowsDown = 0x01000000, kProtGrowsUp = 0x02000000;
  const int grows = protection & (kProtGrowsDown | kProtGrowsUp);
  protection &= ~grows;
  if (grows == (kProtGrowsDown | kProtGrowsUp)) return error(EINVAL);
  if (!is_aligned(start, kPageSize)) return error(EINVAL);
  if (length == 0) return {};
  const uint64_t end = start + page_up(length);
  if (end <= start) return error(ENOMEM);
  if (protection & ~(kProtRead | kProtWrite | kProtExec | kProtSem)) return error(EINVAL);
  protection &= 7;

  for (;;) {
    Result<void> outcome = protect_once(start, end, protection, grows & kProtGrowsDown, grows & kProtGrowsUp, limits);
    // A file had to be read that somebody else is busy with.
    if (outcome.ok() || outcome.code() != EINPROGRESS) return outcome;
    host::sched_yield();
  }
}

Result<void> AddressSpace::protect_once(uint64_t start, uint64_t end, int protection, bool grows_down, bool grows_up, const MemoryLimits& limits) {
  DeadAreas dead;
  MutexLock lock(mutex_);
  auto first = first_behind_locked(start);
  while (first != areas_.end() && !first->is_visible()) ++first;
  if (first == areas_.end() || first->start >= end) return error(ENOMEM);
  if (grows_down) {
    if (!(first->flags & map_flags::kGrowsDown)) return error(EINVAL);
    start = first->start;
  } else {
    if (first->start > start) return error(ENOMEM);
    if (grows_up) return error(EINVAL);  // no area grows up on x86
  }
  TRY(isolate_locked(start, end));

  uint64_t done = start;
  Result<void> outcome;
  while (done < end && outcome.ok()) {
    Area* area = find_locked(done);
    if (!area || !area->is_visible()) {
      outcome = error(ENOMEM);
      break;
    }
    outcome = protect_area_locked(*area, protection, limits);
    if (outcome.ok()) done = area->end;
  }
  // As Linux does, what came before the failure stays changed.
  drop_unused_trampolines_locked(dead);
  merge_around_locked(start, end, dead);
  return outcome;
}

Result<void> AddressSpace::protect_area_locked(Area& area, int protection, const MemoryLimits& limits) {
  if (protection & ~area.maximum_protection) return error(EACCES);
  const int before = area.protection;
  if (protection == before) return {};
  const bool is_file = area.backing == Area::Backing::Cache || area.backing == Area::Backing::HostFile || area.backing == Area::Backing::Fixed;
  if (is_file && area.is_shared() && (protection & kProtExec))
    if (const Result<void> prepared = prepare_shared_code(*area.source); !prepared.ok()) return error(prepared.code() == EPERM ? EACCES : ENOMEM);

  if (area.backing == Area::Backing::Fixed && area.is_shared() && (protection & (kProtWrite | kProtExec))) TRY(become_cache_locked(area));

  if ((protection & kProtWrite) && !(before & kProtWrite)) {
    account_locked(area, false);
    area.protection = protection;
    const Result<void> allowed = check_growth_locked(area, area.length(), area.length(), 0, limits);
    area.protection = before;
    account_locked(area, true);
    if (!allowed.ok()) return error(ENOMEM);
  }
  account_locked(area, false);
  area.protection = protection;
  account_locked(area, true);
  if ((protection & kProtWrite) && is_file) area.was_writable = true;

  if ((is_file && area.is_private() && (protection & kProtExec)) || (area.backing == Area::Backing::Text && (protection & kProtWrite))) {
    Result<void> sealed = seal_locked(area);
    if (!sealed.ok() && sealed.code() == EINPROGRESS) {
      account_locked(area, false);
      area.protection = before;
      account_locked(area, true);
    }
    return sealed;
  }
  return reprotect_locked(area);
}

}  // namespace umk::mm

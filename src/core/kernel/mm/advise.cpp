// madvise(2).
#include "core/kernel/mm/address_space.h"

namespace umk::mm {

namespace {

enum Advice : int {
  kNormal = 0, kRandom = 1, kSequential = 2, kWillNeed = 3, kDontNeed = 4, kFree = 8, kRemove = 9, kDontFork = 10, kDoFork = 11, kMergeable = 12,
  kUnmergeable = 13, kHugePage = 14,
  kNoHugePage = 15, kDontDump = 16, kDoDump = 17, kWipeOnFork = 18, kKeepOnFork = 19, kCold = 20, kPageOut = 21, kPopulateRead = 22,
  kPopulateWrite = 23, kDontNeedLocked = 24,
};

bool is_known(int advice) {
  switch (advice) {
    case kNormal: case kRandom: case kSequential: case kWillNeed: case kDontNeed: case kFree: case kRemove: case kDontFork: case kDoFork:
    case kMergeable: case kUnmergeable: case kHugePage:
    case kNoHugePage: case kDontDump: case kDoDump: case kWipeOnFork: case kKeepOnFork: case kCold: case kPageOut: case kPopulateRead:
    case kPopulateWrite: case kDontNeedLocked: return true;
    default: return false;
  }
}

bool changes_area(int advice) {
  switch (advice) {
    case kDontFork: case kDoFork: case kDontDump: case kDoDump: case kWipeOnFork: case kKeepOnFork: return true;
    default: return false;
  }
}

}  // namespace

Result<void> AddressSpace::advise(uint64_t start, uint64_t length, int advice) {
  if (!is_known(advice) || !is_aligned(start, kPageSize)) return error(EINVAL);
  const uint64_t end = start + page_up(length);
  if (end < start || (length != 0 && page_up(length) == 0)) return error(EINVAL);
  if (end == start) return {};

  Result<void> outcome;
  uint64_t done = start;
  while (done < end) {
    RefPtr<MappableFile> hole_in;
    uint64_t hole_offset = 0, hole_length = 0, touch_from = 0;
    {
      DeadAreas dead;
      MutexLock lock(mutex_);
      auto next = first_behind_locked(done);
      while (next != areas_.end() && !next->is_visible()) ++next;
      // Advice is taken for what is mapped; a gap is reported at the end.
      if (next == areas_.end() || next->start >= end) return error(ENOMEM);
      if (next->start > done) {
        outcome = error(ENOMEM);
        done = next->start;
      }
      uint64_t stop = next->end < end ? next->end : end;
      if (changes_area(advice)) {
        TRY(isolate_locked(done, stop));
        TRY(advise_area_locked(*find_locked(done), done, stop, advice));
        merge_around_locked(done, stop, dead);
      } else if ((advice == kPopulateRead || advice == kPopulateWrite) && next->backing == Area::Backing::Cache && next->source->cached()) {
        if (!(next->protection & (advice == kPopulateWrite ? guest::kProtWrite : guest::kProtRead))) return error(EINVAL);
        touch_from = done;
      } else if (advice == kWillNeed && next->backing == Area::Backing::Cache && next->source->cached()) {
        touch_from = done;
      } else if (advice == kRemove) {
        const Area& area = *next;
        if (area.flags & map_flags::kLocked) return error(EINVAL);
        if (!area.source) return error(EINVAL);
        if (!area.is_shared() || !(area.protection & guest::kProtWrite)) return error(EACCES);
        hole_offset = area.source_offset(done);
        hole_length = stop - done;
        if (area.file) {
          hole_in = area.file;
        } else {
          area.source->store()->punch(hole_offset, hole_length);
        }
      } else {
        const Result<void> advised = advise_area_locked(*next, done, stop, advice);
        // A file has to be read that somebody else is busy with: once more.
        if (!advised.ok() && advised.code() == EINPROGRESS) stop = done;
        else if (!advised.ok()) return advised;
      }
      done = stop;
    }
    if (touch_from)
      if (Result<void> touched = touch_backed(touch_from, done, advice == kPopulateWrite); !touched.ok() && advice != kWillNeed) return touched;
    // The file's own locks come before the address space's.
    if (hole_in) TRY(hole_in->punch_hole(hole_offset, hole_length));
  }
  return outcome;
}

Result<void> AddressSpace::advise_area_locked(Area& area, uint64_t start, uint64_t end, int advice) {
  const uint64_t length = end - start;
  const bool is_anonymous = area.backing == Area::Backing::Anonymous;
  const bool is_locked = area.flags & map_flags::kLocked;
  switch (advice) {
    case kDontNeed:
      if (is_locked) return error(EINVAL);
      [[fallthrough]];
    case kDontNeedLocked:
      if (area.is_shared() || area.backing == Area::Backing::Text) return {};  // the contents are the file's
      if (area.backing != Area::Backing::Sealed) return engine_.advise(start, length, kDontNeed);
      // The file's own pages must not become visible here, where pages are executable: new copies are made.
      TRY(isolate_locked(start, end));
      return seal_locked(*find_locked(start));
    case kFree:
      if (!is_anonymous || is_locked) return error(EINVAL);
      return engine_.advise(start, length, kFree);
    case kDontFork:
    case kDoFork:
      area.dont_fork = advice == kDontFork;
      return engine_.advise(start, length, advice);
    case kWipeOnFork:
    case kKeepOnFork:
      if (!is_anonymous) {
        if (advice == kWipeOnFork) return error(EINVAL);
        return {};
      }
      area.wipe_on_fork = advice == kWipeOnFork;
      return engine_.advise(start, length, advice);
    case kDontDump:
    case kDoDump: area.dont_dump = advice == kDontDump; return {};
    case kHugePage:
    case kNoHugePage:
      // Only a wish: a host without huge pages refuses it.
      if (is_anonymous) (void)engine_.advise(start, length, advice);
      return {};
    case kCold:
    case kPageOut:
      if (is_locked) return error(EINVAL);
      return {};
    case kPopulateRead:
    case kPopulateWrite: return populate_locked(area, start, end, advice == kPopulateWrite);
    default: return {};  // hints: everything is in memory, and equal pages are left alone until somebody asks for their merging (KSM's default)
  }
}

// Brings pages in, as the accesses themselves would.
Result<void> AddressSpace::populate_locked(Area& area, uint64_t start, uint64_t end, bool for_write) {
  const int needed = for_write ? guest::kProtWrite : guest::kProtRead;
  if (!(area.protection & needed)) return error(EINVAL);
  const uint64_t limit = area.mapped_end < end ? area.mapped_end : end;
  if (area.backing == Area::Backing::Cache && area.is_shared() && for_write)
    for (uint64_t address = start; address < limit; address += kChunkBytes) TRY(fault_in_locked(area, address, 2));
  if (limit > start) {
    const bool writable_now = for_write && (host_protection(area) & guest::kProtWrite) && !area.shared_code();
    TRY(engine_.advise(start, limit - start, writable_now ? kPopulateWrite : kPopulateRead));
  }
  if (limit < end) return error(EFAULT);
  return {};
}

}  // namespace umk::mm

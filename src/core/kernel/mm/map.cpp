// mmap(2).
#include "core/host/calls.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/mm/shared_memory.h"

namespace umk::mm {

namespace {

using guest::kProtExec, guest::kProtWrite;
using namespace map_flags;

/// A distance that no copy has: the text was not looked for yet.
constexpr uint64_t kUnknownDistance = UINT64_MAX;
/// Relative jumps reach 2 GiB; text and trampolines together stay well below.
constexpr uint64_t kMaximumDistance = uint64_t{1} << 30;

/// MAP_ABOVE4G, MAP_DENYWRITE, MAP_EXECUTABLE, MAP_UNINITIALIZED and the sizes of huge pages, which have no effect here.
constexpr uint32_t kIgnoredFlags = 0x80 | 0x800 | 0x1000 | 0x4000000 | 21u << 26 | 30u << 26;
/// What MAP_SHARED_VALIDATE knows: everything that MAP_SHARED ever ignored, but not MAP_SYNC, which needs persistent memory, nor newer flags.
constexpr uint32_t kValidatedFlags = kTypeMask | kFixed | kAnonymous | k32Bit | kGrowsDown | kLocked | kNoReserve | kPopulate | kNonBlock | kStack | kHugeTlb |
                                     kIgnoredFlags;

}  // namespace

Result<uint64_t> AddressSpace::map(uint64_t hint, uint64_t length, int protection, uint32_t flags, RefPtr<MappableFile> file, uint64_t offset,
                                   const MemoryLimits& limits) {
  MapRequest request;
  request.hint = hint;
  request.length = length;
  request.protection = protection;
  request.flags = flags;
  request.offset = offset;
  if (flags & kAnonymous) return map_request(request, limits);
  if (!file) return error(EBADF);
  const uint32_t type = flags & kTypeMask;
  if (length == 0 || (type != kShared && type != kPrivate && type != kSharedValidate)) return error(EINVAL);
  if (type == kSharedValidate && (flags & ~kValidatedFlags)) return error(EOPNOTSUPP);
  if (type != kPrivate) {
    if ((protection & kProtWrite) && !file->is_writable()) return error(EACCES);
    request.may_write = file->is_writable() && !file->forbids_shared_writes();
    if ((protection & kProtWrite) && !request.may_write) return error(EPERM);
  }
  if (!file->is_readable()) return error(EACCES);
  request.source = file->page_source();
  if (!request.source) return error(ENODEV);
  request.file = std::move(file);
  return map_request(request, limits);
}

Result<uint64_t> AddressSpace::map_request(const MapRequest& wanted, const MemoryLimits& limits) {
  MapRequest request = wanted;
  if (request.length == 0) return error(EINVAL);
  const uint32_t type = request.flags & kTypeMask;
  if (type != kPrivate && type != kShared && (type != kSharedValidate || !request.source)) return error(EINVAL);
  if (type == kSharedValidate) request.flags = (request.flags & ~kTypeMask) | kShared;
  const bool is_shared = request.flags & kShared;
  if (!is_aligned(request.offset, kPageSize)) return error(EINVAL);
  const uint64_t length = page_up(request.length);
  if (length == 0 || length > layout::kUserEnd) return error(ENOMEM);
  if (request.source && (length > UINT64_MAX - request.offset || request.offset + length > static_cast<uint64_t>(INT64_MAX))) return error(EOVERFLOW);
  if ((request.flags & kGrowsDown) && (is_shared || request.source)) return error(EINVAL);
  if (request.flags & kHugeTlb) return error(request.source ? EINVAL : ENOMEM);  // there is no pool of huge pages
  if (request.flags & kFixedNoReplace) request.flags |= kFixed;
  if (request.source && request.source->source_kind() == PageSource::Kind::Zero) request.source = nullptr;
  // A shared mapping that is executable while others may write the memory cannot be shown from a copy: the pages themselves are executed.
  const bool shows_pages = is_shared && (request.protection & kProtExec) && (request.may_write || !request.source);
  RefPtr<SharedMemory> memory;
  if (is_shared && !request.source) {
    memory = TRY(SharedMemory::create(window_, length, !(request.flags & kNoReserve)));
    request.source = memory.get();
    request.offset = 0;
  }
  if (shows_pages) TRY(prepare_shared_code(*request.source));

  const bool wants_text = request.source && (request.protection & kProtExec) && !(request.protection & kProtWrite) && !shows_pages;
  RefPtr<TextCopy> text;
  uint64_t distance = kUnknownDistance;
  uint64_t text_length = 0;
  bool is_fixed = can_be_fixed(request, length);
  for (;;) {
    if (distance != kUnknownDistance && text_length > 0) text = TRY(TextCopy::find_or_make(*request.source, window_, request.offset, text_length, distance));

    uint64_t start;
    bool touches, is_busy = false;
    {
      DeadAreas dead;
      MutexLock lock(mutex_);
      start = TRY(choose_address_locked(request, length));
      if (wants_text) {
        const uint64_t file_end = page_up(request.source->mappable_bytes());
        const uint64_t inside = request.offset >= file_end ? 0 : file_end - request.offset;
        const uint64_t now_length = inside < length ? inside : length;
        const uint64_t now_distance = text_distance_locked(*request.source, start, request.offset, now_length);
        if (now_distance != distance || now_length != text_length) {
          distance = now_distance;
          text_length = now_length;
          text = nullptr;
          continue;
        }
      }
      std::unique_ptr<Area> area = TRY(make_unique<Area>(*this, start, start + length));
      area->protection = request.protection & 7;
      area->flags = request.flags & (kTypeMask | kGrowsDown | kNoReserve | kLocked);
      area->offset = request.source ? request.offset : 0;
      area->file = request.file;
      area->label = request.label;
      area->maximum_protection = is_shared && !request.may_write ? 7 & ~kProtWrite : 7;
      area->was_writable = request.source && (request.protection & kProtWrite);
      if (lock_future_ && !(request.flags & kGrowsDown)) area->flags |= kLocked;
      if (request.source) {
        const bool is_host_file = request.source->source_kind() == PageSource::Kind::HostFile;
        area->backing = text ? Area::Backing::Text : is_host_file ? Area::Backing::HostFile : Area::Backing::Cache;
        if (!text && (request.protection & kProtExec) && !is_shared && !(wants_text && text_length == 0)) area->backing = Area::Backing::Sealed;
        if (area->backing == Area::Backing::Cache && is_fixed) area->backing = Area::Backing::Fixed;
        area->text = text;
        area->attach(*request.source);
      }
      TRY(check_limits_locked(*area, limits));
      const bool populate = (request.flags & (kPopulate | kNonBlock)) == kPopulate || (area->flags & kLocked);
      if (Result<void> placed = place_locked(std::move(area), dead); !placed.ok()) {
        if (std::exchange(is_fixed, false) && placed.code() == EAGAIN) continue;
        if (placed.code() != EINPROGRESS) return placed.failure();
        is_busy = true;  // a file has to be read that somebody else is busy with
      }
      // What cannot be brought in now comes with its fault; mmap(2) does not fail for it.
      touches = populate && request.source && request.source->cached();
      if (populate && !touches && length <= window_.account().limit()) (void)engine_.advise(start, length, (request.protection & kProtWrite) && !is_shared ? 23 : 22);
    }
    if (is_busy) {
      host::sched_yield();
      continue;
    }
    if (touches) (void)touch_backed(start, start + length, is_shared && (request.protection & kProtWrite));
    return start;
  }
}

Result<uint64_t> AddressSpace::choose_address_locked(const MapRequest& request, uint64_t length) {
  uint64_t hint = request.hint;
  if (request.flags & kFixed) {
    if (!is_aligned(hint, kPageSize)) return error(EINVAL);
    if (hint >= layout::kUserEnd || length > layout::kUserEnd - hint) return error(ENOMEM);
    if (hint < layout::kUserStart) return error(EPERM);
    if ((request.flags & kFixedNoReplace) && !is_free_locked(hint, hint + length, Visibility::GuestOnly)) return error(EEXIST);
    return hint;
  }
  hint = page_down(hint);
  if (hint != 0) {
    if (hint < layout::kUserStart) hint = layout::kUserStart;
    if (hint < layout::kUserEnd && length <= layout::kUserEnd - hint && is_free_locked(hint, hint + length, Visibility::All) &&
        !invades_stack_gap_locked(hint, hint + length))
      return hint;
  }
  // Private file mappings are usually images: their text wants trampolines below.
  const uint64_t room = request.source && (request.flags & kPrivate) ? kTrampolineGap : 0;
  const uint64_t ceiling = (request.flags & k32Bit) ? uint64_t{1} << 31 : map_base_;
  const uint64_t guard = (request.flags & kGrowsDown) ? kStackGuardGap : 0;
  uint64_t found = find_space_locked(length, room > guard ? room : guard, ceiling, kPageSize);
  if (!found && !(request.flags & k32Bit)) found = find_space_locked(length, guard, layout::kUserEnd, kPageSize);
  if (!found) return error(ENOMEM);
  return found;
}

Result<void> AddressSpace::with_low_page(void (*work)(void* page, void* argument), void* argument) {
  MutexLock lock(mutex_);
  const uint64_t address = find_space_locked(kPageSize, 0, uint64_t{1} << 32, kPageSize);
  if (address == 0) return error(ENOMEM);
  // No area: nobody sees it, as no other change of the address space comes between.
  TRY(engine_.map_anonymous(address, kPageSize, guest::kProtRead | guest::kProtWrite, false));
  work(reinterpret_cast<void*>(address), argument);
  return engine_.unmap(address, kPageSize);
}

Result<void> AddressSpace::check_limits_locked(const Area& added, const MemoryLimits& limits) {
  uint64_t replaced = 0, replaced_data = 0;
  for (auto area = first_behind_locked(added.start); area != areas_.end() && area->start < added.end; ++area) {
    if (!area->is_visible()) continue;
    const uint64_t from = area->start > added.start ? area->start : added.start;
    const uint64_t to = area->end < added.end ? area->end : added.end;
    replaced += to - from;
    if (area->is_private() && (area->protection & kProtWrite) && !(area->flags & kGrowsDown)) replaced_data += to - from;
  }
  return check_growth_locked(added, added.length(), replaced, replaced_data, limits);
}

Result<void> AddressSpace::check_growth_locked(const Area& area, uint64_t bytes, uint64_t replaced, uint64_t replaced_data, const MemoryLimits& limits) {
  if (area_count_ >= kMaximumAreas) return error(ENOMEM);
  if (limits.address_space != UINT64_MAX && total_bytes_ - replaced + bytes > limits.address_space) return error(ENOMEM);
  const bool is_data = area.is_private() && (area.protection & kProtWrite) && !(area.flags & kGrowsDown);
  if (is_data && limits.data != UINT64_MAX && data_bytes_ - replaced_data + bytes > limits.data) return error(ENOMEM);
  if ((area.flags & kLocked) && limits.locked != UINT64_MAX && locked_bytes_ + bytes > limits.locked) return error(EAGAIN);
  if (area.is_committed()) {
    if (!window_.account().try_commit(bytes)) return error(ENOMEM);
    window_.account().uncommit(bytes);  // counted for good when the area is inserted
  }
  return {};
}

Result<void> AddressSpace::place_locked(std::unique_ptr<Area> placed, DeadAreas& dead) {
  const uint64_t start = placed->start, end = placed->end;
  TRY(free_trampolines_locked(start, end, dead));
  TRY(isolate_locked(start, end));
  remove_locked(start, end, dead);
  Area& area = *placed.release();
  insert_locked(area);
  if (Result<void> mapped = establish_locked(area, start, end); !mapped.ok()) {
    // What was there is gone, as mmap(2) says of MAP_FIXED.
    erase_locked(area, dead);
    (void)engine_.unmap(start, end - start);
    drop_unused_trampolines_locked(dead);
    return mapped.failure();
  }
  // Patched text without its trampolines would jump nowhere.
  if (area.backing == Area::Backing::Text && area.text->has_trampolines() && !place_trampolines_locked(area, dead).ok()) TRY(seal_locked(area));
  drop_unused_trampolines_locked(dead);
  merge_around_locked(start, end, dead);
  return {};
}

// --- text and its trampolines

// The distance from a text at `start` to the gap below its image: the lowest of the areas of the same file that lie together with it.
uint64_t AddressSpace::text_distance_locked(const PageSource& source, uint64_t start, uint64_t offset, uint64_t length) {
  if (trap_only) return 0;
  uint64_t base = start;
  while (base > 0) {
    const Area* below = find_locked(base - 1);
    if (!below || below->source != &source || !below->is_visible()) break;
    base = below->start;
  }
  const uint64_t distance = start - base + kTrampolineGap;
  if (base < layout::kUserStart + kTrampolineGap || distance + length > kMaximumDistance) return 0;
  const uint64_t gap = base - kTrampolineGap;
  if (is_free_locked(gap, base, Visibility::All) && !invades_stack_gap_locked(gap, base)) return distance;
  // The gap may hold the trampolines of the very copy that is mapped again.
  const Area* there = find_locked(gap);
  const bool same = there && there->backing == Area::Backing::Trampoline && there->start == gap && there->text->trampoline_distance() == distance &&
                    there->text->file_offset() == offset && there->text->length() == length;
  return same ? distance : 0;
}

Result<void> AddressSpace::place_trampolines_locked(const Area& area, DeadAreas& dead) {
  const uint64_t start = area.start - (area.offset - area.text->file_offset()) - area.text->trampoline_distance();
  std::unique_ptr<Area> companion = TRY(make_unique<Area>(*this, start, start + kTrampolineGap));
  companion->backing = Area::Backing::Trampoline;
  companion->protection = guest::kProtRead | kProtExec;
  companion->flags = kShared;
  companion->text = area.text;
  companion->attach(*area.source);
  remove_locked(start, start + kTrampolineGap, dead);
  TRY(establish_locked(*companion, companion->start, companion->end));
  insert_locked(*companion.release());
  return {};
}

namespace {
/// Where the text would begin whose trampolines these are.
uint64_t text_start_of(const Area& trampolines) { return trampolines.start + trampolines.text->trampoline_distance(); }
}  // namespace

// Trampolines live as long as a piece of their text does.
void AddressSpace::drop_unused_trampolines_locked(DeadAreas& dead) {
  if (!std::exchange(text_went_, false) || trampoline_count_ == 0) return;
  for (auto next = areas_.begin(); next != areas_.end();) {
    Area& area = *next++;
    if (area.backing != Area::Backing::Trampoline || is_text_mapped_locked(area)) continue;
    (void)engine_.unmap(area.start, area.length());
    erase_locked(area, dead);
  }
}

bool AddressSpace::is_text_mapped_locked(const Area& trampolines) {
  const uint64_t start = text_start_of(trampolines), end = start + trampolines.text->length();
  for (auto area = first_behind_locked(start); area != areas_.end() && area->start < end; ++area)
    if (area->backing == Area::Backing::Text && area->text == trampolines.text) return true;
  return false;
}

// The guest maps something of its own where trampolines lie, which it cannot know of: their text becomes private pages without patches.
Result<void> AddressSpace::free_trampolines_locked(uint64_t start, uint64_t end, DeadAreas& dead) {
  if (trampoline_count_ == 0) return {};
  for (auto next = first_behind_locked(start); next != areas_.end() && next->start < end;) {
    Area& trampolines = *next++;
    if (trampolines.backing != Area::Backing::Trampoline) continue;
    const uint64_t text_start = text_start_of(trampolines), text_end = text_start + trampolines.text->length();
    for (auto area = first_behind_locked(text_start); area != areas_.end() && area->start < text_end; ++area)
      if (area->backing == Area::Backing::Text && area->text == trampolines.text) TRY(seal_locked(*area));
    if (trampolines.start < start || trampolines.end > end) TRY(engine_.unmap(trampolines.start, trampolines.length()));
    erase_locked(trampolines, dead);
  }
  return {};
}

Result<AddressSpace::TextPlace> AddressSpace::find_text(uint64_t address) {
  MutexLock lock(mutex_);
  const Area* area = find_locked(address);
  if (area && area->backing == Area::Backing::Trampoline) return TextPlace{area->text, address - text_start_of(*area), text_start_of(*area)};
  if (!area || area->backing != Area::Backing::Text || !(area->protection & kProtExec)) return TextPlace{nullptr, 0, 0};
  const uint64_t text_start = area->start - (area->offset - area->text->file_offset());
  return TextPlace{area->text, address - text_start, text_start};
}

}  // namespace umk::mm

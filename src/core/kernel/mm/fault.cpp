// Page faults that the host could not resolve: the guest may have the right that the host's mapping lacks.
#include "core/kernel/mm/address_space.h"

namespace umk::mm {

namespace {

using guest::kProtExec, guest::kProtRead, guest::kProtWrite;

// x86 page-fault error code.
constexpr uint64_t kFaultWrite = 2, kFaultFetch = 16;

// A growing stack takes this much at once: a fault costs more than the pages, which the host only provides when they are touched.
constexpr uint64_t kStackStep = 32 * kPageSize;

}  // namespace

// What is not in memory is fetched with no lock held, and then the fault is looked at anew: the mapping may be another one by then.
Result<void> AddressSpace::handle_fault(uint64_t address, uint64_t error_code, bool* is_mapped, uint64_t stack_limit) {
  *is_mapped = false;
  if (address >= layout::kUserEnd || is_lost.load(std::memory_order_relaxed)) return error(EFAULT);
  for (bool is_second_look = false;; is_second_look = true) {
    AbsentPages absent;
    absent.was_fetched = is_second_look;
    const Result<void> outcome = handle_fault_once(address, error_code, is_mapped, stack_limit, absent);
    if (!absent.source) return outcome;
    TRY(absent.fetch());
  }
}

Result<void> AddressSpace::handle_fault_once(uint64_t address, uint64_t error_code, bool* is_mapped, uint64_t stack_limit, AbsentPages& absent) {
  DeadAreas dead;
  MutexLock lock(mutex_);
  Area* area = find_locked(address);
  if (area && !area->is_visible()) {
    // Trampolines are executable for whoever is sent there; any other access is one to unmapped memory.
    return error(EFAULT);
  }
  if (!area) {
    auto above = areas_.lower_bound(address);
    if (above == areas_.end() || !(above->flags & map_flags::kGrowsDown)) return error(EFAULT);
    TRY(grow_stack_locked(*above, address, stack_limit));
    area = &*above;
  }
  *is_mapped = true;
  const int rights = area->protection;
  if (error_code & kFaultWrite) {
    if (!(rights & kProtWrite)) return error(EFAULT);
  } else if (error_code & kFaultFetch) {
    if (!(rights & kProtExec)) return error(EFAULT);
  } else if (!(rights & (kProtRead | kProtWrite | kProtExec))) {
    return error(EFAULT);
  }
  if (error_code & kHostBusError) return error(EIO);
  absent.use = missing_use(*area, address, error_code);
  if (absent.use) {
    absent.source = area->source;
    absent.source->add_mapping_reference();
    absent.page = area->source_offset(address) >> kPageShift;
    return {};
  }
  if (area->backing == Area::Backing::Cache && area->source->cached()) return fault_in_backed_locked(*area, address, error_code, absent);
  return fault_in_locked(*area, address, error_code);
}

Result<void> AddressSpace::grow_stack_locked(Area& area, uint64_t address, uint64_t stack_limit) {
  const uint64_t needed = page_down(address);
  if (area.end - needed > stack_limit) return error(EFAULT);
  uint64_t floor = layout::kUserStart;
  if (auto before = areas_.iterator_to(area); before != areas_.begin()) {
    --before;
    // An accessible neighbour must stay a guard gap away; one that grows itself or has no access is no danger.
    const bool gap = before->protection != 0 && !(before->flags & map_flags::kGrowsDown);
    floor = before->end + (gap ? kStackGuardGap : 0);
  }
  if (needed < floor) return error(EFAULT);
  uint64_t start = area.start - needed < kStackStep && area.start > kStackStep ? area.start - kStackStep : needed;
  if (start < floor) start = needed;
  if (area.end - start > stack_limit) start = needed;
  const uint64_t old_start = area.start;
  TRY(engine_.map_anonymous(start, old_start - start, host_protection(area), false));
  // The key of a tree node changes, and nothing lies between the old and the new place.
  account_locked(area, false);
  area.start = start;
  account_locked(area, true);
  return {};
}

std::optional<SharedCode::Use> AddressSpace::missing_use(const Area& area, uint64_t address, uint64_t error_code) const {
  const SharedCode* const code = area.shared_code();
  if (!code || !(error_code & (kFaultWrite | kFaultFetch)) || area.source_offset(address) >= page_up(area.source->mappable_bytes())) return std::nullopt;
  const uint64_t page = page_down(address);
  const PageMask shown = area.pages_shown(page, page + kPageSize);
  const uint64_t chunk_index = area.source_offset(page) >> kChunkShift;
  const bool is_write = error_code & kFaultWrite;
  if ((is_write ? code->writable(chunk_index) : code->executable(chunk_index)) & shown) return std::nullopt;
  return is_write ? SharedCode::Use::Data : SharedCode::Use::Code;
}

Result<void> AddressSpace::fault_in_locked(Area& area, uint64_t address, uint64_t error_code) {
  const uint64_t page = page_down(address);
  switch (area.backing) {
    case Area::Backing::Anonymous:
    case Area::Backing::Sealed:
      if (area.backing == Area::Backing::Sealed && address >= area.mapped_end) return error(EIO);
      if ((area.protection & kProtWrite) && (area.protection & kProtExec)) {
        // Writable or executable, never both: the page becomes what it is used for.
        const int wanted = (error_code & kFaultWrite) ? kProtRead | kProtWrite : kProtRead | kProtExec;
        return engine_.protect(page, kPageSize, wanted);
      }
      return {};  // another thread changed the mapping since: try again

    case Area::Backing::Fixed: return fault_in_fixed_locked(area, address);

    case Area::Backing::HostFile: return error(EIO);  // the host grants all the guest may have, so the file ends before

    case Area::Backing::Text:
      if (address >= area.mapped_end) return error(EIO);
      return {};

    case Area::Backing::Cache: break;

    case Area::Backing::Trampoline: return error(EFAULT);
  }

  const uint64_t file_pages_end = page_up(area.source->mappable_bytes());
  if (area.source_offset(page) >= file_pages_end) return error(EIO);
  if (address >= area.mapped_end) {
    // The file has grown over what had no access before.
    const uint64_t from = area.mapped_end > area.start ? area.mapped_end : area.start;
    return establish_cache_locked(area, from, area.end);
  }
  const SharedCode* const code = area.shared_code();
  if (!area.is_shared() || !(code || (area.protection & kProtWrite))) return {};
  if (error_code & kFaultFetch) return engine_.protect(page, kPageSize, kProtRead | kProtExec);  // back to writable by the next write
  if (!(area.protection & kProtWrite)) return {};

  const uint64_t offset = area.source_offset(page);
  const uint64_t chunk_start = round_down(offset, kChunkBytes);
  uint64_t pages_end = chunk_start + kChunkBytes < file_pages_end ? chunk_start + kChunkBytes : file_pages_end;
  const unsigned pages = static_cast<unsigned>((pages_end - chunk_start) >> kPageShift);
  TRY(area.source->store()->make_present(chunk_start >> kChunkShift, static_cast<PageMask>((uint32_t{1} << pages) - 1)));
  area.source->on_shared_write();
  // The part of the chunk that this area shows.
  const uint64_t before = offset - chunk_start;
  uint64_t start = page - area.start < before ? area.start : page - before;
  const uint64_t after = pages_end - offset;
  uint64_t end = area.end - page < after ? area.end : page + after;
  if (code) {
    const PageMask writable = code->writable(offset >> kChunkShift);
    if (!(writable & area.pages_shown(page, page + kPageSize))) return {};  // turned again meanwhile
    const uint64_t first = std::exchange(start, page), last = std::exchange(end, page + kPageSize);
    area.widen(start, end, first, last, writable);
  }
  return engine_.protect(start, end - start, kProtRead | kProtWrite);
}

}  // namespace umk::mm

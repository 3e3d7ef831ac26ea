// Mappings of files with storage behind them: a guest can touch a page only while it is in the cache.
//
// A chunk that is not wholly present has no access, and the fault reads it. Pages of shared writable mappings are read-only until the first write,
// which makes them dirty (CachedFile::make_writable); write-back takes the access away again (AddressSpace::write_protect).
#include <bit>

#include "core/kernel/mm/address_space.h"
#include "core/kernel/mm/cached_file.h"
#include "core/kernel/mm/each_space.h"
#include "core/kernel/mm/page_cache.h"

namespace umk::mm {

namespace {

using guest::kProtExec, guest::kProtRead, guest::kProtWrite;
constexpr uint64_t kFaultWrite = 2, kFaultFetch = 16;
/// This many chunks that are present already are opened by one fault.
constexpr unsigned kChunksAhead = 16;
/// With so many pages of a chunk written one by one, the rest is opened too: each costs a fault, and a host mapping of its own until its neighbours follow.
constexpr unsigned kWritesBeforeChunk = 4;

}  // namespace

Result<void> AbsentPages::fetch() {
  if (use) return source->shared_code.load(std::memory_order_acquire)->turn(*source, page, *use);
  CachedFile& file = *source->cached();
  constexpr uint64_t kRoom = 64;  // pages
  Result<void> outcome = file.fill_around(page, first, count);
  for (unsigned tries = 0; !outcome.ok() && outcome.code() == ENOMEM && tries < 2 && file.cache().evict_mapped(kRoom) != 0; ++tries)
    outcome = file.fill_around(page, first, count);
  if (outcome.ok() && for_write) {
    outcome = file.make_writable(first, count);
    // Beside the page that is written the others are a convenience.
    if (!outcome.ok() && count > 1) outcome = file.make_writable(page, 1);
    // Taken out meanwhile: the fault looks again.
    if (!outcome.ok() && outcome.code() == EAGAIN) outcome = {};
    if (outcome.ok()) source->on_shared_write();
  }
  if (outcome.ok() || outcome.code() == ENOMEM || outcome.code() == ERESTARTSYS) return outcome;
  return error(EIO);  // whatever the reason, the guest gets SIGBUS: mmap(2)
}

int AddressSpace::backed_protection(const Area& area, uint64_t start, uint64_t end) const {
  const int protection = host_protection(area);
  const CachedFile& file = *area.source->cached();
  const uint64_t chunk_index = area.source_offset(start) >> kChunkShift;
  const PageMask pages = area.pages_shown(start, end);
  if ((file.present_pages(chunk_index) & pages) != pages) return 0;
  if (area.is_shared() && (protection & kProtWrite) && (file.writable_pages(chunk_index) & pages) != pages) return protection & ~kProtWrite;
  return protection;
}

Result<void> AddressSpace::fault_in_backed_locked(Area& area, uint64_t address, uint64_t error_code, AbsentPages& absent) {
  const CachedFile& file = *area.source->cached();
  const uint64_t page_address = page_down(address);
  const uint64_t file_pages_end = page_up(area.source->mappable_bytes());
  if (area.source_offset(page_address) >= file_pages_end) return error(EIO);
  if (address >= area.mapped_end) {
    // The file has grown over what had no access before.
    TRY(establish_cache_locked(area, area.mapped_end > area.start ? area.mapped_end : area.start, area.end));
  }
  // What the area shows of the chunk, up to the end of the file.
  const uint64_t offset = area.source_offset(page_address);
  const uint64_t before = offset % kChunkBytes;
  const uint64_t start = page_address - area.start < before ? area.start : page_address - before;
  uint64_t end = page_address - before + kChunkBytes;
  if (end > area.end) end = area.end;
  if (end > area.mapped_end) end = area.mapped_end;
  if (end - start > file_pages_end - area.source_offset(start)) end = start + (file_pages_end - area.source_offset(start));
  const uint64_t chunk_index = offset >> kChunkShift;
  const PageMask pages = area.pages_shown(start, end), page = area.pages_shown(page_address, page_address + kPageSize);
  const PageMask present = static_cast<PageMask>(file.present_pages(chunk_index) & pages);
  const auto ask_for = [&](uint64_t from, uint64_t to, bool for_write) {
    absent.source = area.source;
    absent.source->add_mapping_reference();
    absent.page = offset >> kPageShift;
    absent.first = area.source_offset(from) >> kPageShift;
    absent.count = (to - from) >> kPageShift;
    absent.for_write = for_write;
    return Result<void>();
  };
  if (!(present & page) || (present != pages && !absent.was_fetched)) return ask_for(start, end, false);

  const SharedCode* const code = area.shared_code();
  const int protection = code ? host_protection(area) & ~kProtExec : host_protection(area);
  if ((error_code & kFaultFetch) && area.is_shared() && (code || (area.protection & kProtWrite)))
    return engine_.protect(page_address, kPageSize, kProtRead | kProtExec);
  const bool is_shared_write = area.is_shared() && (protection & kProtWrite);
  if (!is_shared_write) {
    // A page beside it cannot be read: this one is opened by itself.
    if (present != pages) return engine_.protect(page_address, kPageSize, protection);
    uint64_t open_end = end;
    for (unsigned ahead = 0; ahead < kChunksAhead && open_end < area.end && open_end < area.mapped_end; ++ahead) {
      const uint64_t next_end = open_end + kChunkBytes;
      if (next_end > area.end || next_end > area.mapped_end || area.source_offset(next_end) > file_pages_end) break;
      if (file.present_pages(area.source_offset(open_end) >> kChunkShift) != 0xffff) break;
      open_end = next_end;
    }
    return engine_.protect(start, open_end - start, protection);
  }
  const PageMask writable = static_cast<PageMask>(file.writable_pages(chunk_index) & pages & (code ? code->writable(chunk_index) : PageMask{0xffff}));
  if (error_code & kFaultWrite) {
    if (!(writable & page)) {
      if (present == pages && count_pages(writable) >= kWritesBeforeChunk) return ask_for(start, end, true);
      return ask_for(page_address, page_address + kPageSize, true);
    }
    // As far as its neighbours are writable too.
    uint64_t from = page_address, to = page_address + kPageSize;
    area.widen(from, to, start, end, writable);
    return engine_.protect(from, to - from, protection);
  }
  if (present != pages || writable) return engine_.protect(page_address, kPageSize, (writable & page) ? protection : protection & ~kProtWrite);
  return engine_.protect(start, end - start, protection & ~kProtWrite);
}

// Private pages may be the process's own by now, so the mapping stays; what is still absent keeps no access.
Result<void> AddressSpace::reprotect_backed_locked(Area& area, uint64_t limit) {
  const int protection = host_protection(area);
  if (protection == 0) return engine_.protect(area.start, limit - area.start, 0);
  uint64_t run_start = area.start, run_end = area.start;
  int run_protection = 0;
  for (uint64_t address = area.start; address < limit;) {
    const uint64_t rest = kChunkBytes - area.source_offset(address) % kChunkBytes;
    const uint64_t end = rest < limit - address ? address + rest : limit;
    const int here = backed_protection(area, address, end);
    if (here != run_protection) {
      if (run_end > run_start) TRY(engine_.protect(run_start, run_end - run_start, run_protection));
      run_start = address;
      run_protection = here;
    }
    address = run_end = end;
  }
  return engine_.protect(run_start, run_end - run_start, run_protection);
}

// The one place where files are read with an address space locked: a private mapping becomes executable. Waiting for memory is bounded, and nobody
// else is waited for (EINPROGRESS): who reads, truncates or writes back this very file may need the address space.
Result<void> AddressSpace::fill_locked(const Area& area, uint64_t end) {
  CachedFile* const file = area.source->cached();
  if (!file) return {};
  const uint64_t first = area.offset >> kPageShift, past = area.source_offset(end) >> kPageShift;
  TRY(file->try_fill(first, past - first));
  for (uint64_t page = first; page < past; ++page)
    if (!file->is_present(page)) return error(EIO);
  return {};
}

Result<void> AddressSpace::touch_backed(uint64_t start, uint64_t end, bool for_write) {
  for (uint64_t address = start; address < end; address += for_write ? kPageSize : kChunkBytes) {
    bool is_mapped = false;
    if (!handle_fault(address, for_write ? kFaultWrite : 0, &is_mapped).ok()) return error(EFAULT);
  }
  return {};
}

bool AddressSpace::restrict_pages(PageSource& source, uint64_t first_page, uint64_t count, Restriction restriction) {
  const uint64_t from = first_page << kPageShift, to = (first_page + count) << kPageShift;
  const bool all_access = restriction == Restriction::NoAccess;
  bool done = true;
  MutexLock lock(mutex_);
  for (Area& area : areas_) {
    if (area.source != &source || area.backing != Area::Backing::Cache) continue;
    if (!all_access && (!area.is_shared() || !(area.protection & kProtWrite))) continue;
    const uint64_t area_from = area.offset, area_to = area.offset + (area.mapped_end < area.end ? area.mapped_end - area.start : area.length());
    const uint64_t first = from > area_from ? from : area_from, last = to < area_to ? to : area_to;
    if (first >= last) continue;
    if (all_access && (area.flags & map_flags::kLocked)) return false;
    if (!engine_.protect(area.start + (first - area.offset), last - first, all_access ? 0 : kProtRead).ok()) done = false;
  }
  return done;
}

bool AddressSpace::show_page_again(PageSource& source, uint64_t page) {
  const uint64_t offset = page << kPageShift;
  bool done = true;
  MutexLock lock(mutex_);
  for (Area& area : areas_) {
    if (area.source != &source || !area.shares_pages() || offset < area.offset || offset - area.offset >= area.length()) continue;
    const uint64_t address = area.start + (offset - area.offset);
    if (address >= area.mapped_end) continue;
    const Result<void> shown = engine_.protect(address, kPageSize, cache_protection(area, address, address + kPageSize, 0));
    if (!shown.ok() && shown.code() != ESRCH) done = false;
  }
  return done;
}

namespace {

bool restrict_everywhere(PageSource& source, uint64_t first_page, uint64_t count, AddressSpace::Restriction restriction) {
  struct Work {
    AddressSpace* space;
    PageSource* source;
    uint64_t first_page, count;
    AddressSpace::Restriction restriction;
    bool done;
  };
  bool all = true;
  const auto is_concerned = [&](const Area& area) {
    return area.backing == Area::Backing::Cache && (area.is_shared() || restriction == AddressSpace::Restriction::NoAccess);
  };
  for_each_space(source, is_concerned, [&](AddressSpace& space) {
    Work work{&space, &source, first_page, count, restriction, false};
    const Result<void> ran = space.engine().run_in(
        space,
        [](void* argument) {
          Work& todo = *static_cast<Work*>(argument);
          todo.done = todo.space->restrict_pages(*todo.source, todo.first_page, todo.count, todo.restriction);
        },
        &work);
    if (!ran.ok() || !work.done) all = false;
  });
  return all;
}

}  // namespace

bool write_protect(PageSource& source, uint64_t first_page, uint64_t count) {
  return restrict_everywhere(source, first_page, count, AddressSpace::Restriction::NoWriting);
}

bool take_access(PageSource& source, uint64_t first_page, uint64_t count) {
  return restrict_everywhere(source, first_page, count, AddressSpace::Restriction::NoAccess);
}

}  // namespace umk::mm

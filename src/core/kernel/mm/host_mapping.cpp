// What the host is told to map, for what the guest asked.
#include "core/kernel/mm/address_space.h"

namespace umk::mm {

namespace {

using guest::kProtExec, guest::kProtRead, guest::kProtWrite;
constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE

/// What the processor can tell apart: anything that is accessible is readable.
int with_read(int protection) { return protection == 0 ? 0 : protection | kProtRead; }

}  // namespace

// A page that may be written and executed starts writable: code is written before it runs.
int AddressSpace::host_protection(const Area& area) {
  const int protection = with_read(area.protection & (kProtRead | kProtWrite | kProtExec));
  switch (area.backing) {
    case Area::Backing::Trampoline: return kProtRead | kProtExec;
    case Area::Backing::Text: return protection & ~kProtWrite;
    case Area::Backing::Anonymous:
    case Area::Backing::Sealed: return (protection & kProtWrite) ? protection & ~kProtExec : protection;
    case Area::Backing::Cache:
      // Private pages of a file become Sealed before they are executable.
      if (area.is_shared() && !(protection & kProtWrite)) return protection;
      return protection & ~kProtExec;
    default: return protection & ~kProtExec;
  }
}

Result<void> AddressSpace::prepare_shared_code(PageSource& source) const {
  if (source.source_kind() != PageSource::Kind::Store) return error(EPERM);
  if (engine_.shows_shared_code()) return {};
  return source.keep_shared_code();
}

int AddressSpace::cache_protection(const Area& area, uint64_t start, uint64_t end, PageMask present) const {
  int protection = area.source->cached() ? backed_protection(area, start, end) : host_protection(area);
  if (area.is_private()) return protection;
  const PageMask pages = area.pages_shown(start, end);
  // A write to a page that the store does not know of would be lost to it.
  if (!area.source->cached() && (present & pages) != pages) protection &= ~kProtWrite;
  if (const SharedCode* code = area.shared_code()) {
    const uint64_t chunk_index = area.source_offset(start) >> kChunkShift;
    if ((code->writable(chunk_index) & pages) != pages) protection &= ~kProtWrite;
    if ((code->executable(chunk_index) & pages) != pages) protection &= ~kProtExec;
  }
  return protection;
}

Result<void> AddressSpace::establish_locked(Area& area, uint64_t start, uint64_t end) {
  const int protection = host_protection(area);
  switch (area.backing) {
    case Area::Backing::Anonymous: return engine_.map_anonymous(start, end - start, protection, !(area.flags & map_flags::kNoReserve));
    case Area::Backing::HostFile: return engine_.map_host_file(start, end - start, protection, area.source->host_fd(), area.source_offset(start), area.is_shared());
    case Area::Backing::Fixed: return establish_fixed_locked(area, start, end);
    case Area::Backing::Cache: return establish_cache_locked(area, start, end);
    case Area::Backing::Sealed: return seal_locked(area);
    case Area::Backing::Trampoline: return engine_.map_cache(start, end - start, protection, area.text->trampoline_cache_offset(start - area.start), true);
    case Area::Backing::Text: break;
  }
  const uint64_t text_end = area.start + (area.text->file_offset() + area.text->length() - area.offset);
  const uint64_t mapped_end = text_end < end ? text_end : end;
  if (mapped_end > start)
    TRY(engine_.map_cache(start, mapped_end - start, protection, area.text->text_cache_offset(area.source_offset(start) - area.text->file_offset()), true));
  if (mapped_end < end) {
    const uint64_t beyond = mapped_end > start ? mapped_end : start;
    TRY(engine_.map_anonymous(beyond, end - beyond, 0, false));
    area.mapped_end = beyond;
  }
  return {};
}

// Runs of chunks that lie together in the cache file and get the same protection are one host mapping.
Result<void> AddressSpace::establish_cache_locked(Area& area, uint64_t start, uint64_t end) {
  PageStore& store = *area.source->store();
  const uint64_t file_pages_end = page_up(area.source->mappable_bytes());
  uint64_t limit = area.source_offset(start) >= file_pages_end ? start : end;
  if (limit == end && file_pages_end - area.source_offset(start) < end - start) limit = start + (file_pages_end - area.source_offset(start));

  uint64_t run_start = start, run_offset = 0, run_end = start;
  int run_protection = 0;
  const auto emit = [&]() -> Result<void> {
    if (run_end > run_start) TRY(engine_.map_cache(run_start, run_end - run_start, run_protection, run_offset, area.is_shared()));
    return {};
  };
  for (uint64_t address = start; address < limit;) {
    const uint64_t offset = area.source_offset(address);
    const uint64_t within = offset % kChunkBytes;
    const uint64_t bytes = kChunkBytes - within < limit - address ? kChunkBytes - within : limit - address;
    const PageStore::MappedChunk chunk = TRY(store.map_chunk(offset));
    const int here = cache_protection(area, address, address + bytes, chunk.present);
    const uint64_t cache_offset = chunk.cache_offset + within;
    if (run_end == run_start || here != run_protection || cache_offset != run_offset + (run_end - run_start)) {
      TRY(emit());
      run_start = address;
      run_offset = cache_offset;
      run_protection = here;
    }
    address += bytes;
    run_end = address;
  }
  TRY(emit());
  if (limit < end) TRY(engine_.map_anonymous(limit, end - limit, 0, false));
  if (end == area.end) area.mapped_end = limit < end ? limit : UINT64_MAX;
  return {};
}

// Gives a private file mapping pages of its own, which nobody else can write, so that they may be executed.
Result<void> AddressSpace::seal_locked(Area& area) {
  const Area::Backing file_backing = area.source->source_kind() == PageSource::Kind::HostFile ? Area::Backing::HostFile : Area::Backing::Cache;
  const uint64_t file_pages_end = page_up(area.source->mappable_bytes());
  const uint64_t inside = area.offset >= file_pages_end ? 0 : file_pages_end - area.offset;
  const uint64_t limit = inside < area.length() ? area.start + inside : area.end;
  // Pages of a mapping that was writable may hold changes already: those stay, the others are copied by touching them.
  const bool is_fixed = area.backing == Area::Backing::Fixed;
  const bool is_mapped_as_data = area.backing == file_backing || is_fixed;
  PageStore* const store = file_backing == Area::Backing::Cache ? area.source->store() : nullptr;
  // The store's chunks are looked at until all pages are the process's own. An area that mapped them as data has a pin already.
  struct Unpin {
    PageStore* store;
    ~Unpin() {
      if (store) store->unpin_mapping(), store->unpin();
    }
  } unpin{store};
  if (store) store->pin();
  if (store && area.backing != file_backing) store->pin_mapping();
  // Before anything is changed: this may have to be tried again.
  if (store && !is_fixed && limit > area.start)
    if (Result<void> filled = fill_locked(area, limit); !filled.ok()) {
      if (area.backing == file_backing) store->pin_mapping();
      return filled;
    }
  if (area.backing == Area::Backing::Text) text_went_ = true;
  area.backing = Area::Backing::Sealed;
  area.text = nullptr;
  if (limit > area.start) {
    if (is_mapped_as_data) {
      TRY(engine_.protect(area.start, limit - area.start, kProtRead | kProtWrite));
    } else if (file_backing == Area::Backing::HostFile) {
      TRY(engine_.map_host_file(area.start, limit - area.start, kProtRead | kProtWrite, area.source->host_fd(), area.offset, false));
    } else {
      for (uint64_t address = area.start; address < limit;) {
        const uint64_t within = area.source_offset(address) % kChunkBytes;
        const uint64_t bytes = kChunkBytes - within < limit - address ? kChunkBytes - within : limit - address;
        const PageStore::MappedChunk chunk = TRY(store->map_chunk(area.source_offset(address)));
        TRY(engine_.map_cache(address, bytes, kProtRead | kProtWrite, chunk.cache_offset + within, false));
        address += bytes;
      }
    }
    TRY(engine_.advise(area.start, limit - area.start, kPopulateWrite));
    TRY(engine_.protect(area.start, limit - area.start, host_protection(area)));
  }
  if (limit < area.end) {
    if (!is_mapped_as_data) TRY(engine_.map_anonymous(limit, area.end - limit, 0, false));
    area.mapped_end = limit;
  }
  return {};
}

Result<void> AddressSpace::reprotect_locked(Area& area) {
  const uint64_t limit = area.mapped_end < area.end ? area.mapped_end : area.end;
  switch (area.backing) {
    case Area::Backing::Cache:
      if (area.is_shared()) return establish_cache_locked(area, area.start, area.end);
      if (area.source->cached() && limit > area.start) return reprotect_backed_locked(area, limit);
      break;
    default: break;
  }
  if (limit <= area.start) return {};
  return engine_.protect(area.start, limit - area.start, host_protection(area));
}

}  // namespace umk::mm

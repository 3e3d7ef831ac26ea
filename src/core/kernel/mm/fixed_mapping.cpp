// Files whose contents lie in a file of the host that nobody writes: reading and mapping the host's own pages.
//
// A mapping of such a file is one of the host's file as long as the cached file was not changed since it was first used: Area::Backing::Fixed. Its
// first change (a write, a cut, a shared mapping that is written to) takes it back to the page cache in all who map it. Private mappings that may hold pages of
// the process's own stay as they are: mmap(2) leaves open whether they show what is written to the file after the call.
#include <bit>

#include "core/host/calls.h"
#include "core/host/file_calls.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/mm/cached_file.h"
#include "core/kernel/mm/each_space.h"

namespace umk::mm {

namespace {

using guest::kProtExec, guest::kProtWrite;
/// A file in more pieces is mapped from the page cache.
constexpr unsigned kMaximumPieces = 32;

/// Calls `body(offset in the file, extent)` for the pieces of [offset, offset + length), whole pages; false when not all of it can be mapped.
template <typename Body>
Result<bool> for_each_fixed(FileBacking& backing, uint64_t offset, uint64_t length, Body&& body) {
  unsigned pieces = 0;
  for (uint64_t done = 0; done < length; ++pieces) {
    FixedExtent extent = backing.fixed_extent((offset + done) >> kPageShift, (length - done) >> kPageShift);
    extent.bytes = page_down(extent.bytes);
    if (!extent || !is_aligned(extent.offset, kPageSize) || pieces == kMaximumPieces) return false;
    TRY(body(offset + done, extent));
    done += extent.bytes;
  }
  return true;
}

}  // namespace

// --- reading

uint64_t CachedFile::absent_pages(uint64_t first, uint64_t count) const {
  uint64_t found = 0;
  while (found < count) {
    const unsigned within = static_cast<unsigned>((first + found) % kPagesInChunk);
    const unsigned ahead = static_cast<unsigned>(store_.load((first + found) / kPagesInChunk).present) >> within;
    const unsigned here = ahead == 0 ? kPagesInChunk - within : static_cast<unsigned>(std::countr_zero(ahead));
    found += here;
    if (ahead != 0) break;
  }
  return found < count ? found : count;
}

Result<size_t> CachedFile::read_fixed(uint64_t offset, UserOutBuffer& buffer) {
  const uint64_t page = offset >> kPageShift, within = offset % kPageSize;
  const uint64_t pages = absent_pages(page, (within + buffer.remaining() + kPageSize - 1) >> kPageShift);
  size_t total = 0;
  for (uint64_t done = 0; done < pages;) {
    const FixedExtent extent = backing_.fixed_extent(page + done, pages - done);
    const uint64_t skipped = done == 0 ? within : 0;
    if (extent.bytes <= skipped) break;
    uint64_t left = extent.bytes - skipped;
    for (uint64_t from = extent.offset + skipped; left > 0 && buffer.remaining() > 0;) {
      BufferPiece piece = buffer.next_piece();
      if (piece.length > left) piece.length = left;
      if (!buffer.is_kernel() && !is_user_range(piece.address, piece.length)) return total;
      const Result<size_t> got = buffer.is_kernel() ? host::pread(extent.fd, std::span(reinterpret_cast<std::byte*>(piece.address), piece.length), from)
                                                    : host::pread(extent.fd, host::UserRange::checked(piece.address, piece.length), from);
      if (!got.ok() && got.code() == EINTR) continue;
      // A page of the guest that has to be brought in first: the kernel's own copy does that, by way of the cache.
      if (!got.ok() && got.code() == EFAULT) return total;
      // The file of the host has become shorter.
      if (!got.ok() || got.value() == 0) return total != 0 ? Result<size_t>(total) : Result<size_t>(error(EIO));
      buffer.advance(got.value());
      total += got.value();
      from += got.value();
      left -= got.value();
    }
    if (buffer.remaining() == 0 || !is_aligned(extent.bytes, kPageSize)) break;
    done += extent.bytes >> kPageShift;
  }
  return total;
}

// --- mapping

bool CachedFile::begin_showing_fixed() {
  Showing state = Showing::Possible;
  return fixed_showing_.compare_exchange_strong(state, Showing::Now, std::memory_order_seq_cst) || state == Showing::Now;
}

void CachedFile::stop_showing_fixed() {
  MutexLock lock(fixed_mutex_);
  if (fixed_showing_.load(std::memory_order_relaxed) == Showing::Over) return;
  // From here on no mapping begins to; those that have are found, as their address space was locked meanwhile.
  if (fixed_showing_.exchange(Showing::Ending, std::memory_order_seq_cst) == Showing::Now) leave_fixed_pages(backing_);
  fixed_showing_.store(Showing::Over, std::memory_order_release);
}

void leave_fixed_pages(PageSource& source) {
  struct Leaving {
    AddressSpace* space;
    PageSource* source;
  };
  for_each_space(source, [](const Area& area) { return area.backing == Area::Backing::Fixed; }, [&](AddressSpace& space) {
    Leaving leaving{&space, &source};
    // A space that is gone has no mappings any more.
    (void)space.engine().run_in(
        space,
        [](void* argument) {
          const Leaving& todo = *static_cast<Leaving*>(argument);
          todo.space->leave_fixed_pages(*todo.source);
        },
        &leaving);
  });
}

bool AddressSpace::can_be_fixed(const MapRequest& request, uint64_t length) {
  CachedFile* const file = request.source ? request.source->cached() : nullptr;
  const int refused = (request.flags & map_flags::kShared) ? kProtWrite | kProtExec : kProtExec;
  if (!file || (request.protection & refused)) return false;
  const uint64_t file_pages_end = page_up(request.source->mappable_bytes());
  if (request.offset >= file_pages_end) return false;
  const uint64_t inside = file_pages_end - request.offset < length ? file_pages_end - request.offset : length;
  const Result<bool> all = for_each_fixed(file->backing(), request.offset, inside, [](uint64_t, const FixedExtent&) { return Result<void>(); });
  return all.ok() && all.value() && file->begin_showing_fixed();
}

// EAGAIN: the file is not what it was.
Result<void> AddressSpace::establish_fixed_locked(Area& area, uint64_t start, uint64_t end) {
  CachedFile& file = *area.source->cached();
  const uint64_t file_pages_end = page_up(area.source->mappable_bytes());
  const uint64_t offset = area.source_offset(start);
  const uint64_t inside = offset >= file_pages_end ? 0 : file_pages_end - offset;
  const uint64_t limit = inside < end - start ? start + inside : end;
  if (!file.begin_showing_fixed()) return error(EAGAIN);
  const int protection = host_protection(area);
  const bool all = TRY(for_each_fixed(file.backing(), offset, limit - start, [&](uint64_t at, const FixedExtent& extent) {
    return engine_.map_host_file(start + (at - offset), extent.bytes, protection, extent.fd, extent.offset, area.is_shared());
  }));
  if (!all) return error(EAGAIN);
  if (limit < end) TRY(engine_.map_anonymous(limit, end - limit, 0, false));
  if (end == area.end) area.mapped_end = limit < end ? limit : UINT64_MAX;
  return {};
}

Result<void> AddressSpace::become_cache_locked(Area& area) {
  area.backing = Area::Backing::Cache;
  area.source->store()->pin_mapping();
  area.mapped_end = UINT64_MAX;
  Result<void> mapped = establish_cache_locked(area, area.start, area.end);
  // Nothing is better than what the file was.
  if (!mapped.ok()) (void)engine_.unmap(area.start, area.length());
  return mapped;
}

void AddressSpace::leave_fixed_pages(PageSource& source) {
  MutexLock lock(mutex_);
  for (Area& area : areas_)
    if (area.source == &source && area.backing == Area::Backing::Fixed && !area.may_have_own_pages()) (void)become_cache_locked(area);
}

// An access that the host did not allow.
Result<void> AddressSpace::fault_in_fixed_locked(Area& area, uint64_t address) {
  if (address < area.mapped_end) return {};  // another thread changed the mapping since: try again
  if (area.source_offset(page_down(address)) >= page_up(area.source->mappable_bytes())) return error(EIO);
  // The file has grown, so what is new lies in the cache.
  if (area.mapped_end > area.start) TRY(split_locked(area.mapped_end));
  return become_cache_locked(*find_locked(address));
}

}  // namespace umk::mm

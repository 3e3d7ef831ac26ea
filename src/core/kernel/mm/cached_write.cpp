// Writing into the cache, and past it (O_DIRECT).
#include <bit>
#include <cstring>

#include "core/kernel/mm/cached_file.h"
#include "core/kernel/mm/page_cache.h"

namespace umk::mm {

namespace {

constexpr uint64_t kDirectAlignment = 512;
constexpr uint64_t kDirectPages = 64;  // 256 KiB at a time

/// Memory that lies as whoever is below may want it for direct access, such as a loop device's file.
class BounceBuffer {
 public:
  explicit BounceBuffer(uint64_t pages)
      : bytes_(pages << kPageShift), memory_(new (std::nothrow) std::byte[bytes_ + kDirectAlignment]) {}
  explicit operator bool() const { return memory_ != nullptr; }
  PageMemory first_pages(uint64_t pages) const {
    const uint64_t misplaced = reinterpret_cast<uint64_t>(memory_.get()) % kDirectAlignment;
    return PageMemory(memory_.get() + (misplaced == 0 ? 0 : kDirectAlignment - misplaced), pages << kPageShift);
  }

 private:
  size_t bytes_;
  std::unique_ptr<std::byte[]> memory_;
};

}  // namespace

void CachedFile::release(uint64_t chunk_index, PageMask pages) {
  for_each_run(pages, [&](unsigned first, unsigned count) { backing_.release(chunk_index * kPagesInChunk + first, count); });
}

Result<void> CachedFile::reserve_clean(uint64_t chunk_index, PageMask pages) {
  const PageMask clean = static_cast<PageMask>(pages & ~load_state(chunk_index).dirty);
  Result<void> outcome;
  PageMask reserved = 0;
  for_each_run(clean, [&](unsigned first, unsigned count) {
    if (outcome.ok()) outcome = backing_.reserve(chunk_index * kPagesInChunk + first, count);
    if (outcome.ok()) reserved |= page_mask(first, count);
  });
  // None is written when not all can be.
  if (!outcome.ok()) release(chunk_index, reserved);
  return outcome;
}

Result<size_t> CachedFile::write(uint64_t offset, UserInBuffer& buffer) {
  before_change();
  size_t total = 0;
  while (buffer.remaining() > 0) {
    Result<size_t> written = write_some(offset, kChunkBytes, buffer);
    // Where there is no room for all of it there may be some for its first page.
    if (!written.ok() && (written.code() == ENOSPC || written.code() == EDQUOT || written.code() == ENOMEM))
      written = write_some(offset, kPageSize - offset % kPageSize, buffer);
    if (!written.ok()) {
      if (total == 0) return written.failure();
      break;
    }
    total += written.value();
    offset += written.value();
  }
  return total;
}

// Writes what is of one kind at `offset`: pages that are present, or absent in one of three ways. 0 when pages were brought in instead.
Result<size_t> CachedFile::write_some(uint64_t offset, size_t most, UserInBuffer& buffer) {
  const uint64_t chunk_index = offset >> kChunkShift;
  const uint64_t within = offset % kChunkBytes;
  size_t bytes = kChunkBytes - within < buffer.remaining() ? kChunkBytes - within : buffer.remaining();
  if (bytes > most) bytes = most;
  const unsigned page = static_cast<unsigned>(within >> kPageShift);
  const unsigned touched = static_cast<unsigned>(((within + bytes - 1) >> kPageShift) - page + 1);
  const PageMask ahead = static_cast<PageMask>(store_.load(chunk_index).present >> page);
  if (ahead & 1) {
    const uint64_t run = static_cast<unsigned>(std::countr_one(ahead)) * kPageSize - within % kPageSize;
    return write_present(offset, bytes < run ? bytes : run, buffer);
  }
  const unsigned until_present = static_cast<unsigned>(std::countr_zero(static_cast<uint32_t>(ahead) | 1u << kPagesInChunk));
  unsigned absent = touched < until_present ? touched : until_present;
  const uint64_t first = offset >> kPageShift;
  if (first >= size_pages()) {
    // Behind the end of the file nothing has to be read.
    const PageMask pages = page_mask(page, absent);
    const uint64_t run = absent * kPageSize - within % kPageSize;
    const size_t length = bytes < run ? bytes : run;
    if (const size_t written = TRY(write_absent(offset, length, buffer)); written != 0) return written;
    TRY(add_zeroed(chunk_index, pages));
    Result<size_t> copied = write_present(offset, length, buffer);
    const size_t done = copied.value_or(0);
    if (done < length) {
      const unsigned used = static_cast<unsigned>(((within + done + kPageSize - 1) >> kPageShift) - page);
      if (const PageMask unused = static_cast<PageMask>(pages & ~page_mask(page, done == 0 ? 0 : used)))
        drop_unwritten(chunk_index, unused);
    }
    return copied;
  }
  const bool is_partial_head = within % kPageSize != 0 || bytes < kPageSize;
  if (is_partial_head) {
    TRY(fill_run(first, 1));
    return size_t{0};
  }
  unsigned whole = static_cast<unsigned>(bytes >> kPageShift);
  if (whole > absent) whole = absent;
  if (first + whole > size_pages()) whole = static_cast<unsigned>(size_pages() - first);
  Result<size_t> written = write_absent(offset, whole * kPageSize, buffer);
  // Through the old contents then.
  if (written.ok() && written.value() == 0) TRY(fill_run(first, whole));
  return written;
}

// Writers exclude each other and truncation, so what is present stays so unless it is clean and reclaim takes it: 0 then.
Result<size_t> CachedFile::write_present(uint64_t offset, size_t bytes, UserInBuffer& buffer) {
  PageStore::Pin pin(store_);
  const uint64_t chunk_index = offset >> kChunkShift;
  const uint64_t within = offset % kChunkBytes;
  const unsigned page = static_cast<unsigned>(within >> kPageShift);
  const PageMask pages = page_mask(page, static_cast<unsigned>(((within + bytes - 1) >> kPageShift) - page + 1));
  if ((store_.load(chunk_index).present & pages) != pages) return size_t{0};
  TRY(reserve_clean(chunk_index, pages));
  // Before, so that reclaim leaves the pages alone; and after, as they may have been written out in between.
  mark_dirty(chunk_index, pages);
  Result<size_t> copied = buffer.get(std::span(cache_.window().address(store_.load(chunk_index).chunk) + within, bytes));
  mark_dirty(chunk_index, pages);
  Slot* const state = state_of(chunk_index);
  if (!(state->load(std::memory_order_relaxed) & State::kReferenced)) state->fetch_or(State::kReferenced, std::memory_order_relaxed);
  return copied;
}

Result<void> CachedFile::add_zeroed(uint64_t chunk_index, PageMask pages) {
  PageBudget budget(cache_);
  TRY(budget.charge(count_pages(pages)));
  TRY(reserve_clean(chunk_index, pages));
  bool was_clean = false;
  Result<void> outcome;
  {
    MutexLock lock(store_.mutex_);
    const Result<Claimed> claimed = claim_locked(chunk_index, pages, budget);
    if (claimed.ok()) {
      for_each_run(static_cast<PageMask>(pages & ~claimed.value().fresh),
                   [&](unsigned first, unsigned count) { memset(claimed.value().memory + first * kPageSize, 0, count * kPageSize); });
      set_present_locked(chunk_index, pages);
      was_clean = mark_dirty_locked(chunk_index, pages);
    } else {
      outcome = claimed.failure();
    }
  }
  if (!outcome.ok()) {
    release(chunk_index, pages);
    return outcome;
  }
  cache_.note_dirtied(*this, was_clean);
  return {};
}

// Pages behind the end of the file that the copy did not reach. Write-back leaves those alone until the size says that they are the file's.
void CachedFile::drop_unwritten(uint64_t chunk_index, PageMask pages) {
  {
    MutexLock lock(store_.mutex_);
    forget_dirty_locked(chunk_index, pages);
    set_absent_locked(chunk_index, pages);
    store_.sweep_later_locked(chunk_index, chunk_index);
  }
  release(chunk_index, pages);
}

// The bytes go into memory that nobody looks at yet and nobody holds: if a reader brought the pages in meanwhile, all is copied again on top of what
// was read. Holding the pages against readers is not possible, since the copy may fault on a mapping of these very pages. Parts of pages can be written in
// this way only behind the end of the file, and where the host has nothing there yet.
Result<size_t> CachedFile::write_absent(uint64_t offset, size_t bytes, UserInBuffer& buffer) {
  const uint64_t chunk_index = offset >> kChunkShift;
  const uint64_t within = offset % kChunkBytes;
  const unsigned page = static_cast<unsigned>(within >> kPageShift);
  const unsigned count = static_cast<unsigned>(((within + bytes - 1) >> kPageShift) - page + 1);
  const PageMask pages = page_mask(page, count);
  PageBudget budget(cache_);
  TRY(budget.charge(count));
  TRY(reserve_clean(chunk_index, pages));
  PageStore::Pin pin(store_);
  ChunkNumber chunk = 0;
  bool is_fresh = false;
  uint64_t generation = 0;
  Result<void> outcome;
  {
    MutexLock lock(store_.mutex_);
    for (;;) {
      const Slot* state = state_of(chunk_index);
      if (!state || !(state->load(std::memory_order_relaxed) & State::kBusy)) break;
      outcome = waiters_.wait(store_.mutex_, Sleep::Killable);
      if (!outcome.ok()) break;
    }
    if (outcome.ok()) {
      const Result<Claimed> claimed = claim_locked(chunk_index, pages, budget);
      if (claimed.ok()) {
        chunk = store_.load(chunk_index).chunk;
        is_fresh = claimed.value().fresh == pages;
      } else {
        outcome = claimed.failure();
      }
    }
    if (outcome.ok() && (store_.load(chunk_index).present & pages)) chunk = 0;
    if (!is_fresh && !is_aligned(offset | bytes, kPageSize)) chunk = 0;
    generation = fill_generation_;
  }
  if (chunk) {
    UserInBuffer again = buffer;
    size_t copied = is_fresh ? cache_.window().fill_fresh(chunk, within, bytes, buffer) : 0;
    if (copied < bytes) copied += buffer.get(std::span(cache_.window().address(chunk) + within + copied, bytes - copied)).value_or(0);
    if (copied == bytes) {
      bool was_clean = false, installed = false;
      {
        MutexLock lock(store_.mutex_);
        if (generation == fill_generation_) {
          set_present_locked(chunk_index, pages);
          was_clean = mark_dirty_locked(chunk_index, pages);
          state_of(chunk_index)->fetch_or(State::kReferenced, std::memory_order_relaxed);
          installed = true;
        }
      }
      if (installed) {
        cache_.note_dirtied(*this, was_clean);
        return bytes;
      }
    }
    buffer = again;
  }
  release(chunk_index, static_cast<PageMask>(pages & ~load_state(chunk_index).dirty));
  TRY(std::move(outcome));
  return size_t{0};
}

// --- O_DIRECT

namespace {

Result<void> check_alignment(uint64_t offset, BufferCursor cursor) {
  if (offset % kDirectAlignment != 0) return error(EINVAL);
  while (cursor.remaining() > 0) {
    const BufferPiece piece = cursor.next_piece();
    if (piece.length % kDirectAlignment != 0 || piece.address % kDirectAlignment != 0) return error(EINVAL);
    cursor.advance(piece.length);
  }
  return {};
}

}  // namespace

Result<size_t> CachedFile::read_direct(uint64_t offset, UserOutBuffer& buffer) {
  TRY(check_alignment(offset, buffer));
  // Clipped at the end of the file, whatever the alignment: open(2), "O_DIRECT".
  const uint64_t size = backing_.mappable_bytes();
  if (offset >= size) return size_t{0};
  buffer.limit(size - offset);
  sync(offset, offset + buffer.remaining());
  const uint64_t most = (page_up(offset + buffer.remaining()) - page_down(offset)) >> kPageShift;
  const uint64_t bounce_pages = most < kDirectPages ? most : kDirectPages;
  const BounceBuffer bounce(bounce_pages);
  if (!bounce) return error(ENOMEM);
  size_t total = 0;
  while (buffer.remaining() > 0) {
    const uint64_t within = offset % kPageSize;
    uint64_t pages = (page_up(within + buffer.remaining())) >> kPageShift;
    if (pages > bounce_pages) pages = bounce_pages;
    const PageMemory memory = bounce.first_pages(pages);
    Result<void> read = begin_fill();
    if (read.ok()) {
      read = backing_.read_pages(offset >> kPageShift, std::span(&memory, 1));
      end_fill();
    }
    if (!read.ok()) {
      if (total == 0) return read.failure();
      break;
    }
    const uint64_t bytes = memory.size() - within < buffer.remaining() ? memory.size() - within : buffer.remaining();
    const Result<size_t> copied = buffer.put(memory.subspan(within, bytes));
    if (!copied.ok()) {
      if (total == 0) return copied.failure();
      break;
    }
    total += copied.value();
    offset += copied.value();
    if (copied.value() < bytes) break;
  }
  return total;
}

Result<size_t> CachedFile::write_direct(uint64_t offset, UserInBuffer& buffer) {
  before_change();
  TRY(check_alignment(offset, buffer));
  const uint64_t size = backing_.mappable_bytes();
  // Only whole pages within the file go past the cache; what is left the owner writes out afterwards.
  if (offset % kPageSize != 0 || buffer.remaining() < kPageSize || size < kPageSize || offset > page_down(size) - kPageSize)
    return write(offset, buffer);
  const uint64_t first_pages = buffer.remaining() >> kPageShift;
  const uint64_t bounce_pages = first_pages < kDirectPages ? first_pages : kDirectPages;
  const BounceBuffer bounce(bounce_pages);
  if (!bounce) return error(ENOMEM);
  size_t total = 0;
  while (buffer.remaining() >= kPageSize && offset <= page_down(size) - kPageSize) {
    uint64_t pages = buffer.remaining() >> kPageShift;
    if (pages > bounce_pages) pages = bounce_pages;
    if (pages > (page_down(size) - offset) >> kPageShift) pages = (page_down(size) - offset) >> kPageShift;
    const PageMemory memory = bounce.first_pages(pages);
    const Result<size_t> copied = buffer.get(memory);
    Result<void> written;
    if (!copied.ok()) {
      written = copied.failure();
    } else if (copied.value() < kPageSize) {
      break;
    } else {
      const PageMemory whole = memory.first(page_down(copied.value()));
      written = write_past_cache(offset >> kPageShift, whole);
      if (written.ok()) total += whole.size(), offset += whole.size();
      if (written.ok() && whole.size() < memory.size()) break;
    }
    if (!written.ok()) {
      if (total == 0) return written.failure();
      break;
    }
  }
  if (buffer.remaining() > 0) {
    const Result<size_t> rest = write(offset, buffer);
    if (rest.ok()) total += rest.value();
    else if (total == 0) return rest.failure();
  }
  return total;
}

// Pages that are in the cache get the new contents too: mappings go on showing them. The others go, as on Linux.
Result<void> CachedFile::write_past_cache(uint64_t first_page, PageMemory memory) {
  const uint64_t count = memory.size() >> kPageShift;
  TRY(backing_.reserve(first_page, count));
  bool any_present = false;
  {
    NoFills hold(*this);
    PageStore::Pin pin(store_);
    for (uint64_t page = 0; page < count; ++page) {
      const Entry entry = store_.load((first_page + page) / kPagesInChunk);
      const unsigned within = static_cast<unsigned>((first_page + page) % kPagesInChunk);
      if (!((entry.present >> within) & 1)) continue;
      memcpy(cache_.window().address(entry.chunk) + within * kPageSize, memory.data() + page * kPageSize, kPageSize);
      any_present = true;
    }
    // A page that is being written now could overtake.
    wait_for_write_back(first_page << kPageShift, (first_page + count) << kPageShift);
    TRY(backing_.write_pages(first_page, std::span(&memory, 1), WriteReason::Sync));
  }
  if (any_present) (void)invalidate(first_page, count);
  return {};
}

}  // namespace umk::mm

// Taking pages out of the cache: truncation, holes, reclaim.
#include <cstring>

#include "core/host/calls.h"
#include "core/kernel/mm/cached_file.h"
#include "core/kernel/mm/page_cache.h"

namespace umk::mm {

namespace {

/// A file whose pages are all dirty, mapped or locked is not searched again at once.
constexpr uint64_t kFruitlessPause = 10'000'000;

/// The pages of a chunk that lie in [first_page, end_page).
PageMask pages_within(uint64_t chunk_index, uint64_t first_page, uint64_t end_page) {
  const uint64_t start = chunk_index * kPagesInChunk;
  const unsigned from = first_page > start ? static_cast<unsigned>(first_page - start) : 0;
  const unsigned to = end_page - start < kPagesInChunk ? static_cast<unsigned>(end_page - start) : kPagesInChunk;
  return page_mask(from, to - from);
}

}  // namespace

void CachedFile::extend(uint64_t old_size, uint64_t new_size) {
  before_change();
  if (new_size <= old_size || is_aligned(old_size, kPageSize) || !written_by_mappings_.load(std::memory_order_relaxed)) return;
  PageStore::Pin pin(store_);
  const Entry entry = store_.load(old_size >> kChunkShift);
  const uint64_t within = old_size % kChunkBytes;
  // The storage has zeroes there already.
  if ((entry.present >> (within >> kPageShift)) & 1) memset(cache_.window().address(entry.chunk) + within, 0, kPageSize - old_size % kPageSize);
}

Result<void> CachedFile::zero_part(uint64_t offset, uint64_t length) {
  const uint64_t page = offset >> kPageShift;
  const uint64_t chunk_index = page / kPagesInChunk;
  const PageMask pages = page_mask(static_cast<unsigned>(page % kPagesInChunk), 1);
  PageStore::Pin pin(store_);
  const bool is_hole = backing_.is_hole(page) && !(load_state(chunk_index).dirty & pages);
  if (!is_present(page)) {
    if (is_hole) return {};
    TRY(fill_run(page, 1, Gate::Own));
  }
  if (!is_hole) {
    TRY(reserve_clean(chunk_index, pages));
    mark_dirty(chunk_index, pages);
  }
  memset(cache_.window().address(store_.load(chunk_index).chunk) + offset % kChunkBytes, 0, length);
  if (!is_hole) mark_dirty(chunk_index, pages);
  return {};
}

Result<void> CachedFile::truncate(uint64_t size) {
  before_change();
  Result<void> outcome;
  if (!is_aligned(size, kPageSize)) outcome = zero_part(size, kPageSize - size % kPageSize);
  drop(page_up(size) >> kPageShift, UINT64_MAX >> kPageShift, Mapped::Gone);
  return outcome;
}

Result<void> CachedFile::punch(uint64_t offset, uint64_t length) {
  before_change();
  const uint64_t end = offset + length;
  Result<void> outcome;
  if (page_down(offset) == page_down(end)) return length == 0 ? Result<void>() : zero_part(offset, length);
  if (!is_aligned(offset, kPageSize)) outcome = zero_part(offset, kPageSize - offset % kPageSize);
  if (!is_aligned(end, kPageSize)) {
    Result<void> tail = zero_part(page_down(end), end % kPageSize);
    if (outcome.ok()) outcome = std::move(tail);
  }
  // Guests that map these pages have to ask before they write into the hole.
  if (written_by_mappings_.load(std::memory_order_relaxed)) revoke_writes(page_up(offset) >> kPageShift, end >> kPageShift);
  drop(page_up(offset) >> kPageShift, end >> kPageShift, Mapped::Emptied);
  return outcome;
}

void CachedFile::discard() {
  NoFills hold(*this);
  drop(0, UINT64_MAX >> kPageShift, Mapped::Gone);
}

void CachedFile::drop(uint64_t first_page, uint64_t end_page, Mapped mapped) {
  if (first_page >= end_page) return;
  uint64_t last = 0;
  for (uint64_t from = first_page / kPagesInChunk;; from = last + 1) {
    PageMask unwritten;
    {
      MutexLock lock(store_.mutex_);
      const std::optional<uint64_t> index = store_.tree_.next_used(from);
      if (!index || *index * kPagesInChunk >= end_page) {
        store_.sweep_later_locked(first_page / kPagesInChunk, last);
        return;
      }
      last = *index;
      const PageMask pages = pages_within(*index, first_page, end_page);
      // The blocks of a page that is being written must not become another file's before that has ended.
      while (load_state(*index).written & pages) (void)waiters_.wait(store_.mutex_, Sleep::Uninterruptible);
      const State state = load_state(*index);
      PageMask gone = pages;
      if (mapped == Mapped::Emptied && (store_.pins_.load() & PageStore::kMappingPins) && (state_of(*index)->load() & State::kMapped)) {
        // Guests go on seeing these pages: they become zeroes where they are. What one may still write, as it could not be reached, stays dirty.
        const Entry entry = store_.load(*index);
        cache_.window().punch(entry.chunk, static_cast<PageMask>(entry.present & pages));
        unwritten = static_cast<PageMask>(state.dirty & pages & ~state.writable);
        gone = 0;
      } else {
        state_of(*index)->fetch_and(~(uint64_t{pages} << State::kWritableShift));
        unwritten = static_cast<PageMask>(state.dirty & pages);
      }
      forget_dirty_locked(*index, unwritten);
      if (gone) set_absent_locked(*index, gone);
    }
    release(last, unwritten);
  }
}

// --- reclaim

// Pages stop being present first, and then nobody may have been looking: whoever pins the store later finds them absent. A pin that was there before
// may belong to a reader or writer of these very pages, and takes the step back.
uint64_t CachedFile::reclaim_chunk_locked(uint64_t chunk_index, PageMask candidates) {
  Slot& slot = *store_.tree_.find(chunk_index);
  Slot& state = *store_.tree_.second(chunk_index, &slot);
  const Entry entry = Entry::unpack(slot.load(std::memory_order_relaxed));
  const uint64_t pins = store_.pins_.load(std::memory_order_seq_cst);
  uint64_t bits = state.load(std::memory_order_seq_cst);
  if ((bits & State::kMapped) && !(pins & PageStore::kMappingPins)) bits = state.fetch_and(~State::kMapped, std::memory_order_seq_cst) & ~State::kMapped;
  if (bits & (State::kBusy | State::kMapped)) return 0;
  const PageMask clean = static_cast<PageMask>(entry.present & candidates & ~State::unpack(bits).kept());
  const PageMask stale = static_cast<PageMask>(entry.backed & ~entry.present);
  if (!clean && !stale && entry.present != 0) return 0;

  Entry without = entry;
  without.present = static_cast<PageMask>(entry.present & ~clean);
  slot.store(without.packed(), std::memory_order_seq_cst);
  const bool is_watched = (store_.pins_.load(std::memory_order_seq_cst) & PageStore::kReaderPins) != 0;
  const uint64_t now = state.load(std::memory_order_seq_cst);
  if (is_watched || (State::unpack(now).kept() & clean) || (now & State::kMapped)) {
    slot.store(entry.packed(), std::memory_order_seq_cst);
    return 0;
  }
  const unsigned taken = count_pages(clean);
  store_.present_pages_.fetch_sub(taken, std::memory_order_relaxed);
  cache_.counters.present.fetch_sub(taken, std::memory_order_relaxed);
  const PageMask freed = static_cast<PageMask>(clean | stale);
  if (without.present == 0) {
    slot.store(0, std::memory_order_seq_cst);
    state.store(0, std::memory_order_seq_cst);
    const CacheWindow::Chunk chunk{entry.chunk, entry.backed};
    cache_.window().free(&chunk, 1, true);  // to the host: memory is wanted, not a chunk
  } else {
    without.backed = static_cast<PageMask>(entry.backed & ~freed);
    slot.store(without.packed(), std::memory_order_seq_cst);
    cache_.window().punch(entry.chunk, freed);
    cache_.window().uncharge(count_pages(freed));
  }
  return count_pages(freed);
}

uint64_t CachedFile::invalidate(uint64_t first_page, uint64_t count) {
  const uint64_t end_page = count > (UINT64_MAX >> kPageShift) - first_page ? UINT64_MAX >> kPageShift : first_page + count;
  uint64_t freed = 0;
  MutexLock lock(store_.mutex_);
  for (std::optional<uint64_t> index = store_.tree_.next_used(first_page / kPagesInChunk); index && *index * kPagesInChunk < end_page;
       index = store_.tree_.next_used(*index + 1))
    freed += reclaim_chunk_locked(*index, pages_within(*index, first_page, end_page));
  return freed;
}

bool CachedFile::has_nothing_to_reclaim(uint64_t now_ns) const {
  if (store_.present_pages_.load(std::memory_order_relaxed) <= dirty_pages_.load(std::memory_order_relaxed) + written_pages_.load(std::memory_order_relaxed)) return true;
  return now_ns < fruitless_until_ns_.load(std::memory_order_relaxed);
}

uint64_t CachedFile::reclaim_some(uint64_t pages, bool second_chance, bool* is_round) {
  uint64_t freed = 0;
  *is_round = false;
  MutexLock lock(store_.mutex_);
  // Nothing goes while somebody looks.
  if (store_.pins_.load(std::memory_order_seq_cst) & PageStore::kReaderPins) {
    *is_round = true;
    return 0;
  }
  for (unsigned look = 0; look < kChunksInLook && freed < pages; ++look) {
    const std::optional<uint64_t> index = store_.tree_.next_used(clock_hand_);
    clock_hand_ = index ? *index + 1 : 0;
    if (!index) {
      *is_round = true;
      if (!second_chance && freed_in_round_ + freed == 0) fruitless_until_ns_.store(host::now_ns(host::Clock::Monotonic) + kFruitlessPause, std::memory_order_relaxed);
      freed_in_round_ = 0;
      return freed;
    }
    cache_.counters.pages_scanned.fetch_add(count_pages(store_.load(*index).present), std::memory_order_relaxed);
    if (second_chance && (state_of(*index)->fetch_and(~State::kReferenced, std::memory_order_relaxed) & State::kReferenced)) continue;
    freed += reclaim_chunk_locked(*index, 0xffff);
  }
  freed_in_round_ += freed;
  return freed;
}

// A chunk that guests map keeps its place in the window: their mappings lose access, and the fault of the next who wants it fills it again. Meanwhile it
// counts as being filled, so that nobody else does, and truncation waits.
uint64_t CachedFile::evict_mapped(uint64_t pages) {
  // Up to the end, once around for those whose mark goes, and once more.
  constexpr unsigned kRounds = 3;
  uint64_t freed = 0;
  for (unsigned round = 0; round < kRounds && freed < pages;) {
    PageStore::Pin pin(store_);
    uint64_t index;
    PageMask evicted;
    {
      MutexLock lock(store_.mutex_);
      const std::optional<uint64_t> next = store_.tree_.next_used(evict_hand_);
      evict_hand_ = next ? *next + 1 : 0;
      if (no_fills_ > 0) return freed;
      if (!next) {
        ++round;
        continue;
      }
      index = *next;
      Slot& slot = *store_.tree_.find(index);
      Slot& state = *store_.tree_.second(index, &slot);
      const uint64_t bits = state.fetch_and(~State::kReferenced, std::memory_order_seq_cst);
      const Entry entry = Entry::unpack(slot.load(std::memory_order_relaxed));
      // Guests' own accesses are not seen; a chunk that was filled or read lately has one round more.
      if (!(bits & State::kMapped) || (bits & (State::kBusy | State::kReferenced)) || entry.present == 0 || (State::unpack(bits).kept() & entry.present)) continue;
      evicted = entry.present;
      set_absent_locked(index, evicted);
      // As in reclaim_chunk_locked(); the one pin is ours.
      if ((store_.pins_.load(std::memory_order_seq_cst) & PageStore::kReaderPins) != PageStore::kReaderPin || State::unpack(state.load(std::memory_order_seq_cst)).kept()) {
        set_present_locked(index, evicted);
        continue;
      }
      state.fetch_or(State::kBusy, std::memory_order_seq_cst);
      ++fills_in_flight_;
    }
    const bool is_taken = take_access(backing_, index * kPagesInChunk, kPagesInChunk);
    {
      MutexLock lock(store_.mutex_);
      Slot& slot = *store_.tree_.find(index);
      if (is_taken) {
        Entry entry = Entry::unpack(slot.load(std::memory_order_relaxed));
        cache_.window().punch(entry.chunk, entry.backed);
        cache_.window().uncharge(count_pages(entry.backed));
        freed += count_pages(entry.backed);
        entry.backed = 0;
        slot.store(entry.packed(), std::memory_order_seq_cst);
      } else {
        set_present_locked(index, evicted);
      }
      store_.tree_.second(index, &slot)->fetch_and(~State::kBusy, std::memory_order_seq_cst);
      --fills_in_flight_;
    }
    if (waiters_.has_waiters()) waiters_.wake_all();
  }
  return freed;
}

}  // namespace umk::mm

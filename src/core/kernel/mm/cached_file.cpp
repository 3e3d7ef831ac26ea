#include "core/kernel/mm/cached_file.h"

#include <bit>

#include "core/kernel/mm/page_cache.h"

namespace umk::mm {

PageStore* FileBacking::store() { return &cached_file().store(); }

Result<size_t> FileBacking::read_for_text(uint64_t offset, std::span<std::byte> into) {
  const uint64_t size = mappable_bytes();
  if (offset >= size) return size_t{0};
  UserOutBuffer buffer = UserOutBuffer::kernel(into);
  buffer.limit(size - offset);
  return cached_file().read(offset, buffer);
}

PageBudget::~PageBudget() {
  if (pages_) cache_.window().uncharge(pages_);
}

Result<void> PageBudget::charge(uint64_t pages) {
  TRY(cache_.charge(pages));
  pages_ += pages;
  return {};
}

Result<void> PageBudget::try_charge(uint64_t pages) {
  TRY(cache_.try_charge(pages));
  pages_ += pages;
  return {};
}

void CachedFile::Run::add(std::byte* memory, uint64_t pages) {
  const size_t bytes = pages << kPageShift;
  count += pages;
  if (piece_count > 0) {
    PageMemory& last = pieces[piece_count - 1];
    if (last.data() + last.size() == memory) {
      last = PageMemory(last.data(), last.size() + bytes);
      return;
    }
  }
  pieces[piece_count++] = PageMemory(memory, bytes);
}

void CachedFile::Run::limit(uint64_t pages) {
  count = pages;
  size_t left = pages << kPageShift;
  for (size_t i = 0; i < piece_count; ++i) {
    if (left == 0) {
      piece_count = i;
      return;
    }
    if (pieces[i].size() > left) pieces[i] = pieces[i].first(left);
    left -= pieces[i].size();
  }
}

void CachedFile::Run::skip(uint64_t pages) {
  first += pages;
  count -= pages;
  size_t left = pages << kPageShift, kept = 0;
  for (size_t i = 0; i < piece_count; ++i) {
    const size_t gone = pieces[i].size() < left ? pieces[i].size() : left;
    left -= gone;
    if (gone < pieces[i].size()) pieces[kept++] = pieces[i].subspan(gone);
  }
  piece_count = kept;
}

CachedFile::CachedFile(PageCache& cache, WriteBackGroup& group, FileBacking& backing)
    : cache_(cache), group_(group), backing_(backing), store_(cache.window(), PageStore::Kind::Tracked) {
  cache_.add(*this);
}

CachedFile::~CachedFile() {
  // What is still being read ahead.
  stop_fills();
  cache_.remove(*this);
  CHECK(!is_dirty() && written_pages_.load() == 0, "the owner writes a file out or discards it before it goes");
  cache_.counters.present.fetch_sub(store_.present_pages_.load(), std::memory_order_relaxed);
}

// --- states

Result<CachedFile::Claimed> CachedFile::claim_locked(uint64_t chunk_index, PageMask pages, PageBudget& budget) {
  Slot& slot = *TRY(store_.tree_.make(chunk_index));
  Entry entry = Entry::unpack(slot.load(std::memory_order_relaxed));
  if (entry.chunk == 0) {
    // Chunks that follow each other in the file and in the window are read, written and mapped together.
    const ChunkNumber before = chunk_index == 0 ? 0 : store_.load(chunk_index - 1).chunk;
    const CacheWindow::Chunk chunk = TRY(cache_.window().allocate(before ? before + 1 : 0));
    entry = {chunk.number, 0, chunk.backed};
  }
  const PageMask fresh = static_cast<PageMask>(pages & ~entry.backed);
  budget.use(count_pages(fresh));
  entry.backed |= fresh;
  slot.store(entry.packed(), std::memory_order_seq_cst);
  return Claimed{cache_.window().address(entry.chunk), fresh};
}

void CachedFile::set_present_locked(uint64_t chunk_index, PageMask pages) {
  Slot& slot = *store_.tree_.find(chunk_index);
  Entry entry = Entry::unpack(slot.load(std::memory_order_relaxed));
  const unsigned added = count_pages(static_cast<PageMask>(pages & ~entry.present));
  entry.present |= pages;
  slot.store(entry.packed(), std::memory_order_seq_cst);
  store_.present_pages_.fetch_add(added, std::memory_order_relaxed);
  cache_.counters.present.fetch_add(added, std::memory_order_relaxed);
}

void CachedFile::set_absent_locked(uint64_t chunk_index, PageMask pages) {
  Slot& slot = *store_.tree_.find(chunk_index);
  Entry entry = Entry::unpack(slot.load(std::memory_order_relaxed));
  const unsigned taken = count_pages(static_cast<PageMask>(pages & entry.present));
  entry.present = static_cast<PageMask>(entry.present & ~pages);
  slot.store(entry.packed(), std::memory_order_seq_cst);
  store_.present_pages_.fetch_sub(taken, std::memory_order_relaxed);
  cache_.counters.present.fetch_sub(taken, std::memory_order_relaxed);
}

bool CachedFile::mark_dirty_locked(uint64_t chunk_index, PageMask pages) {
  const State before = State::unpack(state_of(chunk_index)->fetch_or(pages, std::memory_order_seq_cst));
  const unsigned added = count_pages(static_cast<PageMask>(pages & ~before.dirty));
  if (added == 0) return false;
  if (chunk_index < first_dirty_chunk_) first_dirty_chunk_ = chunk_index;
  if (chunk_index > last_dirty_chunk_) last_dirty_chunk_ = chunk_index;
  cache_.counters.dirty.fetch_add(added, std::memory_order_relaxed);
  cache_.counters.pages_dirtied.fetch_add(added, std::memory_order_relaxed);
  return dirty_pages_.fetch_add(added, std::memory_order_seq_cst) == 0;
}

void CachedFile::mark_dirty(uint64_t chunk_index, PageMask pages) {
  if ((load_state(chunk_index).dirty & pages) == pages) [[likely]]
    return;
  bool was_clean;
  {
    MutexLock lock(store_.mutex_);
    was_clean = mark_dirty_locked(chunk_index, pages);
  }
  cache_.note_dirtied(*this, was_clean);
}

void CachedFile::forget_dirty_locked(uint64_t chunk_index, PageMask pages) {
  const State before = State::unpack(state_of(chunk_index)->fetch_and(~uint64_t{pages}, std::memory_order_seq_cst));
  const unsigned taken = count_pages(static_cast<PageMask>(pages & before.dirty));
  if (taken == 0) return;
  cache_.counters.dirty.fetch_sub(taken, std::memory_order_relaxed);
  if (dirty_pages_.fetch_sub(taken, std::memory_order_seq_cst) != taken) return;
  first_dirty_chunk_ = UINT64_MAX;
  last_dirty_chunk_ = 0;
}

bool CachedFile::is_present(uint64_t page) const { return (store_.load(page / kPagesInChunk).present >> (page % kPagesInChunk)) & 1; }

// --- reading

// The store is pinned for each copy and not while pages are brought in: what this reader has read may have to make room.
Result<size_t> CachedFile::read(uint64_t offset, UserOutBuffer& buffer) {
  size_t total = 0;
  while (buffer.remaining() > 0) {
    Present present;
    Result<size_t> copied = read_present(offset, buffer, present);
    if (present.is_ahead_mark) continue_ahead(round_down(offset >> kPageShift, kPagesInChunk));
    if (copied.ok() && present.bytes == 0) {
      const Result<size_t> fixed = read_fixed(offset, buffer);
      if (fixed.ok() && fixed.value() != 0) {
        total += fixed.value();
        offset += fixed.value();
        continue;
      }
      if (!fixed.ok()) {
        if (total == 0) return fixed.failure();
        break;
      }
      const uint64_t last = (offset + buffer.remaining() - 1) >> kPageShift;
      const Result<void> read = read_missing(offset >> kPageShift, last - (offset >> kPageShift) + 1);
      if (read.ok()) continue;
      copied = read.failure();
    }
    if (!copied.ok()) {
      if (total == 0) return copied.failure();
      break;
    }
    total += copied.value();
    offset += copied.value();
    if (copied.value() < present.bytes) break;
  }
  return total;
}

// Copies from the pages of one chunk that are there at `offset`.
Result<size_t> CachedFile::read_present(uint64_t offset, UserOutBuffer& buffer, Present& there) {
  PageStore::Pin pin(store_);
  const uint64_t chunk_index = offset >> kChunkShift;
  const uint64_t within = offset % kChunkBytes;
  Slot* const slot = store_.tree_.find(chunk_index);
  const Entry entry = Entry::unpack(slot ? slot->load(std::memory_order_seq_cst) : 0);
  const unsigned present = static_cast<unsigned>(std::countr_one(static_cast<PageMask>(entry.present >> (within >> kPageShift))));
  if (present == 0) return size_t{0};
  there.bytes = present * kPageSize - within % kPageSize;
  if (there.bytes > buffer.remaining()) there.bytes = buffer.remaining();
  Slot* const state = store_.tree_.second(chunk_index, slot);
  const uint64_t flags = state->load(std::memory_order_relaxed) & (State::kReferenced | State::kAhead);
  if (flags != State::kReferenced) [[unlikely]] {
    if (!(flags & State::kReferenced)) state->fetch_or(State::kReferenced, std::memory_order_relaxed);
    if (flags & State::kAhead) there.is_ahead_mark = state->fetch_and(~State::kAhead, std::memory_order_relaxed) & State::kAhead;
  }
  return buffer.put(std::span(cache_.window().address(entry.chunk) + within, there.bytes));
}

// --- bringing pages in

Result<void> CachedFile::begin_fill() {
  MutexLock lock(store_.mutex_);
  while (no_fills_ > 0) TRY(waiters_.wait(store_.mutex_, Sleep::Killable));
  ++fills_in_flight_;
  return {};
}

void CachedFile::end_fill() {
  {
    MutexLock lock(store_.mutex_);
    --fills_in_flight_;
  }
  if (waiters_.has_waiters()) waiters_.wake_all();
}

void CachedFile::stop_fills() {
  MutexLock lock(store_.mutex_);
  ++no_fills_;
  while (fills_in_flight_ > 0) (void)waiters_.wait(store_.mutex_, Sleep::Uninterruptible);
}

void CachedFile::allow_fills() {
  {
    MutexLock lock(store_.mutex_);
    --no_fills_;
  }
  if (waiters_.has_waiters()) waiters_.wake_all();
}

Result<void> CachedFile::claim_run_locked(Run& run, uint64_t count, PageBudget& budget) {
  while (run.count < count && run.has_room()) {
    const uint64_t next = run.first + run.count;
    const uint64_t chunk_index = next / kPagesInChunk;
    const unsigned page = static_cast<unsigned>(next % kPagesInChunk);
    const Slot* state = state_of(chunk_index);
    if (state && state->load(std::memory_order_relaxed) & State::kBusy) break;
    unsigned absent = static_cast<unsigned>(std::countr_zero(static_cast<uint32_t>(store_.load(chunk_index).present) >> page | 1u << (kPagesInChunk - page)));
    if (absent > count - run.count) absent = static_cast<unsigned>(count - run.count);
    if (absent == 0) break;
    const Result<Claimed> claimed = claim_locked(chunk_index, page_mask(page, absent), budget);
    if (!claimed.ok()) {
      if (run.count == 0) return claimed.failure();
      break;
    }
    state_of(chunk_index)->fetch_or(State::kBusy | State::kReferenced, std::memory_order_relaxed);
    run.add(claimed.value().memory + page * kPageSize, absent);
    if (page + absent < kPagesInChunk) break;
  }
  if (run.count == 0) return error(EINPROGRESS);
  ++fills_in_flight_;
  ++fill_generation_;
  return {};
}

void CachedFile::release_run_locked(const Run& run, bool was_read) {
  for (uint64_t done = 0; done < run.count;) {
    const uint64_t next = run.first + done;
    const unsigned page = static_cast<unsigned>(next % kPagesInChunk);
    const unsigned pages = static_cast<unsigned>(run.count - done < kPagesInChunk - page ? run.count - done : kPagesInChunk - page);
    state_of(next / kPagesInChunk)->fetch_and(~State::kBusy, std::memory_order_relaxed);
    if (was_read) set_present_locked(next / kPagesInChunk, page_mask(page, pages));
    done += pages;
  }
  if (was_read) cache_.counters.pages_read.fetch_add(run.count, std::memory_order_relaxed);
}

Result<void> CachedFile::fill_run(uint64_t first, uint64_t count, Gate gate) {
  // What lies behind the end of the file is zeroes; only what was asked for is brought in from there.
  const uint64_t end = size_pages();
  if (count > kMaximumRun) count = kMaximumRun;
  if (first >= end) count = 1;
  else if (count > end - first) count = end - first;
  PageBudget budget(cache_);
  if (!budget.charge(count).ok()) TRY(budget.charge(count = 1));

  PageStore::Pin pin(store_);
  Run run;
  run.first = first;
  {
    MutexLock lock(store_.mutex_);
    for (;;) {
      if (is_present(first)) return {};
      const bool stopped = gate != Gate::Own && no_fills_ > 0;
      const Slot* state = state_of(first / kPagesInChunk);
      if (!stopped && !(state && state->load(std::memory_order_relaxed) & State::kBusy)) break;
      if (gate == Gate::Try) return error(EINPROGRESS);
      TRY(waiters_.wait(store_.mutex_, Sleep::Killable));
    }
    TRY(claim_run_locked(run, count, budget));
  }

  Result<void> read = backing_.read_pages(first, run.memory());
  {
    MutexLock lock(store_.mutex_);
    release_run_locked(run, read.ok());
    --fills_in_flight_;
  }
  if (waiters_.has_waiters()) waiters_.wake_all();
  if (read.ok()) return {};
  // The failure may belong to a page that nobody has asked for.
  return run.count > 1 ? fill_run(first, 1, gate) : std::move(read);
}

Result<void> CachedFile::fill_range(uint64_t first_page, uint64_t count, Gate gate) {
  const uint64_t end = size_pages();
  if (first_page >= end) return {};
  if (count > end - first_page) count = end - first_page;
  for (uint64_t page = first_page; page < first_page + count;) {
    const unsigned within = static_cast<unsigned>(page % kPagesInChunk);
    const unsigned present = static_cast<unsigned>(std::countr_one(static_cast<PageMask>(store_.load(page / kPagesInChunk).present >> within)));
    page += present;
    if (present != 0) continue;
    if (Result<void> read = fill_run(page, first_page + count - page, gate); !read.ok()) {
      if (page == first_page || read.code() == EINPROGRESS) return read;
      break;
    }
  }
  return {};
}

}  // namespace umk::mm

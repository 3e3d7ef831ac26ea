// Writing dirty pages to the storage.
#include <cstring>

#include "core/kernel/mm/cached_file.h"
#include "core/kernel/mm/page_cache.h"

namespace umk::mm {

// The next run of dirty pages at or behind `cursor`, which is moved behind it. They are under write-back afterwards.
CachedFile::Taken CachedFile::take_dirty(uint64_t& cursor, uint64_t end, WriteReason reason, FileBacking::WhenBusy when_busy, Run& run) {
  // What lies behind the end of the file is being appended: it is dirty until its writer has set the size.
  if (const uint64_t size = size_pages(); end > size) end = size;
  run = Run{};
  MutexLock lock(store_.mutex_);
  uint64_t chunk_index = cursor / kPagesInChunk < first_dirty_chunk_ ? first_dirty_chunk_ : cursor / kPagesInChunk;
  bool took_last = false;
  for (; dirty_pages_.load(std::memory_order_relaxed) != 0 && chunk_index <= last_dirty_chunk_ && chunk_index * kPagesInChunk < end; ++chunk_index) {
    if (run.count > 0 && (!took_last || !run.has_room())) break;
    const std::optional<uint64_t> used = store_.tree_.next_used(chunk_index);
    if (!used || (run.count > 0 && *used != chunk_index)) break;
    chunk_index = *used;
    const uint64_t start = chunk_index * kPagesInChunk;
    if (start >= end) break;
    PageMask wanted = 0xffff;
    if (run.count == 0 && cursor > start) wanted = static_cast<PageMask>(wanted & ~page_mask(0, static_cast<unsigned>(cursor - start)));
    if (end - start < kPagesInChunk) wanted = static_cast<PageMask>(wanted & page_mask(0, static_cast<unsigned>(end - start)));
    State state = load_state(chunk_index);
    // A page that changed while it was being written is written again for who waits for it.
    while (reason == WriteReason::Sync && run.count == 0 && (state.dirty & state.written & wanted)) {
      if (when_busy == FileBacking::WhenBusy::Fail) return Taken::Busy;
      (void)waiters_.wait(store_.mutex_, Sleep::Uninterruptible);
      state = load_state(chunk_index);
    }
    const PageMask pages = static_cast<PageMask>(state.dirty & ~state.written & wanted);
    if (!pages) {
      if (run.count > 0) break;
      continue;
    }
    const unsigned first = static_cast<unsigned>(std::countr_zero(pages));
    if (run.count > 0 && first != 0) break;
    const unsigned count = static_cast<unsigned>(std::countr_one(static_cast<PageMask>(pages >> first)));
    const PageMask taken = page_mask(first, count);
    if (run.count == 0) run.first = start + first;
    run.add(cache_.window().address(store_.load(chunk_index).chunk) + first * kPageSize, count);
    run.note_writable(chunk_index, static_cast<PageMask>(state.writable & taken));
    // Under write-back before it stops being dirty, so that it is never taken for clean.
    state_of(chunk_index)->fetch_or(uint64_t{taken} << State::kWrittenShift, std::memory_order_seq_cst);
    // What an appending writer has put behind the end of the file is not written with the page: it stays dirty.
    const uint64_t extended = extended_page_.load(std::memory_order_acquire);
    forget_dirty_locked(chunk_index, extended / kPagesInChunk == chunk_index ? static_cast<PageMask>(taken & ~page_mask(static_cast<unsigned>(extended % kPagesInChunk), 1)) : taken);
    took_last = first + count == kPagesInChunk;
  }
  if (run.count == 0) return Taken::Nothing;
  written_pages_.fetch_add(run.count, std::memory_order_relaxed);
  cache_.counters.written_back.fetch_add(run.count, std::memory_order_relaxed);
  cursor = run.first + run.count;
  return Taken::Some;
}

void CachedFile::write_run(Run& run, WriteReason reason) {
  PageStore::Pin pin(store_);
  const bool stays_writable = run.any_writable && !revoke_writes(run);
  Result<void> outcome;
  if (has_tail(run)) {
    outcome = write_with_tail(run, backing_.mappable_bytes() % kPageSize, reason);
  } else {
    outcome = backing_.write_pages(run.first, run.memory(), reason);
  }
  finish_run(run, outcome, stays_writable);
}

bool CachedFile::has_tail(const Run& run) const {
  const uint64_t size = backing_.mappable_bytes();
  return written_by_mappings_.load(std::memory_order_relaxed) && !is_aligned(size, kPageSize) && size >> kPageShift == run.first + run.count - 1;
}

// What mappings wrote behind the end of the file does not go to the storage: the last page is written from a copy.
Result<void> CachedFile::write_with_tail(Run& run, uint64_t tail, WriteReason reason) {
  std::unique_ptr<std::byte[]> copy(new (std::nothrow) std::byte[kPageSize]);
  if (!copy) return error(ENOMEM);
  PageMemory& piece = run.pieces[run.piece_count - 1];
  memcpy(copy.get(), piece.data() + piece.size() - kPageSize, tail);
  memset(copy.get() + tail, 0, kPageSize - tail);
  if (run.count > 1) {
    Run front = run;
    PageMemory& front_piece = front.pieces[front.piece_count - 1];
    front_piece = front_piece.first(front_piece.size() - kPageSize);
    if (front_piece.empty()) --front.piece_count;
    TRY(backing_.write_pages(front.first, front.memory(), reason));
  }
  const PageMemory last(copy.get(), kPageSize);
  return backing_.write_pages(run.first + run.count - 1, std::span(&last, 1), reason);
}

void CachedFile::finish_run(const Run& run, const Result<void>& outcome, bool stays_writable) {
  if (!outcome.ok()) {
    errors_.record(outcome.code());
    group_.errors.record(outcome.code());
  }
  bool was_clean = false;
  {
    MutexLock lock(store_.mutex_);
    for (uint64_t done = 0; done < run.count;) {
      const uint64_t next = run.first + done;
      const unsigned page = static_cast<unsigned>(next % kPagesInChunk);
      const unsigned count = static_cast<unsigned>(run.count - done < kPagesInChunk - page ? run.count - done : kPagesInChunk - page);
      const PageMask pages = page_mask(page, count);
      Slot& state = *state_of(next / kPagesInChunk);
      // A guest may write on without being seen, so nobody knows whether these are clean.
      if (stays_writable) was_clean |= mark_dirty_locked(next / kPagesInChunk, static_cast<PageMask>(State::unpack(state.load()).writable & pages));
      state.fetch_and(~(uint64_t{pages} << State::kWrittenShift), std::memory_order_seq_cst);
      done += count;
    }
    written_pages_.fetch_sub(run.count, std::memory_order_relaxed);
  }
  fruitless_until_ns_.store(0, std::memory_order_relaxed);
  cache_.note_written(run.count);
  if (was_clean) cache_.note_dirtied(*this, true);
  if (waiters_.has_waiters()) waiters_.wake_all();
}

/// Runs that one context is writing, ended in the order in which they were begun. While there are some it waits for nothing else.
class CachedFile::RunsInFlight {
 public:
  RunsInFlight(CachedFile& file, WriteReason reason) : file_(file), reason_(reason) {}
  ~RunsInFlight() { finish_all(); }
  RunsInFlight(const RunsInFlight&) = delete;
  RunsInFlight& operator=(const RunsInFlight&) = delete;

  FileBacking::WhenBusy when_busy() const { return count_ == 0 ? FileBacking::WhenBusy::Wait : FileBacking::WhenBusy::Fail; }
  bool is_empty() const { return count_ == 0; }
  /// Begins as much of the run as can be. What is left of it is to be written at once, after finish_all().
  void start(Run& run) {
    if (run.count < kLeast || run.any_writable || reason_ == WriteReason::Reclaim || file_.has_tail(run)) return;
    while (run.count != 0) {
      std::unique_ptr<Entry> entry(new (std::nothrow) Entry{run, nullptr});
      if (!entry) return;
      if (count_ == kMost) finish_first();
      Result<std::unique_ptr<PageWrite>> write = file_.backing_.start_writing(run.first, entry->run.memory(), reason_, when_busy());
      if (!write.ok()) {
        if (write.code() != EAGAIN || is_empty()) return;
        finish_all();
        continue;
      }
      entry->write = write.take();
      const uint64_t begun = entry->write->pages();
      entry->run.limit(begun);
      run.skip(begun);
      entries_[(first_ + count_++) % kMost] = std::move(entry);
    }
  }
  void finish_all() {
    while (count_ != 0) finish_first();
  }

 private:
  static constexpr size_t kMost = 4;
  static constexpr uint64_t kLeast = 128;  // pages, half a megabyte: what disks do by themselves

  struct Entry {
    Run run;
    std::unique_ptr<PageWrite> write;
  };

  void finish_first() {
    std::unique_ptr<Entry> entry = std::move(entries_[first_]);
    first_ = (first_ + 1) % kMost;
    --count_;
    const Run& run = entry->run;
    const Result<bool> finished = entry->write->finish();
    entry->write = nullptr;
    Result<void> outcome;
    if (!finished.ok()) {
      outcome = finished.failure();
    } else if (!finished.value()) {
      finish_all();
      outcome = file_.backing_.write_pages(run.first, run.memory(), reason_);
    }
    file_.finish_run(run, outcome, false);
  }

  CachedFile& file_;
  const WriteReason reason_;
  std::unique_ptr<Entry> entries_[kMost];
  size_t first_ = 0, count_ = 0;
};

void CachedFile::write_dirty(uint64_t offset, uint64_t end, WriteReason reason) {
  uint64_t cursor = offset >> kPageShift;
  const uint64_t end_page = end == UINT64_MAX ? size_pages() : page_up(end) >> kPageShift;
  RunsInFlight in_flight(*this, reason);
  for (;;) {
    Run run;
    const Taken taken = take_dirty(cursor, end_page, reason, in_flight.when_busy(), run);
    if (taken == Taken::Nothing) return;
    if (taken == Taken::Some) in_flight.start(run);
    if (taken == Taken::Some && run.count == 0) continue;
    in_flight.finish_all();
    if (taken == Taken::Some) write_run(run, reason);
  }
}

void CachedFile::sync(uint64_t offset, uint64_t end, WriteReason reason) {
  if (is_dirty()) write_dirty(offset, end, reason);
  wait_for_write_back(offset, end);
}

void CachedFile::wait_for_write_back(uint64_t offset, uint64_t end) {
  if (written_pages_.load(std::memory_order_acquire) == 0) return;
  const uint64_t end_chunk = end >= UINT64_MAX - kChunkBytes ? UINT64_MAX >> kChunkShift : (end + kChunkBytes - 1) >> kChunkShift;
  MutexLock lock(store_.mutex_);
  for (std::optional<uint64_t> index = store_.tree_.next_used(offset >> kChunkShift); index && *index < end_chunk; index = store_.tree_.next_used(*index + 1)) {
    while (load_state(*index).written && written_pages_.load(std::memory_order_relaxed) != 0) (void)waiters_.wait(store_.mutex_, Sleep::Uninterruptible);
  }
}

void CachedFile::start_write_back() {
  if (is_dirty()) cache_.ask_write_back(*this);
}

// --- mappings

Result<void> CachedFile::make_writable(uint64_t first_page, uint64_t count) {
  before_change();
  TRY(begin_fill());
  Result<void> outcome;
  bool was_clean = false;
  for (uint64_t done = 0; done < count && outcome.ok();) {
    const uint64_t chunk_index = (first_page + done) / kPagesInChunk;
    const unsigned page = static_cast<unsigned>((first_page + done) % kPagesInChunk);
    const unsigned here = static_cast<unsigned>(count - done < kPagesInChunk - page ? count - done : kPagesInChunk - page);
    const PageMask pages = page_mask(page, here);
    outcome = reserve_clean(chunk_index, pages);
    if (!outcome.ok()) break;
    MutexLock lock(store_.mutex_);
    if ((store_.load(chunk_index).present & pages) != pages) {
      outcome = error(EAGAIN);
      break;
    }
    written_by_mappings_.store(true, std::memory_order_relaxed);
    state_of(chunk_index)->fetch_or(uint64_t{pages} << State::kWritableShift, std::memory_order_seq_cst);
    was_clean |= mark_dirty_locked(chunk_index, pages);
    done += here;
  }
  end_fill();
  cache_.note_dirtied(*this, was_clean);
  return outcome;
}

bool CachedFile::are_writable(uint64_t first_page, uint64_t count) const {
  for (uint64_t page = first_page; page < first_page + count; ++page)
    if (!((load_state(page / kPagesInChunk).writable >> (page % kPagesInChunk)) & 1)) return false;
  return true;
}

// First the mark goes, then the access: a fault that comes in between finds no mark when it opens the page, and marks it again.
bool CachedFile::revoke_writes(const Run& run) {
  const auto change = [&](bool mark) {
    MutexLock lock(store_.mutex_);
    for (size_t i = 0; i < std::size(run.writable); ++i) {
      const uint64_t bits = uint64_t{run.writable[i]} << State::kWritableShift;
      if (bits == 0) continue;
      Slot& state = *state_of(run.first / kPagesInChunk + i);
      mark ? state.fetch_or(bits, std::memory_order_seq_cst) : state.fetch_and(~bits, std::memory_order_seq_cst);
    }
  };
  change(false);
  if (write_protect(backing_, run.first, run.count)) return true;
  change(true);
  return false;
}

void CachedFile::revoke_writes(uint64_t first_page, uint64_t end_page) {
  Run run;
  for (uint64_t from = first_page / kPagesInChunk;;) {
    {
      MutexLock lock(store_.mutex_);
      std::optional<uint64_t> index = store_.tree_.next_used(from);
      while (index && *index * kPagesInChunk < end_page && load_state(*index).writable == 0) index = store_.tree_.next_used(*index + 1);
      if (!index || *index * kPagesInChunk >= end_page) return;
      from = *index + 1;
      run = Run{};
      run.first = *index * kPagesInChunk;
      run.count = kPagesInChunk;
      run.note_writable(*index, load_state(*index).writable);
    }
    (void)revoke_writes(run);
  }
}

}  // namespace umk::mm

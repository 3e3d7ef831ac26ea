// Reading more than was asked for where a file is read in order, and posix_fadvise(2).
//
// A stream is somebody who reads in order. What is read ahead for him is a window, twice as long each time; its first chunk is marked, and when he comes to
// the mark the next window is begun. So there is always one on its way while he reads another.
#include "core/base/make.h"
#include "core/kernel/mm/cached_file.h"
#include "core/kernel/mm/page_cache.h"

namespace umk::mm {

namespace {
constexpr uint32_t kFirstWindow = 16;      // pages: at the start of a file
constexpr uint32_t kMaximumWindow = 128;   // 512 KiB
constexpr uint32_t kSequentialWindow = 256;
}  // namespace

/// Pages that are read while nobody waits for them.
class CachedFile::BackgroundFill final : public ReadDone {
 public:
  explicit BackgroundFill(CachedFile& file) : file_(file) {}
  void on_read(int error_code) override { file_.end_background_fill(*this, error_code); }
  Run run;

 private:
  CachedFile& file_;
};

uint64_t CachedFile::start_fill(uint64_t first, uint64_t count, bool marks) {
  if (count > kMaximumRun) count = kMaximumRun;
  Result<std::unique_ptr<BackgroundFill>> made = make_unique<BackgroundFill>(*this);
  PageBudget budget(cache_);
  if (!made.ok() || !budget.try_charge(count).ok()) return 0;
  BackgroundFill& fill = *made.value();
  fill.run.first = first;
  // Busy chunks stay where they are, so no pin keeps the rest of the file from being reclaimed meanwhile.
  {
    MutexLock lock(store_.mutex_);
    if (no_fills_ == 0 && !is_present(first)) (void)claim_run_locked(fill.run, count, budget);
    if (fill.run.count != 0 && marks) state_of(first / kPagesInChunk)->fetch_or(State::kAhead, std::memory_order_relaxed);
  }
  count = fill.run.count;
  if (count == 0) return 0;
  // Whoever is told of the end frees it.
  (void)made.value().release();
  backing_.start_reading(first, fill.run.memory(), fill);
  return count;
}

void CachedFile::end_background_fill(BackgroundFill& fill, int error_code) {
  {
    MutexLock lock(store_.mutex_);
    // A failure is told to nobody: who wants these pages reads them again.
    release_run_locked(fill.run, error_code == 0);
    waiters_.wake_all();
  }
  delete &fill;
  // Under the mutex to the end: the file may go as soon as nothing is in flight.
  MutexLock lock(store_.mutex_);
  --fills_in_flight_;
  waiters_.wake_all();
}

void CachedFile::start_ahead(uint64_t first, uint64_t count) {
  const uint64_t size = size_pages();
  uint64_t end = first + cache_.bounded_read_ahead(count);
  if (end > size) end = size;
  for (bool marks = true; first < end; marks = false) {
    while (first < end && is_present(first)) ++first;
    const uint64_t begun = first < end ? start_fill(first, end - first, marks) : 0;
    if (begun == 0) return;
    first += begun;
  }
}

CachedFile::Stream* CachedFile::stream_at(uint64_t page) {
  for (Stream& candidate : streams_) {
    const uint64_t next = candidate.next.load(std::memory_order_relaxed);
    const uint64_t window = candidate.window.load(std::memory_order_relaxed);
    // A window may have been cut short or have met pages that were there already.
    if (window != 0 && page + window >= next && page <= next + window) return &candidate;
  }
  return nullptr;
}

uint64_t CachedFile::maximum_window() const { return advice_.load(std::memory_order_relaxed) == Advice::Sequential ? kSequentialWindow : kMaximumWindow; }

// Misses come here: at the start of a file, and where reading ahead has lost its reader.
Result<void> CachedFile::read_missing(uint64_t page, uint64_t wanted) {
  const Advice advice = advice_.load(std::memory_order_relaxed);
  // What is on its way only has to be waited for.
  const Slot* const state = state_of(page / kPagesInChunk);
  if (advice == Advice::Random || (state && (state->load(std::memory_order_relaxed) & State::kBusy))) return fill_run(page, wanted);
  const uint64_t maximum = maximum_window();
  Stream* stream = stream_at(page);
  uint64_t window = wanted;
  if (stream) {
    window = 2 * uint64_t{stream->window.load(std::memory_order_relaxed)};
  } else {
    stream = &streams_[next_stream_.fetch_add(1, std::memory_order_relaxed) % kStreams];
    if (page == 0 || advice == Advice::Sequential) window = kFirstWindow;
  }
  if (window > maximum) window = maximum;
  if (window < wanted) window = wanted;
  stream->window.store(static_cast<uint32_t>(window < maximum ? window : maximum), std::memory_order_relaxed);
  stream->next.store(page + window, std::memory_order_relaxed);
  // What was asked for, to the end of its chunk, and the rest meanwhile.
  uint64_t now = round_up(page + wanted, kPagesInChunk) - page;
  if (now > window) now = window;
  Result<void> read = fill_run(page, now);
  if (read.ok() && window > now) start_ahead(page + now, window - now);
  return read;
}

void CachedFile::continue_ahead(uint64_t page) {
  Stream* const stream = stream_at(page);
  if (!stream || advice_.load(std::memory_order_relaxed) == Advice::Random) return;
  const uint64_t first = stream->next.load(std::memory_order_relaxed), maximum = maximum_window();
  if (first < page) return;
  uint64_t window = 2 * uint64_t{stream->window.load(std::memory_order_relaxed)};
  if (window > maximum) window = maximum;
  stream->window.store(static_cast<uint32_t>(window), std::memory_order_relaxed);
  stream->next.store(first + window, std::memory_order_relaxed);
  start_ahead(first, window);
}

Result<void> CachedFile::fill_around(uint64_t page, uint64_t first, uint64_t count) {
  if (!is_present(first)) (void)read_missing(first, count);
  (void)fill(first, count);
  return is_present(page) ? Result<void>() : fill_run(page, 1);
}

void CachedFile::advise(uint64_t offset, uint64_t length, Advice advice) {
  const uint64_t size = backing_.mappable_bytes();
  const uint64_t end = length == 0 || length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
  switch (advice) {
    case Advice::Normal:
    case Advice::Random:
    case Advice::Sequential: advice_.store(advice, std::memory_order_relaxed); return;
    case Advice::NoReuse: return;
    case Advice::WillNeed:
      // A file that does not fit is not brought in to push out itself.
      if (offset < size) (void)fill(offset >> kPageShift, cache_.bounded_read_ahead((page_up(end < size ? end : size) - page_down(offset)) >> kPageShift));
      return;
    case Advice::DontNeed: {
      // Partial pages stay: posix_fadvise(2).
      start_write_back();
      const uint64_t first = page_up(offset) >> kPageShift;
      const uint64_t last = end >= size ? size_pages() : end >> kPageShift;
      if (last > first) invalidate(first, last - first);
      return;
    }
  }
}

}  // namespace umk::mm

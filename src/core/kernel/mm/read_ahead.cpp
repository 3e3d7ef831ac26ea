// Reading more than was asked for where a file is read in order, and posix_fadvise(2).
#include "core/kernel/mm/cached_file.h"
#include "core/kernel/mm/page_cache.h"

namespace umk::mm {

namespace {
constexpr uint32_t kFirstWindow = 16;      // pages: at the start of a file
constexpr uint32_t kMaximumWindow = 128;   // 512 KiB
constexpr uint32_t kSequentialWindow = 256;
}  // namespace

// Only misses come here, so a reader in order comes once for each window: at its end.
Result<void> CachedFile::read_missing(uint64_t page, uint64_t wanted) {
  const Advice advice = advice_.load(std::memory_order_relaxed);
  if (advice == Advice::Random) return fill_run(page, wanted);
  const uint64_t maximum = advice == Advice::Sequential ? kSequentialWindow : kMaximumWindow;
  Stream* stream = nullptr;
  for (Stream& candidate : streams_) {
    const uint64_t next = candidate.next.load(std::memory_order_relaxed);
    const uint64_t window = candidate.window.load(std::memory_order_relaxed);
    // A window may have been cut short or have met pages that were there already.
    if (window != 0 && page + window >= next && page <= next + window) stream = &candidate;
  }
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
  return fill_run(page, window);
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

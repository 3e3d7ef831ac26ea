#include "core/kernel/mm/page_store.h"

#include <bit>
#include <cstring>

namespace umk::mm {

namespace {

/// The pages of a chunk that [start, end) touches, both within the chunk.
constexpr PageMask pages_touched(uint64_t start, uint64_t end) {
  const unsigned first = static_cast<unsigned>(start >> kPageShift);
  const unsigned last = static_cast<unsigned>((end - 1) >> kPageShift);
  return static_cast<PageMask>(((2u << last) - 1) & ~((1u << first) - 1));
}

}  // namespace

PageStore::~PageStore() {
  CHECK(pins_.load() == 0, "a file is not mapped or read any more when its pages go");
  punch(0, UINT64_MAX);
}

// --- making pages present

Result<PageStore::Entry> PageStore::ensure_locked(uint64_t chunk_index, PageMask pages) {
  Slot& slot = *TRY(tree_.make(chunk_index));
  Entry entry = Entry::unpack(slot.load(std::memory_order_relaxed));
  if (entry.chunk == 0) {
    // Chunks that follow each other in the file and in the window can be mapped together.
    const ChunkNumber before = chunk_index == 0 ? 0 : load(chunk_index - 1).chunk;
    const CacheWindow::Chunk chunk = TRY(window_.allocate(before ? before + 1 : 0));
    entry = {chunk.number, 0, chunk.backed};
    slot.store(entry.packed(), std::memory_order_release);
  }
  const PageMask missing = static_cast<PageMask>(pages & ~entry.present);
  if (!missing) return entry;
  const PageMask fresh = static_cast<PageMask>(missing & ~entry.backed);
  if (fresh) TRY(window_.charge(count_pages(fresh)));
  std::byte* const memory = window_.address(entry.chunk);
  for (PageMask stale = static_cast<PageMask>(missing & entry.backed); stale; stale = static_cast<PageMask>(stale & (stale - 1)))
    memset(memory + static_cast<unsigned>(std::countr_zero(stale)) * kPageSize, 0, kPageSize);
  entry.present |= missing;
  entry.backed |= fresh;
  slot.store(entry.packed(), std::memory_order_seq_cst);
  present_pages_.fetch_add(count_pages(missing), std::memory_order_relaxed);
  return entry;
}

Result<PageStore::Entry> PageStore::ensure(uint64_t chunk_index, PageMask pages) {
  const Entry entry = load(chunk_index);
  if ((pages & ~entry.present) == 0 && entry.chunk != 0) [[likely]]
    return entry;
  const auto ensure = [&] {
    MutexLock lock(mutex_);
    return ensure_locked(chunk_index, pages);
  };
  Result<Entry> made = ensure();
  if (!made.ok() && made.code() == ENOMEM && window_.make_room(kPagesInChunk)) made = ensure();
  return made;
}

// --- reading and writing

Result<size_t> PageStore::read(uint64_t offset, UserOutBuffer& buffer) {
  Pin pin(*this);
  size_t total = 0;
  while (buffer.remaining() > 0) {
    const uint64_t within = offset % kChunkBytes;
    const Entry entry = load(offset >> kChunkShift);
    // As many bytes as are of one kind, data or hole.
    const unsigned page = static_cast<unsigned>(within >> kPageShift);
    const PageMask ahead = static_cast<PageMask>(entry.present >> page);
    const bool is_data = ahead & 1;
    const unsigned same = is_data ? static_cast<unsigned>(std::countr_one(ahead)) : ahead == 0 ? kPagesInChunk - page : static_cast<unsigned>(std::countr_zero(ahead));
    uint64_t bytes = (page + same) * kPageSize - within;
    if (bytes > buffer.remaining()) bytes = buffer.remaining();

    const Result<size_t> copied = is_data ? buffer.put(std::span(window_.address(entry.chunk) + within, bytes)) : buffer.put_zeroes(bytes);
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

Result<size_t> PageStore::write(uint64_t offset, UserInBuffer& buffer) {
  Pin pin(*this);
  size_t total = 0;
  while (buffer.remaining() > 0) {
    const uint64_t within = offset % kChunkBytes;
    uint64_t bytes = kChunkBytes - within;
    if (bytes > buffer.remaining()) bytes = buffer.remaining();

    Result<Entry> entry = ensure(offset >> kChunkShift, pages_touched(within, within + bytes));
    if (!entry.ok() && bytes > kPageSize - within % kPageSize) {
      // The chunk does not fit any more; perhaps its first page does.
      bytes = kPageSize - within % kPageSize;
      entry = ensure(offset >> kChunkShift, pages_touched(within, within + bytes));
    }
    if (!entry.ok()) {
      if (total == 0) return entry.failure();
      break;
    }
    const Result<size_t> copied = buffer.get(std::span(window_.address(entry.value().chunk) + within, bytes));
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

Result<std::byte*> PageStore::page(uint64_t index, bool allocate) {
  const uint64_t chunk_index = index / kPagesInChunk;
  const unsigned page = index % kPagesInChunk;
  Entry entry = load(chunk_index);
  if (!((entry.present >> page) & 1)) {
    if (!allocate) return nullptr;
    entry = TRY(ensure(chunk_index, static_cast<PageMask>(1u << page)));
  }
  return window_.address(entry.chunk) + page * kPageSize;
}

// --- mapping

Result<PageStore::MappedChunk> PageStore::map_chunk(uint64_t file_offset) {
  MutexLock lock(mutex_);
  was_mapped_ = true;
  const uint64_t index = file_offset >> kChunkShift;
  const Entry entry = TRY(ensure_locked(index, 0));
  if (is_tracked()) tree_.second(index, tree_.find(index))->fetch_or(State::kMapped, std::memory_order_seq_cst);
  return MappedChunk{CacheWindow::offset(entry.chunk), entry.present};
}

Result<void> PageStore::make_present(uint64_t chunk_index, PageMask pages) {
  TRY(ensure(chunk_index, pages));
  return {};
}

Result<void> PageStore::allocate(uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  while (offset < end) {
    const uint64_t within = offset % kChunkBytes;
    uint64_t bytes = kChunkBytes - within;
    if (bytes > end - offset) bytes = end - offset;
    TRY(ensure(offset >> kChunkShift, pages_touched(within, within + bytes)));
    offset += bytes;
  }
  return {};
}

Result<void> PageStore::allocate_run(uint64_t bytes) {
  const uint64_t chunks = (bytes + kChunkBytes - 1) >> kChunkShift;
  if (chunks == 0) return {};
  if (chunks > UINT32_MAX) return error(ENOMEM);
  const uint64_t pages = page_up(bytes) >> kPageShift;
  TRY(window_.charge_with_reclaim(pages));
  const Result<ChunkNumber> run = window_.allocate_run(static_cast<uint32_t>(chunks));
  if (!run.ok()) {
    window_.uncharge(pages);
    return run.failure();
  }
  MutexLock lock(mutex_);
  was_mapped_ = true;
  for (uint64_t index = 0; index < chunks; ++index) {
    const Result<Slot*> slot = tree_.make(index);
    if (!slot.ok()) {
      // Chunks placed so far are the store's and go with it; the others go back now.
      window_.free_run(run.value() + static_cast<ChunkNumber>(index), static_cast<uint32_t>(chunks - index));
      window_.uncharge(pages - index * kPagesInChunk);
      return slot.failure();
    }
    const uint64_t left = pages - index * kPagesInChunk;
    const PageMask all = left >= kPagesInChunk ? PageMask{0xffff} : static_cast<PageMask>((1u << left) - 1);
    slot.value()->store(Entry{run.value() + static_cast<ChunkNumber>(index), all, all}.packed(), std::memory_order_release);
    present_pages_.fetch_add(count_pages(all), std::memory_order_relaxed);
  }
  return {};
}

// --- dropping pages

void PageStore::zero_within_page(uint64_t offset, uint64_t length) {
  const Entry entry = load(offset >> kChunkShift);
  const uint64_t within = offset % kChunkBytes;
  if ((entry.present >> (within >> kPageShift)) & 1) memset(window_.address(entry.chunk) + within, 0, length);
}

void PageStore::punch(uint64_t offset, uint64_t length) {
  if (length == 0) return;
  const uint64_t end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
  const uint64_t first_page = page_up(offset) < offset ? UINT64_MAX >> kPageShift : page_up(offset) >> kPageShift;
  // The very last page of the space cannot be reached by signed file offsets.
  const uint64_t end_page = end >> kPageShift;

  MutexLock lock(mutex_);
  if (offset % kPageSize != 0) {
    const uint64_t rest = kPageSize - offset % kPageSize;
    zero_within_page(offset, rest < end - offset ? rest : end - offset);
  }
  if (end % kPageSize != 0 && end_page >= first_page && end != UINT64_MAX) zero_within_page(page_down(end), end % kPageSize);
  if (first_page >= end_page) return;

  const uint64_t first_chunk = first_page / kPagesInChunk;
  const uint64_t last_chunk = (end_page - 1) / kPagesInChunk;
  // Guests that map the pages see zeroes at once and may go on writing; so what they could write stays known as data.
  const bool may_be_mapped = was_mapped_ && (pins_.load(std::memory_order_seq_cst) & kMappingPins) != 0;
  bool any = false;
  for (std::optional<uint64_t> index = tree_.next_used(first_chunk); index && *index <= last_chunk; index = tree_.next_used(*index + 1)) {
    Slot& slot = *tree_.find(*index);
    Entry entry = Entry::unpack(slot.load(std::memory_order_relaxed));
    PageMask dropped = 0xffff;
    if (*index == first_chunk) dropped = static_cast<PageMask>(dropped & ~((1u << first_page % kPagesInChunk) - 1));
    if (*index == last_chunk) dropped = static_cast<PageMask>(dropped & ((2u << (end_page - 1) % kPagesInChunk) - 1));
    if (may_be_mapped) {
      window_.punch(entry.chunk, entry.present & dropped);
      continue;
    }
    any = true;
    if (!(entry.present & dropped)) continue;
    present_pages_.fetch_sub(count_pages(entry.present & dropped), std::memory_order_relaxed);
    entry.present = static_cast<PageMask>(entry.present & ~dropped);
    slot.store(entry.packed(), std::memory_order_seq_cst);
  }
  if (any) sweep_later_locked(first_chunk, last_chunk);
}

// At once when nobody looks.
void PageStore::sweep_later_locked(uint64_t first, uint64_t last) {
  if (pins_.load(std::memory_order_seq_cst) == 0) {
    sweep_locked(first, last);
    return;
  }
  if (first < sweep_first_) sweep_first_ = first;
  if (last > sweep_last_) sweep_last_ = last;
  sweep_due_.store(true, std::memory_order_seq_cst);
}

void PageStore::sweep_after_unpin() {
  MutexLock lock(mutex_);
  // Who pinned since then saw only what is present now, unless more was dropped under that pin; then that pin's end comes here.
  if (!sweep_due_.load(std::memory_order_relaxed) || pins_.load(std::memory_order_seq_cst) != 0) return;
  sweep_due_.store(false, std::memory_order_relaxed);
  const uint64_t first = sweep_first_, last = sweep_last_;
  sweep_first_ = UINT64_MAX;
  sweep_last_ = 0;
  sweep_locked(first, last);
}

void PageStore::sweep_locked(uint64_t first, uint64_t last) {
  CacheWindow::Chunk batch[32];
  size_t size = 0;
  for (std::optional<uint64_t> index = tree_.next_used(first); index && *index <= last; index = tree_.next_used(*index + 1)) {
    Slot& slot = *tree_.find(*index);
    Entry entry = Entry::unpack(slot.load(std::memory_order_relaxed));
    // Memory that is being filled.
    if (is_tracked() && (tree_.second(*index, &slot)->load(std::memory_order_relaxed) & State::kBusy)) continue;
    if (entry.present == 0) {
      slot.store(0, std::memory_order_seq_cst);
      if (is_tracked()) tree_.second(*index, &slot)->store(0, std::memory_order_relaxed);
      batch[size++] = {entry.chunk, entry.backed};
      if (size == std::size(batch)) window_.free(batch, size, was_mapped_), size = 0;
      continue;
    }
    const PageMask stale = static_cast<PageMask>(entry.backed & ~entry.present);
    if (!stale) continue;
    entry.backed = entry.present;
    slot.store(entry.packed(), std::memory_order_seq_cst);
    window_.punch(entry.chunk, stale);
    window_.uncharge(count_pages(stale));
  }
  if (size > 0) window_.free(batch, size, was_mapped_);
}

// --- holes

std::optional<uint64_t> PageStore::next_data(uint64_t from, uint64_t size) {
  MutexLock lock(mutex_);
  while (from < size) {
    const std::optional<uint64_t> index = tree_.next_used(from >> kChunkShift);
    if (!index) return std::nullopt;
    const uint64_t chunk_start = *index << kChunkShift;
    if (chunk_start > from) from = chunk_start;
    const unsigned page = static_cast<unsigned>(from % kChunkBytes >> kPageShift);
    const PageMask ahead = static_cast<PageMask>(load(*index).present >> page);
    if (ahead) {
      const unsigned skip = static_cast<unsigned>(std::countr_zero(ahead));
      const uint64_t found = skip == 0 ? from : page_down(from) + skip * kPageSize;
      return found < size ? std::optional(found) : std::nullopt;
    }
    from = chunk_start + kChunkBytes;
  }
  return std::nullopt;
}

uint64_t PageStore::next_hole(uint64_t from, uint64_t size) {
  while (from < size) {
    const unsigned page = static_cast<unsigned>(from % kChunkBytes >> kPageShift);
    const PageMask ahead = static_cast<PageMask>(load(from >> kChunkShift).present >> page);
    const unsigned data = static_cast<unsigned>(std::countr_one(ahead));
    if (data == 0) return from;
    from = page_down(from) + data * kPageSize;
    if (page + data < kPagesInChunk) break;
  }
  return from < size ? from : size;
}

}  // namespace umk::mm

#include "core/kernel/mm/cache_window.h"

#include <algorithm>
#include <bit>

#include "core/host/calls.h"
#include "core/host/file_calls.h"

namespace umk::mm {

namespace {
// fallocate(2).
constexpr int kKeepSize = 1, kPunchHole = 2;
}  // namespace

CacheWindow::CacheWindow(std::byte* base, uint64_t bytes, int fd, MemoryAccount& account)
    : base_(base), chunk_count_(static_cast<uint32_t>(bytes >> kChunkShift)), fd_(fd), account_(account) {}

CacheWindow::~CacheWindow() { drain_pool(); }

Result<CacheWindow::Chunk> CacheWindow::allocate(ChunkNumber preferred) {
  MutexLock lock(mutex_);
  if (preferred != 0 && preferred < chunk_count_ && !is_taken_locked(preferred)) {
    TRY(take_locked(preferred, 1));
    return Chunk{preferred, 0};
  }
  if (pool_size_ > 0) {
    const Chunk chunk = pool_[--pool_size_];
    __atomic_store_n(&pool_pages_, pool_pages_ - count_pages(chunk.backed), __ATOMIC_RELAXED);
    return chunk;
  }
  const ChunkNumber found = find_locked(1);
  if (!found) return error(ENOMEM);
  TRY(take_locked(found, 1));
  return Chunk{found, 0};
}

Result<ChunkNumber> CacheWindow::allocate_run(uint32_t count) {
  MutexLock lock(mutex_);
  const ChunkNumber found = find_locked(count);
  if (!found) return error(ENOMEM);
  TRY(take_locked(found, count));
  return found;
}

void CacheWindow::free(const Chunk* chunks, size_t count, bool clean_all) {
  size_t kept = 0;
  while (!clean_all && kept < count && count <= kPoolChunks / 4) {
    Chunk taken[kPoolChunks / 2];
    size_t taken_count = 0;
    {
      MutexLock lock(mutex_);
      // The last first, so that they are handed out again in ascending order.
      while (kept < count) {
        const Chunk& chunk = chunks[count - 1 - kept];
        const unsigned pages = count_pages(chunk.backed);
        if (pages == 0 || pool_size_ == kPoolChunks || pool_pages_ + pages > kPoolPages) break;
        pool_[pool_size_++] = chunk;
        __atomic_store_n(&pool_pages_, pool_pages_ + pages, __ATOMIC_RELAXED);
        ++kept;
      }
      if (kept == count || count_pages(chunks[count - 1 - kept].backed) == 0) break;
      // A full pool gives back many at once: chunks of files that were made one after the other lie together and cost one call.
      taken_count = take_from_pool_locked(taken);
    }
    if (taken_count == 0) break;
    give_back(taken, taken_count, false);
  }
  give_back(chunks, count - kept, clean_all);
}

size_t CacheWindow::take_from_pool_locked(std::span<Chunk> taken) {
  std::sort(pool_, pool_ + pool_size_, [](const Chunk& a, const Chunk& b) { return a.number > b.number; });
  const size_t count = pool_size_ / 2 < taken.size() ? pool_size_ / 2 : taken.size();
  // The lowest are used again first.
  for (size_t i = 0; i < count; ++i) {
    taken[count - 1 - i] = pool_[i];
    __atomic_store_n(&pool_pages_, pool_pages_ - count_pages(pool_[i].backed), __ATOMIC_RELAXED);
  }
  for (size_t i = count; i < pool_size_; ++i) pool_[i - count] = pool_[i];
  pool_size_ -= count;
  return count;
}

void CacheWindow::give_back(const Chunk* chunks, size_t count, bool clean_all) {
  uint64_t charged = 0;
  for (size_t i = 0; i < count;) {
    // Neighbours go in one call: a call costs more than the pages.
    size_t run = 1;
    PageMask any_backed = chunks[i].backed;
    while (i + run < count && chunks[i + run].number == chunks[i].number + run) any_backed |= chunks[i + run++].backed;
    for (size_t j = i; j < i + run; ++j) charged += count_pages(chunks[j].backed);
    if (any_backed || clean_all) {
      if (run == 1 && !clean_all) {
        punch(chunks[i].number, chunks[i].backed);
      } else {
        punch_range(offset(chunks[i].number), run * kChunkBytes);
      }
    }
    MutexLock lock(mutex_);
    release_locked(chunks[i].number, static_cast<uint32_t>(run));
    i += run;
  }
  if (charged) uncharge(charged);
}

void CacheWindow::free_run(ChunkNumber first, uint32_t count) {
  punch_range(offset(first), uint64_t{count} * kChunkBytes);
  MutexLock lock(mutex_);
  release_locked(first, count);
}

void CacheWindow::punch(ChunkNumber chunk, PageMask pages) {
  // Each run of pages in one call.
  while (pages) {
    const unsigned first = static_cast<unsigned>(std::countr_zero(pages));
    const unsigned length = static_cast<unsigned>(std::countr_one(static_cast<PageMask>(pages >> first)));
    punch_range(offset(chunk) + first * kPageSize, length * kPageSize);
    pages = static_cast<PageMask>(pages & ~(((1u << length) - 1) << first));
  }
}

void CacheWindow::punch_range(uint64_t offset, uint64_t length) {
  const Result<void> punched = host::fallocate(fd_, kPunchHole | kKeepSize, offset, length);
  CHECK(punched.ok(), "the host takes pages of the cache file back");
}

size_t CacheWindow::fill_fresh(ChunkNumber chunk, uint64_t within, size_t bytes, UserInBuffer& buffer) {
  size_t done = 0;
  while (done < bytes) {
    BufferPiece piece = buffer.next_piece();
    if (piece.length > bytes - done) piece.length = bytes - done;
    const uint64_t place = offset(chunk) + within + done;
    if (!buffer.is_kernel() && !is_user_range(piece.address, piece.length)) break;
    const Result<size_t> put = buffer.is_kernel()
                                   ? host::pwrite(fd_, std::span(reinterpret_cast<const std::byte*>(piece.address), piece.length), place)
                                   : host::pwrite(fd_, host::UserRange::checked(piece.address, piece.length), place);
    // A page of the guest that is to be brought in first, perhaps.
    if (!put.ok() || put.value() == 0) break;
    buffer.advance(put.value());
    done += put.value();
  }
  return done;
}

Result<void> CacheWindow::charge(uint64_t pages) {
  if (account_.try_charge(MemoryAccount::Use::PageCache, pages * kPageSize)) return {};
  drain_pool();
  if (account_.try_charge(MemoryAccount::Use::PageCache, pages * kPageSize)) return {};
  return error(ENOMEM);
}

Result<void> CacheWindow::charge_with_reclaim(uint64_t pages) {
  if (Result<void> charged = charge(pages); charged.ok() || !make_room(pages)) return charged;
  return charge(pages);
}

bool CacheWindow::make_room(uint64_t pages) {
  MemoryReclaimer* const reclaimer = reclaimer_.load(std::memory_order_acquire);
  return reclaimer && reclaimer->reclaim(pages) != 0;
}

void CacheWindow::drain_pool() {
  for (;;) {
    Chunk chunk;
    {
      MutexLock lock(mutex_);
      if (pool_size_ == 0) return;
      chunk = pool_[--pool_size_];
      __atomic_store_n(&pool_pages_, pool_pages_ - count_pages(chunk.backed), __ATOMIC_RELAXED);
    }
    give_back(&chunk, 1, false);
  }
}

bool CacheWindow::is_taken_locked(ChunkNumber chunk) const {
  const uint32_t group = chunk / kGroupChunks;
  if (group >= groups_.size() || !groups_[group]) return false;
  return (groups_[group]->taken[chunk % kGroupChunks / 64] >> (chunk % 64)) & 1;
}

Result<void> CacheWindow::take_locked(ChunkNumber first, uint32_t count) {
  const uint32_t last_group = (first + count - 1) / kGroupChunks;
  if (last_group >= groups_.size()) TRY(groups_.resize(last_group + 1));
  for (uint32_t group = first / kGroupChunks; group <= last_group; ++group)
    if (!groups_[group]) groups_[group] = TRY(make_unique<Group>());
  for (ChunkNumber chunk = first; chunk < first + count; ++chunk) {
    Group& group = *groups_[chunk / kGroupChunks];
    group.taken[chunk % kGroupChunks / 64] |= uint64_t{1} << (chunk % 64);
    --group.free;
  }
  if (lowest_free_ == first) lowest_free_ = first + count;
  __atomic_store_n(&used_, used_ + count, __ATOMIC_RELAXED);
  return {};
}

void CacheWindow::release_locked(ChunkNumber first, uint32_t count) {
  for (ChunkNumber chunk = first; chunk < first + count; ++chunk) {
    Group& group = *groups_[chunk / kGroupChunks];
    CHECK((group.taken[chunk % kGroupChunks / 64] >> (chunk % 64)) & 1, "a chunk is freed once");
    group.taken[chunk % kGroupChunks / 64] &= ~(uint64_t{1} << (chunk % 64));
    ++group.free;
  }
  if (first < lowest_free_) lowest_free_ = first;
  __atomic_store_n(&used_, used_ - count, __ATOMIC_RELAXED);
}

ChunkNumber CacheWindow::find_locked(uint32_t count) {
  ChunkNumber start = lowest_free_;
  uint32_t run = 0;
  bool first_seen = false;
  for (ChunkNumber chunk = start; chunk < chunk_count_;) {
    const uint32_t group_number = chunk / kGroupChunks;
    const Group* group = group_number < groups_.size() ? groups_[group_number].get() : nullptr;
    const ChunkNumber group_end = (group_number + 1) * kGroupChunks < chunk_count_ ? (group_number + 1) * kGroupChunks : chunk_count_;
    if (!group) {
      // Free up to the group's end.
      if (run == 0) start = chunk;
      if (!first_seen) lowest_free_ = start, first_seen = true;
      run += group_end - chunk;
      chunk = group_end;
    } else if (group->free == 0) {
      run = 0;
      chunk = group_end;
    } else {
      const uint64_t word = group->taken[chunk % kGroupChunks / 64] >> (chunk % 64);
      if (word & 1) {
        run = 0;
        chunk += static_cast<unsigned>(std::countr_one(word));
      } else {
        if (run == 0) start = chunk;
        if (!first_seen) lowest_free_ = start, first_seen = true;
        const unsigned left = 64 - chunk % 64;
        const unsigned free = word == 0 ? left : static_cast<unsigned>(std::countr_zero(word));
        run += free < left ? free : left;
        chunk += free < left ? free : left;
      }
    }
    if (run >= count) return start;
  }
  return 0;
}

}  // namespace umk::mm

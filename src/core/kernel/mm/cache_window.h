// CacheWindow: the addresses of the page cache.
//
// The page cache is one sparse file of the host, mapped whole at the same place everywhere. The window hands it out in chunks of 64 KiB, which are
// addresses only: the host provides a page when it is first touched, zeroed. A chunk that comes back may still have memory behind some of its pages
// (`backed`), with old contents. A few such chunks are kept for the next who needs one, since zeroing a page is cheaper than taking it from the host
// and getting another; the rest is punched out of the file.
//
// Pages are charged to the machine's memory by their users through charge() before they are touched.
//
// Chunk 0 is never handed out: number 0 means "none".
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/bits.h"
#include "core/base/make.h"
#include "core/base/vector.h"
#include "core/kernel/guest/user_memory.h"
#include "core/memory/memory_account.h"
#include "core/sync/mutex.h"

namespace umk::mm {

inline constexpr uint64_t kChunkBytes = 64 * 1024;
inline constexpr unsigned kChunkShift = 16;
inline constexpr unsigned kPagesInChunk = 16;

using ChunkNumber = uint32_t;
/// One bit a page of a chunk.
using PageMask = uint16_t;
/// How many bits are set; without a popcount instruction the compiler would call its run-time library.
constexpr unsigned count_pages(PageMask pages) {
  unsigned sum = pages - ((pages >> 1) & 0x5555u);
  sum = (sum & 0x3333u) + ((sum >> 2) & 0x3333u);
  return ((sum + (sum >> 4)) & 0x0f0fu) * 0x0101u >> 8 & 0x1f;
}
static_assert(count_pages(0) == 0 && count_pages(0xffff) == 16 && count_pages(0x8421) == 4 && count_pages(0x7fff) == 15);

constexpr PageMask page_mask(unsigned first, unsigned count) { return static_cast<PageMask>(((1u << count) - 1) << first); }

/// Calls `body(first, count)` for each run of pages in the mask.
template <typename Body>
constexpr void for_each_run(PageMask pages, Body&& body) {
  while (pages) {
    const unsigned first = static_cast<unsigned>(std::countr_zero(pages));
    const unsigned count = static_cast<unsigned>(std::countr_one(static_cast<PageMask>(pages >> first)));
    body(first, count);
    pages = static_cast<PageMask>(pages & ~page_mask(first, count));
  }
}

/// Who can make room in the machine's memory by dropping what can be had again: the page cache of files (page_cache.h).
class MemoryReclaimer {
 public:
  /// Gives back about `pages` pages; returns how many. Takes locks from LockRank::PageCache on.
  virtual uint64_t reclaim(uint64_t pages) = 0;

 protected:
  ~MemoryReclaimer() = default;
};

class CacheWindow {
 public:
  struct Chunk {
    ChunkNumber number = 0;
    PageMask backed = 0;  // pages with memory of the host behind them, with arbitrary contents; charged
  };

  /// `base` is where the cache's file is mapped in the kernel, `fd` the file's descriptor.
  CacheWindow(std::byte* base, uint64_t bytes, int fd, MemoryAccount& account);
  ~CacheWindow();
  CacheWindow(const CacheWindow&) = delete;
  CacheWindow& operator=(const CacheWindow&) = delete;

  /// A chunk; `preferred` when that is free (so that a file's chunks follow each other), 0 for any. ENOMEM.
  Result<Chunk> allocate(ChunkNumber preferred = 0);
  /// `count` chunks in a row, with nothing behind them.
  Result<ChunkNumber> allocate_run(uint32_t count);
  /// Takes chunks back. `clean_all`: pages outside the masks may have been touched too (by a guest's mapping). No one may use them any more.
  void free(const Chunk* chunks, size_t count, bool clean_all);
  void free_run(ChunkNumber first, uint32_t count);
  /// Gives the memory behind some pages of a chunk that stays allocated back to the host. The pages read as zeroes afterwards.
  void punch(ChunkNumber chunk, PageMask pages);

  /// Copies to pages of a chunk that nobody has touched since they were empty, as far as the host can: the rest is the caller's. The host neither
  /// zeroes a page that it fills itself nor has to fault it in.
  size_t fill_fresh(ChunkNumber chunk, uint64_t within, size_t bytes, UserInBuffer& buffer);

  /// Takes `pages` pages from the machine's memory, after emptying the pool if need be; ENOMEM.
  Result<void> charge(uint64_t pages);
  /// The same, after reclaim if need be. With no lock held that reclaim takes.
  Result<void> charge_with_reclaim(uint64_t pages);
  /// Makes room; false when there was none to be made.
  bool make_room(uint64_t pages);
  void set_reclaimer(MemoryReclaimer* reclaimer) { reclaimer_.store(reclaimer, std::memory_order_release); }
  void uncharge(uint64_t pages) { account_.uncharge(MemoryAccount::Use::PageCache, pages * kPageSize); }

  std::byte* address(ChunkNumber chunk) const { return base_ + offset(chunk); }
  static uint64_t offset(ChunkNumber chunk) { return uint64_t{chunk} << kChunkShift; }
  MemoryAccount& account() const { return account_; }

  /// Returns the memory of kept chunks to the host.
  void drain_pool();

  /// What is mapped anywhere on the machine, for /proc/umk.
  struct LiveCounts {
    std::atomic<int64_t> address_spaces{0}, areas{0};
    std::atomic<uint64_t> spaces_made{0};
  };
  LiveCounts live;

  uint64_t chunks_in_use() const { return __atomic_load_n(&used_, __ATOMIC_RELAXED); }
  uint64_t pool_pages() const { return __atomic_load_n(&pool_pages_, __ATOMIC_RELAXED); }

 private:
  static constexpr size_t kPoolChunks = 512;
  static constexpr uint64_t kPoolPages = 1024;  // 4 MiB
  static constexpr uint32_t kGroupChunks = 4096;

  /// Which chunks of a stretch of the window are taken.
  struct Group {
    uint64_t taken[kGroupChunks / 64] = {};
    uint32_t free = kGroupChunks;
  };

  bool is_taken_locked(ChunkNumber chunk) const REQUIRES(mutex_);
  Result<void> take_locked(ChunkNumber first, uint32_t count) REQUIRES(mutex_);
  void release_locked(ChunkNumber first, uint32_t count) REQUIRES(mutex_);
  /// The first of `count` free chunks in a row, 0 when there are none.
  ChunkNumber find_locked(uint32_t count) REQUIRES(mutex_);
  void punch_range(uint64_t offset, uint64_t length);
  /// Takes some of the pool's chunks out, those that follow each other together.
  size_t take_from_pool_locked(std::span<Chunk> taken) REQUIRES(mutex_);
  /// Punches and releases; the caller owns the chunks.
  void give_back(const Chunk* chunks, size_t count, bool clean_all);

  std::byte* const base_;
  const uint32_t chunk_count_;
  const int fd_;
  MemoryAccount& account_;
  std::atomic<MemoryReclaimer*> reclaimer_{nullptr};

  Mutex mutex_{LockRank::Memory};
  Vector<std::unique_ptr<Group>> groups_ GUARDED_BY(mutex_);  // null: all free
  ChunkNumber lowest_free_ GUARDED_BY(mutex_) = 1;  // no free chunk lies below
  uint64_t used_ = 0;
  Chunk pool_[kPoolChunks] GUARDED_BY(mutex_);
  size_t pool_size_ GUARDED_BY(mutex_) = 0;
  uint64_t pool_pages_ = 0;
};

}  // namespace umk::mm

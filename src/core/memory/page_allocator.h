// PageAllocator: whole pages of the kernel region, by the buddy method.
//
// The region is a sparse shared mapping: memory that was never touched costs nothing. So free blocks are linked through the page descriptors and
// not through the free memory, and blocks come from a rising edge (`top_`) only when no freed block fits. Blocks of 2^order pages are aligned to
// their size, also as addresses; a request that is no power of two gives its tail back at once.
//
// One lock, LockRank::Memory, may be taken while a slab class is locked.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/base/bits.h"
#include "core/memory/memory_account.h"
#include "core/sync/mutex.h"

namespace umk {

/// What a page is used for, kept apart from the page so that untouched pages stay untouched. Found from any address by `page_info()`.
struct PageInfo {
  enum class Kind : uint8_t { Unused, FreeBlock, Large, Slab };

  uint32_t next = 0;        // list links: page numbers, 0 for none. Large: how many pages instead
  uint32_t previous = 0;
  /// Atomic since a neighbour that is freed looks, under the allocator's lock, whether this page is a free block; its owner writes it without that lock.
  std::atomic<Kind> kind{Kind::Unused};
  uint8_t detail = 0;       // FreeBlock: its order; Slab: its size class (in each of its pages)
  uint16_t first_free = 0;  // Slab: index of the first freed object
  uint16_t used = 0;        // Slab: objects handed out
  uint16_t carved = 0;      // Slab: objects that were ever handed out; those behind are untouched
};
static_assert(sizeof(PageInfo) == 16);

class PageAllocator {
 public:
  static constexpr unsigned kMaximumOrder = 14;  // 64 MiB

  /// Manages [base, base + bytes), whole pages of zeroes; the descriptors are laid at its start.
  PageAllocator(uintptr_t base, size_t bytes);

  /// `count` contiguous pages aligned to the power of two that holds them (at least `2^order` pages), or 0. Contents are arbitrary.
  uintptr_t allocate(size_t count, unsigned order = 0);
  void free(uintptr_t address, size_t count);

  PageInfo& page_info(uintptr_t address) { return infos_[(address - origin_) >> kPageShift]; }
  bool owns(uintptr_t address) const { return address >= first_ && address < end_; }
  uintptr_t address_of(uint32_t page) const { return origin_ + (static_cast<uintptr_t>(page) << kPageShift); }
  uint32_t number_of(uintptr_t address) const { return static_cast<uint32_t>((address - origin_) >> kPageShift); }

  /// Charges pages in use to `account` from now on.
  void set_account(MemoryAccount* account);
  /// Called with the address range of big blocks (4 MiB at least) that became free, so that the host gets their memory back.
  void set_release_hook(void (*release)(uintptr_t address, size_t bytes)) { release_ = release; }

  uint64_t pages_in_use() const { return __atomic_load_n(&pages_in_use_, __ATOMIC_RELAXED); }
  /// Bytes below the rising edge: what the host may have had to provide at most.
  uint64_t touched_bytes() const { return __atomic_load_n(&top_, __ATOMIC_RELAXED) - first_; }

 private:
  static constexpr unsigned kReleaseOrder = 10;

  uint32_t take_block_locked(unsigned order) REQUIRES(mutex_);
  uint32_t raise_edge_locked(unsigned order) REQUIRES(mutex_);
  void free_range_locked(uint32_t first, uint32_t count) REQUIRES(mutex_);
  void free_block_locked(uint32_t page, unsigned order) REQUIRES(mutex_);
  void push_locked(uint32_t page, unsigned order) REQUIRES(mutex_);
  void unlink_locked(uint32_t page, unsigned order) REQUIRES(mutex_);

  Mutex mutex_{LockRank::Memory};
  uintptr_t origin_;  // `first_` rounded down to the largest block: page numbers count from here
  uintptr_t first_;   // first page that is not a descriptor's
  uintptr_t end_;
  uintptr_t top_;     // pages from here on were never used
  PageInfo* infos_;   // indexed by page number
  uint32_t free_[kMaximumOrder + 1] = {};
  uint64_t pages_in_use_ = 0;
  MemoryAccount* account_ = nullptr;
  void (*release_)(uintptr_t, size_t) = nullptr;
};

}  // namespace umk

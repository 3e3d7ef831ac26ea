// KernelHeap: memory for objects of the kernel, in the region that every host process of the machine shares.
//
// Objects up to 2 KiB come from slabs: one or a few pages cut into objects of one size class. A slab's freed objects are chained through
// themselves, objects beyond `carved` were never touched. Larger ones are whole pages. Every address finds its page's descriptor by arithmetic, so
// free() needs no size and objects have no headers.
//
// Locks: one per size class, then the page allocator's, both LockRank::Memory. Any kernel context of any host process may allocate and free.
//
// In the kernel image `operator new` is this heap's (operators_image.cpp), found through `KernelHeap::global()`; hosted builds keep the host's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/memory/page_allocator.h"

namespace umk {

class KernelHeap {
 public:
  static constexpr std::array<uint16_t, 14> kClassSizes{16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048};
  static constexpr size_t kClassCount = kClassSizes.size();

  /// Builds a heap at the start of [base, base + bytes): zeroed, page-aligned memory that outlives it.
  static KernelHeap& create(uintptr_t base, size_t bytes);

  /// The heap that the image's operator new uses. Set once at boot.
  static KernelHeap& global();
  static void set_global(KernelHeap& heap);

  /// Uninitialised memory aligned to `alignment` (a power of two, at most 64 MiB), or null.
  void* allocate(size_t bytes, size_t alignment = 16);
  void free(void* object);
  /// How many bytes `object` really has.
  size_t usable_bytes(const void* object);

  PageAllocator& pages() { return pages_; }

  struct Statistics {
    uint64_t bytes_in_use;        // pages taken from the region, whatever they are used for
    uint64_t large_bytes;         // in allocations of whole pages
    uint64_t objects[kClassCount];
    uint64_t slabs[kClassCount];
  };
  Statistics statistics();
  /// Objects in use, slab objects and large allocations together: what leak tests compare.
  uint64_t live_objects();

  KernelHeap(uintptr_t pages_base, size_t pages_bytes) : pages_(pages_base, pages_bytes) {}
  KernelHeap(const KernelHeap&) = delete;
  KernelHeap& operator=(const KernelHeap&) = delete;

 private:
  struct SizeClass {
    Mutex mutex{LockRank::Memory};
    uint32_t partial GUARDED_BY(mutex) = 0;  // slabs with room: a list of page numbers
    uint32_t empty GUARDED_BY(mutex) = 0;    // how many of them hold nothing
    uint64_t objects GUARDED_BY(mutex) = 0;
    uint64_t slabs GUARDED_BY(mutex) = 0;
  };

  void* allocate_small(unsigned size_class);
  void free_small(void* object, unsigned size_class);
  void* allocate_large(size_t bytes, size_t alignment);
  bool add_slab_locked(SizeClass& cache, unsigned size_class) REQUIRES(cache.mutex);
  PageInfo& info(uint32_t page) { return pages_.page_info(pages_.address_of(page)); }
  void link_locked(SizeClass& cache, uint32_t page) REQUIRES(cache.mutex);
  void unlink_locked(SizeClass& cache, uint32_t page) REQUIRES(cache.mutex);

  PageAllocator pages_;
  SizeClass classes_[kClassCount];
  std::atomic<uint64_t> large_objects_{0};
  std::atomic<uint64_t> large_pages_{0};
};

}  // namespace umk

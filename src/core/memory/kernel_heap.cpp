#include "core/memory/kernel_heap.h"

#include <bit>
#include <new>

#include "core/base/check.h"

namespace umk {

namespace {

constinit KernelHeap* the_heap = nullptr;

constexpr uint16_t kNoObject = 0xffff;

/// Slab sizes keep what is lost at a slab's end small: four objects at least, as a rule eight.
constexpr unsigned slab_order(unsigned size_class) {
  const unsigned size = KernelHeap::kClassSizes[size_class];
  return size <= 256 ? 0 : size <= 512 ? 1 : size <= 1024 ? 2 : 3;
}

constexpr unsigned slab_objects(unsigned size_class) { return static_cast<unsigned>((kPageSize << slab_order(size_class)) / KernelHeap::kClassSizes[size_class]); }

/// The class for each size in steps of 16 bytes.
constexpr auto kClassOfSize = [] {
  std::array<uint8_t, 2048 / 16 + 1> table{};
  for (size_t step = 0; step < table.size(); ++step) {
    uint8_t size_class = 0;
    while (KernelHeap::kClassSizes[size_class] < step * 16) ++size_class;
    table[step] = size_class;
  }
  return table;
}();

uint16_t& next_free(void* object) { return *static_cast<uint16_t*>(object); }

}  // namespace

KernelHeap& KernelHeap::create(uintptr_t base, size_t bytes) {
  const size_t own = page_up(sizeof(KernelHeap));
  return *new (reinterpret_cast<void*>(base)) KernelHeap(base + own, bytes - own);
}

KernelHeap& KernelHeap::global() {
  CHECK(the_heap, "nothing is allocated before the heap exists");
  return *the_heap;
}

void KernelHeap::set_global(KernelHeap& heap) { the_heap = &heap; }

void* KernelHeap::allocate(size_t bytes, size_t alignment) {
  if (alignment > 16) {
    if (bytes < alignment) bytes = alignment;
    // Objects of a class lie at multiples of its size: a power of two is aligned to itself.
    if (bytes <= 2048) bytes = std::bit_ceil(bytes);
  }
  if (bytes <= 2048) return allocate_small(kClassOfSize[(bytes + 15) / 16]);
  return allocate_large(bytes, alignment);
}

void KernelHeap::free(void* object) {
  if (!object) return;
  const uintptr_t address = reinterpret_cast<uintptr_t>(object);
  CHECK(pages_.owns(address), "only the heap's own objects are freed");
  PageInfo& page = pages_.page_info(address);
  if (page.kind == PageInfo::Kind::Slab) {
    free_small(object, page.detail);
    return;
  }
  CHECK(page.kind == PageInfo::Kind::Large && is_aligned(address, kPageSize), "an object is freed once and by its start");
  const uint32_t count = page.next;
  page.kind = PageInfo::Kind::Unused;
  large_objects_.fetch_sub(1, std::memory_order_relaxed);
  large_pages_.fetch_sub(count, std::memory_order_relaxed);
  pages_.free(address, count);
}

size_t KernelHeap::usable_bytes(const void* object) {
  const PageInfo& page = pages_.page_info(reinterpret_cast<uintptr_t>(object));
  return page.kind == PageInfo::Kind::Slab ? kClassSizes[page.detail] : size_t{page.next} * kPageSize;
}

void* KernelHeap::allocate_large(size_t bytes, size_t alignment) {
  if (bytes > kPageSize << PageAllocator::kMaximumOrder || alignment > kPageSize << PageAllocator::kMaximumOrder) return nullptr;
  const size_t count = page_up(bytes) / kPageSize;
  const unsigned order = alignment <= kPageSize ? 0 : static_cast<unsigned>(std::countr_zero(alignment / kPageSize));
  const uintptr_t address = pages_.allocate(count, order);
  if (!address) return nullptr;
  PageInfo& page = pages_.page_info(address);
  page.kind = PageInfo::Kind::Large;
  page.next = static_cast<uint32_t>(count);
  large_objects_.fetch_add(1, std::memory_order_relaxed);
  large_pages_.fetch_add(count, std::memory_order_relaxed);
  return reinterpret_cast<void*>(address);
}

void* KernelHeap::allocate_small(unsigned size_class) {
  SizeClass& cache = classes_[size_class];
  MutexLock lock(cache.mutex);
  if (cache.partial == 0 && !add_slab_locked(cache, size_class)) return nullptr;

  const uint32_t page = cache.partial;
  PageInfo& slab = info(page);
  const uintptr_t start = pages_.address_of(page);
  void* object;
  if (slab.first_free != kNoObject) {
    object = reinterpret_cast<void*>(start + size_t{slab.first_free} * kClassSizes[size_class]);
    slab.first_free = next_free(object);
  } else {
    object = reinterpret_cast<void*>(start + size_t{slab.carved} * kClassSizes[size_class]);
    ++slab.carved;
  }
  if (slab.used++ == 0) --cache.empty;
  if (slab.used == slab_objects(size_class)) unlink_locked(cache, page);
  ++cache.objects;
  return object;
}

void KernelHeap::free_small(void* object, unsigned size_class) {
  SizeClass& cache = classes_[size_class];
  const unsigned order = slab_order(size_class);
  const uintptr_t address = reinterpret_cast<uintptr_t>(object);
  const uint32_t page = pages_.number_of(address) & ~((uint32_t{1} << order) - 1);
  const size_t offset = address - pages_.address_of(page);
  const size_t index = offset / kClassSizes[size_class];
  CHECK(index * kClassSizes[size_class] == offset, "an object is freed by its start");

  MutexLock lock(cache.mutex);
  PageInfo& slab = info(page);
  CHECK(slab.used > 0, "an object is freed once");
  if (slab.used == slab_objects(size_class)) link_locked(cache, page);
  next_free(object) = slab.first_free;
  slab.first_free = static_cast<uint16_t>(index);
  --slab.used;
  --cache.objects;
  if (slab.used != 0) return;

  // One empty slab stays, so that a class at the edge of a slab does not take and give pages all the time.
  if (cache.empty == 0) {
    cache.empty = 1;
    return;
  }
  unlink_locked(cache, page);
  for (uint32_t i = 0; i < uint32_t{1} << order; ++i) info(page + i).kind = PageInfo::Kind::Unused;
  --cache.slabs;
  pages_.free(pages_.address_of(page), size_t{1} << order);
}

bool KernelHeap::add_slab_locked(SizeClass& cache, unsigned size_class) {
  const unsigned order = slab_order(size_class);
  const uintptr_t start = pages_.allocate(size_t{1} << order);
  if (!start) return false;
  const uint32_t page = pages_.number_of(start);
  for (uint32_t i = 0; i < uint32_t{1} << order; ++i) {
    info(page + i).kind = PageInfo::Kind::Slab;
    info(page + i).detail = static_cast<uint8_t>(size_class);
  }
  PageInfo& slab = info(page);
  slab.first_free = kNoObject;
  slab.used = 0;
  slab.carved = 0;
  link_locked(cache, page);
  ++cache.empty;
  ++cache.slabs;
  return true;
}

void KernelHeap::link_locked(SizeClass& cache, uint32_t page) {
  PageInfo& slab = info(page);
  slab.previous = 0;
  slab.next = cache.partial;
  if (slab.next) info(slab.next).previous = page;
  cache.partial = page;
}

void KernelHeap::unlink_locked(SizeClass& cache, uint32_t page) {
  PageInfo& slab = info(page);
  (slab.previous ? info(slab.previous).next : cache.partial) = slab.next;
  if (slab.next) info(slab.next).previous = slab.previous;
}

KernelHeap::Statistics KernelHeap::statistics() {
  Statistics statistics{};
  statistics.bytes_in_use = pages_.pages_in_use() * kPageSize;
  statistics.large_bytes = large_pages_.load(std::memory_order_relaxed) * kPageSize;
  for (size_t i = 0; i < kClassCount; ++i) {
    MutexLock lock(classes_[i].mutex);
    statistics.objects[i] = classes_[i].objects;
    statistics.slabs[i] = classes_[i].slabs;
  }
  return statistics;
}

uint64_t KernelHeap::live_objects() {
  const Statistics now = statistics();
  uint64_t total = large_objects_.load(std::memory_order_relaxed);
  for (const uint64_t count : now.objects) total += count;
  return total;
}

}  // namespace umk

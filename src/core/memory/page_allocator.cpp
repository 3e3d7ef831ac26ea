#include "core/memory/page_allocator.h"

#include <bit>

#include "core/base/check.h"

namespace umk {

namespace {
constexpr size_t kLargestBlock = kPageSize << PageAllocator::kMaximumOrder;
}

PageAllocator::PageAllocator(uintptr_t base, size_t bytes) {
  CHECK(is_aligned(base, kPageSize), "the region starts on a page");
  origin_ = round_down(base, kLargestBlock);
  // Page number 0 means "none" in lists.
  if (origin_ == base) origin_ -= kLargestBlock;
  end_ = page_down(base + bytes);
  const size_t info_bytes = page_up(((end_ - base) >> kPageShift) * sizeof(PageInfo));
  first_ = base + info_bytes;
  CHECK(first_ < end_, "the region has room beyond its descriptors");
  top_ = first_;
  infos_ = reinterpret_cast<PageInfo*>(base) - ((base - origin_) >> kPageShift);
}

void PageAllocator::set_account(MemoryAccount* account) {
  MutexLock lock(mutex_);
  account_ = account;
  if (account_) CHECK(account_->try_charge(MemoryAccount::Use::KernelObjects, pages_in_use_ * kPageSize), "mem= is too small for the kernel itself");
}

uintptr_t PageAllocator::allocate(size_t count, unsigned order) {
  if (count == 0 || count > (size_t{1} << kMaximumOrder)) return 0;
  const unsigned needed = static_cast<unsigned>(std::bit_width(count - 1));
  if (needed > order) order = needed;
  if (order > kMaximumOrder) return 0;

  MutexLock lock(mutex_);
  if (account_ && !account_->try_charge(MemoryAccount::Use::KernelObjects, count * kPageSize)) return 0;
  const uint32_t page = take_block_locked(order);
  if (page == 0) {
    if (account_) account_->uncharge(MemoryAccount::Use::KernelObjects, count * kPageSize);
    return 0;
  }
  const uint32_t whole = uint32_t{1} << order;
  if (count < whole) free_range_locked(page + static_cast<uint32_t>(count), whole - static_cast<uint32_t>(count));
  __atomic_store_n(&pages_in_use_, pages_in_use_ + count, __ATOMIC_RELAXED);
  return address_of(page);
}

void PageAllocator::free(uintptr_t address, size_t count) {
  CHECK(owns(address) && is_aligned(address, kPageSize), "a page of this region is freed");
  MutexLock lock(mutex_);
  free_range_locked(number_of(address), static_cast<uint32_t>(count));
  __atomic_store_n(&pages_in_use_, pages_in_use_ - count, __ATOMIC_RELAXED);
  if (account_) account_->uncharge(MemoryAccount::Use::KernelObjects, count * kPageSize);
}

uint32_t PageAllocator::take_block_locked(unsigned order) {
  unsigned found = order;
  while (found <= kMaximumOrder && free_[found] == 0) ++found;
  if (found > kMaximumOrder) return raise_edge_locked(order);
  const uint32_t page = free_[found];
  unlink_locked(page, found);
  while (found > order) {
    --found;
    push_locked(page + (uint32_t{1} << found), found);
  }
  return page;
}

// Takes an untouched block above the edge. What alignment skips becomes free blocks.
uint32_t PageAllocator::raise_edge_locked(unsigned order) {
  const size_t bytes = kPageSize << order;
  const uintptr_t start = round_up(top_, bytes);
  if (start + bytes > end_ || start + bytes < start) return 0;
  const uintptr_t skipped = top_;
  __atomic_store_n(&top_, start + bytes, __ATOMIC_RELAXED);
  if (start > skipped) free_range_locked(number_of(skipped), static_cast<uint32_t>((start - skipped) >> kPageShift));
  return number_of(start);
}

void PageAllocator::free_range_locked(uint32_t first, uint32_t count) {
  while (count > 0) {
    unsigned order = static_cast<unsigned>(std::countr_zero(first));
    const unsigned fitting = static_cast<unsigned>(std::bit_width(count)) - 1;
    if (order > fitting) order = fitting;
    if (order > kMaximumOrder) order = kMaximumOrder;
    free_block_locked(first, order);
    first += uint32_t{1} << order;
    count -= uint32_t{1} << order;
  }
}

void PageAllocator::free_block_locked(uint32_t page, unsigned order) {
  CHECK(infos_[page].kind != PageInfo::Kind::FreeBlock, "a page is freed twice");
  const unsigned freed_order = order;
  while (order < kMaximumOrder) {
    const uint32_t buddy = page ^ (uint32_t{1} << order);
    const uintptr_t buddy_address = address_of(buddy);
    if (buddy_address < first_ || buddy_address + (kPageSize << order) > top_) break;
    const PageInfo& info = infos_[buddy];
    if (info.kind != PageInfo::Kind::FreeBlock || info.detail != order) break;
    unlink_locked(buddy, order);
    page &= ~(uint32_t{1} << order);
    ++order;
  }
  push_locked(page, order);
  // Tell the host once, when the block reaches the size, not again for each block that joins it later.
  if (release_ && order >= kReleaseOrder && freed_order < kReleaseOrder) release_(address_of(page), kPageSize << order);
}

void PageAllocator::push_locked(uint32_t page, unsigned order) {
  PageInfo& info = infos_[page];
  info.kind = PageInfo::Kind::FreeBlock;
  info.detail = static_cast<uint8_t>(order);
  info.previous = 0;
  info.next = free_[order];
  if (info.next) infos_[info.next].previous = page;
  free_[order] = page;
}

void PageAllocator::unlink_locked(uint32_t page, unsigned order) {
  PageInfo& info = infos_[page];
  (info.previous ? infos_[info.previous].next : free_[order]) = info.next;
  if (info.next) infos_[info.next].previous = info.previous;
  info.kind = PageInfo::Kind::Unused;
}

}  // namespace umk

// Area: one stretch of an address space with one kind of contents and one protection, as a line of /proc/PID/maps shows it.
//
// It remembers what the guest asked for. What the host maps there may grant less: a page that is writable and executable for the guest is one or the
// other on the host; pages of shared files that are not in the page cache are not writable yet; beyond the end of a file there is no access.
//
// An area holds on to what it maps: a reference to the source and the open file, a pin on the pages, its place in the source's list. Dropping these
// may take locks that come before the address space's, so areas are deleted after its lock is released (DeadAreas).
#pragma once

#include <cstdint>
#include <string_view>

#include "core/base/list.h"
#include "core/base/make.h"
#include "core/kernel/guest/engine.h"
#include "core/kernel/mm/mappable_file.h"
#include "core/kernel/mm/page_source.h"
#include "core/kernel/mm/text_cache.h"

namespace umk::mm {

/// mmap(2) flags.
namespace map_flags {
inline constexpr uint32_t kShared = 1, kPrivate = 2, kSharedValidate = 3, kTypeMask = 15, kFixed = 0x10, kAnonymous = 0x20, k32Bit = 0x40, kGrowsDown = 0x100, kLocked = 0x2000,
                          kNoReserve = 0x4000, kPopulate = 0x8000, kNonBlock = 0x10000, kStack = 0x20000, kHugeTlb = 0x40000, kSync = 0x80000,
                          kFixedNoReplace = 0x100000;
}

struct AreaTag;

class Area : public TreeHook<AreaTag>, public SourceLink {
 public:
  /// How the host maps it.
  enum class Backing : uint8_t {
    Anonymous,   // private memory of the host
    Cache,       // pages of the source's store; private ones copy on write
    HostFile,    // the source's host file; private ones copy on write
    Fixed,       // where its contents lie in a file of the host that nobody writes (fixed_extent.h); private ones copy on write
    Text,        // the kernel's executable copy of the file (text_cache.h)
    Sealed,      // private copies of a file's pages, made so that they may be executable: Anonymous for the host
    Trampoline,  // the companion of a Text area; not the guest's, invisible to it
  };

  Area(class AddressSpace& owner, uint64_t first, uint64_t past_end) : start(first), end(past_end), space(&owner) {}
  ~Area();
  Area(const Area&) = delete;
  Area& operator=(const Area&) = delete;

  /// Everything but the range, with references of its own.
  void copy_from(const Area& other);
  /// Maps `mapped` from now on: takes the references.
  void attach(PageSource& mapped);

  uint64_t length() const { return end - start; }
  bool is_shared() const { return flags & map_flags::kShared; }
  bool is_private() const { return !is_shared(); }
  /// Shows pages that other mappings show too.
  bool shares_pages() const { return is_shared() && backing == Backing::Cache; }
  const SharedCode* shared_code() const { return shares_pages() ? source->shared_code.load(std::memory_order_acquire) : nullptr; }
  bool is_visible() const { return backing != Backing::Trampoline; }
  /// Private pages of a file that the process may have changed.
  bool may_have_own_pages() const { return is_private() && was_writable; }
  /// Memory that belongs to the process alone and cannot be had back from a file.
  bool is_host_private() const { return backing == Backing::Anonymous || backing == Backing::Sealed; }
  /// Counts as a promise of memory: private and writable, or shared memory without a file.
  bool is_committed() const { return !(flags & map_flags::kNoReserve) && is_private() && (protection & guest::kProtWrite) && is_visible(); }
  uint64_t source_offset(uint64_t address) const { return offset + (address - start); }
  /// The pages that [from, to) shows of the one chunk in which it lies.
  PageMask pages_shown(uint64_t from, uint64_t to) const {
    return page_mask(static_cast<unsigned>(source_offset(from) % kChunkBytes >> kPageShift), static_cast<unsigned>((to - from) >> kPageShift));
  }
  /// Widens [from, to) within [first, last), which lies in one chunk, as far as it shows `pages`.
  void widen(uint64_t& from, uint64_t& to, uint64_t first, uint64_t last, PageMask pages) const {
    while (from > first && (pages & pages_shown(from - kPageSize, from))) from -= kPageSize;
    while (to < last && (pages & pages_shown(to, to + kPageSize))) to += kPageSize;
  }
  /// True when `next`, which begins where this ends, is the same mapping going on.
  bool continues_with(const Area& next) const;

  uint64_t start, end;
  int protection = 0;           // what the guest may do: PROT_* bits
  int maximum_protection = 7;   // what mprotect may give: a shared mapping of a file open for reading cannot become writable
  uint32_t flags = 0;           // kShared or kPrivate, kGrowsDown, kNoReserve, kLocked
  Backing backing = Backing::Anonymous;
  bool was_writable = false;    // private file pages may have been replaced by the process's own
  bool dont_fork = false, wipe_on_fork = false, dont_dump = false;  // madvise(2)
  uint64_t offset = 0;          // file offset of `start`
  RefPtr<MappableFile> file;   // null: anonymous, or a source without an open file
  PageSource* source = nullptr;
  /// Addresses from here to `end` lay beyond the end of the file when they were mapped, and have no access.
  uint64_t mapped_end = UINT64_MAX;
  RefPtr<TextCopy> text;        // Backing::Text and Trampoline
  class AddressSpace* space;
  std::string_view label;       // "[heap]", "[stack]", "[vdso]"
  Area* next_dead = nullptr;
};

/// Areas that were taken out of an address space, to be deleted when this goes: declare it before the lock is taken.
class DeadAreas {
 public:
  DeadAreas() = default;
  ~DeadAreas() {
    while (first_) delete std::exchange(first_, first_->next_dead);
  }
  DeadAreas(const DeadAreas&) = delete;
  DeadAreas& operator=(const DeadAreas&) = delete;
  void add(Area& area) {
    area.next_dead = first_;
    first_ = &area;
  }

 private:
  Area* first_ = nullptr;
};

}  // namespace umk::mm

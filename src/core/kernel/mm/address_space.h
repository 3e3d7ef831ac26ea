// AddressSpace: the mappings of a guest process, as areas. mmap(2), munmap(2), mprotect(2), mremap(2), brk(2).
//
// An area remembers what the guest asked for (its protection, its file); the host's mapping may grant less: a page that is
// writable and executable for the guest is one or the other on the host and flips on a fault; pages beyond the end of a file have no access.
// All functions that change mappings are called by a task of this address space (host mappings can only be changed from inside).
#pragma once

#include <cstdint>

#include "core/base/list.h"
#include "core/base/make.h"
#include "core/kernel/guest/engine.h"
#include "core/kernel/mm/layout.h"
#include "core/kernel/mm/page_source.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::mm {

/// mmap(2) flags.
namespace map_flags {
inline constexpr uint32_t kShared = 1, kPrivate = 2, kSharedValidate = 3, kTypeMask = 15, kFixed = 0x10, kAnonymous = 0x20, kGrowsDown = 0x100, kLocked = 0x2000,
                          kNoReserve = 0x4000, kPopulate = 0x8000, kNonBlock = 0x10000, kStack = 0x20000, kHugeTlb = 0x40000, kFixedNoReplace = 0x100000;
}

struct AreaKey;
struct AreaTag;

class Area : public TreeHook<AreaTag>, public ListHook<SourceTag> {
 public:
  uint64_t start, end;
  int protection;               // what the guest may do: PROT_* bits
  uint32_t flags;               // kShared or kPrivate, kGrowsDown, kNoReserve, kLocked...
  uint64_t offset = 0;          // file offset of `start`
  RefPtr<vfs::OpenFile> file;   // null: anonymous
  PageSource* source = nullptr;
  class AddressSpace* space = nullptr;
  bool is_text = false;         // maps the kernel's executable copy
  std::string_view label;       // "[heap]", "[stack]", "[vdso]"
};

class AddressSpace : public RefCounted {
 public:
  static Result<RefPtr<AddressSpace>> create(guest::Engine& engine, CacheWindow& window);
  ~AddressSpace() override;

  /// mmap: `hint` as given; returns the chosen address. Checks everything that mmap(2) documents.
  Result<uint64_t> map(uint64_t hint, uint64_t length, int protection, uint32_t flags, RefPtr<vfs::OpenFile> file, uint64_t offset);
  Result<void> unmap(uint64_t start, uint64_t length);
  Result<void> protect(uint64_t start, uint64_t length, int protection);
  Result<uint64_t> remap(uint64_t old_start, uint64_t old_length, uint64_t new_length, uint32_t remap_flags, uint64_t new_address);
  Result<void> advise(uint64_t start, uint64_t length, int advice);
  Result<void> sync(uint64_t start, uint64_t length, int flags);
  Result<void> residency(uint64_t start, uint64_t length, uint64_t user_vector);
  Result<void> lock_pages(uint64_t start, uint64_t length, bool lock);
  Result<uint64_t> set_break(uint64_t address);

  /// A guest's access at `address` failed (x86 page-fault bits: 1 protection, 2 write, 16 fetch). Success: the access may be tried again.
  /// EFAULT: no such access (SIGSEGV: `is_mapped` tells SEGV_ACCERR from SEGV_MAPERR); EIO: beyond the end of the file (SIGBUS).
  Result<void> handle_fault(uint64_t address, uint64_t error_code, bool* is_mapped);

  /// Copies the areas for a forked child, whose host mappings the engine's fork copies. `self` is locked meanwhile by the caller of fork.
  Result<RefPtr<AddressSpace>> clone_for_fork();
  /// Forgets all areas (exec, exit); the engine drops the host's mappings in one go.
  void clear();

  /// The object behind a shared futex word: (store or host file identity, offset), or (this, address) for private memory.
  struct WordKey {
    const void* object;
    uint64_t offset;
  };
  Result<WordKey> word_key(uint64_t address, bool process_private);

  // For exec, proc and core dumps.
  uint64_t code_start = 0, code_end = 0, data_start = 0, data_end = 0, break_start = 0, stack_start = 0;
  uint64_t arguments_start = 0, arguments_end = 0, environment_start = 0, environment_end = 0;
  Vector<uint64_t> auxiliary_vector;
  RefPtr<vfs::OpenFile> executable;
  /// Trap only: the program uses the GS base, single-steps or is traced.
  bool trap_only = false;

  /// Calls `body(const Area&)` for each area in order, with the address space locked.
  template <typename Body>
  void for_each_area(Body&& body) {
    MutexLock lock(mutex_);
    for (const Area& area : areas_) body(area);
  }
  uint64_t total_bytes() const;

  struct KeyOfArea {
    using type = uint64_t;
    const uint64_t& operator()(const Area& area) const { return area.start; }
  };
  Mutex& mutex() { return mutex_; }

  AddressSpace(guest::Engine& engine, CacheWindow& window) : engine_(engine), window_(window) {}

 private:
  guest::Engine& engine_;
  CacheWindow& window_;
  Mutex mutex_{LockRank::AddressSpace};
  Tree<Area, KeyOfArea, AreaTag> areas_ GUARDED_BY(mutex_);
  uint64_t break_end_ GUARDED_BY(mutex_) = 0;
  uint64_t total_bytes_ = 0;
};

}  // namespace umk::mm

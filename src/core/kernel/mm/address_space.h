// AddressSpace: the mappings of a guest process, as areas. mmap(2), munmap(2), mprotect(2), mremap(2), brk(2).
//
// All functions that change mappings are called by a task of this address space (host mappings can only be changed from inside). Areas and host
// mappings change together under `mutex()`; no user memory is copied under it, since a fault of that copy would need it. What an area lets go is
// released after the lock.
//
// Addresses are chosen here, from the top down: the stack lies just under the kernel's private pages, images and anonymous memory below the room
// that is kept for the stack's growth, all within 1 GiB as far as possible, so that few pages of page tables are used (they are copied at fork).
// The heap of a program without an address of its own lies hundreds of GiB below, under the same page of the upper page tables.
//
// The file is split by verb: map.cpp, unmap.cpp (with mprotect), remap.cpp, advise.cpp, residency.cpp (msync, mincore,
// mlock), fault.cpp, revoke.cpp, foreign_access.cpp, break.cpp (with fork); area_tree.cpp keeps the areas,
// host_mapping.cpp decides what the host is told.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/base/list.h"
#include "core/base/make.h"
#include "core/kernel/guest/engine.h"
#include "core/kernel/mm/area.h"
#include "core/kernel/mm/layout.h"
#include "core/kernel/mm/page_source.h"
#include "core/kernel/mm/shared_code.h"

namespace umk::mm {

/// Resource limits that bear on mappings, in bytes, as they are for the caller at the time of the call.
struct MemoryLimits {
  uint64_t address_space = UINT64_MAX;
  uint64_t data = UINT64_MAX;
  uint64_t stack = UINT64_MAX;
  uint64_t locked = UINT64_MAX;  // UINT64_MAX with CAP_IPC_LOCK
};

/// What `AddressSpace::map_request` maps. Everything of mmap(2) with the file already looked at.
struct MapRequest {
  uint64_t hint = 0;
  uint64_t length = 0;
  int protection = 0;
  uint32_t flags = 0;
  uint64_t offset = 0;
  PageSource* source = nullptr;  // null: anonymous
  RefPtr<MappableFile> file;    // for /proc/PID/maps; may be null
  bool may_write = true;         // a shared mapping may be or become writable
  std::string_view label;
};

/// How many areas a process may have: vm.max_map_count.
inline constexpr size_t kMaximumAreas = 65530;
/// Below a stack that grows, this much stays free: stack_guard_gap.
inline constexpr uint64_t kStackGuardGap = 256 * kPageSize;

/// Pages that a fault wants and that are not there, or not to be written or executed yet; the fault fetches them without locks and starts again.
struct AbsentPages {
  PageSource* source = nullptr;  // with a mapping reference
  uint64_t page = 0, first = 0, count = 0;
  bool for_write = false;
  bool was_fetched = false;      // once already in this fault: what is still absent cannot be had
  std::optional<SharedCode::Use> use;  // `page` of shared memory is to be turned, and nothing is to be read

  AbsentPages() = default;
  ~AbsentPages() {
    if (source) source->drop_mapping_reference();
  }
  AbsentPages(const AbsentPages&) = delete;
  AbsentPages& operator=(const AbsentPages&) = delete;
  Result<void> fetch();
};

class AddressSpace : public RefCounted {
 public:
  static Result<RefPtr<AddressSpace>> create(guest::Engine& engine, CacheWindow& window);
  ~AddressSpace() override;

  /// mmap: `hint` as given; returns the chosen address. Checks everything that mmap(2) documents.
  Result<uint64_t> map(uint64_t hint, uint64_t length, int protection, uint32_t flags, RefPtr<MappableFile> file, uint64_t offset,
                       const MemoryLimits& limits = {});
  Result<uint64_t> map_request(const MapRequest& request, const MemoryLimits& limits = {});
  Result<void> unmap(uint64_t start, uint64_t length);
  Result<void> protect(uint64_t start, uint64_t length, int protection, const MemoryLimits& limits = {});
  Result<uint64_t> remap(uint64_t old_start, uint64_t old_length, uint64_t new_length, uint32_t remap_flags, uint64_t new_address,
                         const MemoryLimits& limits = {});
  Result<void> advise(uint64_t start, uint64_t length, int advice);
  Result<void> sync(uint64_t start, uint64_t length, int flags);
  Result<void> residency(uint64_t start, uint64_t length, uint64_t user_vector);
  /// mlock2(2) with `on_fault`, munlock(2) without `lock`.
  Result<void> lock_pages(uint64_t start, uint64_t length, bool lock, bool on_fault = false, const MemoryLimits& limits = {});
  /// mlockall(2) (flags MCL_CURRENT 1, MCL_FUTURE 2, MCL_ONFAULT 4), munlockall with 0.
  Result<void> lock_all(uint32_t flags, const MemoryLimits& limits = {});
  /// brk(2): the new break, or the old one when it cannot be moved.
  uint64_t set_break(uint64_t address, const MemoryLimits& limits = {});

  // --- for exec, on an empty address space
  /// Chooses where the stack and the images go. `stack_limit` is RLIMIT_STACK; `random` decides all random distances, 0 for none.
  void set_layout(uint64_t stack_limit, uint64_t random);
  /// Maps the stack, with `bytes` accessible at once; returns its end, where the first push goes below.
  Result<uint64_t> map_stack(uint64_t bytes, int protection, const MemoryLimits& limits = {});
  /// A free place for an image of `length` bytes aligned to `alignment`, with room for trampolines below it. ENOMEM.
  Result<uint64_t> find_image_space(uint64_t length, uint64_t alignment = kPageSize);
  /// Where the heap starts: behind a program with an address of its own, at a page.
  void start_break(uint64_t address);
  /// Where it starts for a program that was placed by find_image_space, with other mappings close above: in a place of its own, with room to grow.
  void start_break_apart();
  uint64_t current_break();

  /// A guest's access at `address` failed (x86 page-fault bits: 1 protection, 2 write, 16 fetch; kHostBusError when the host said SIGBUS).
  /// Success: the access may be tried again. EFAULT: no such access (SIGSEGV: `is_mapped` tells SEGV_ACCERR from SEGV_MAPERR); EIO: beyond the end
  /// of the file (SIGBUS); ENOMEM: no memory for it (SIGBUS or the end of the process).
  static constexpr uint64_t kHostBusError = 0x100;
  Result<void> handle_fault(uint64_t address, uint64_t error_code, bool* is_mapped, uint64_t stack_limit = 8 << 20);

  /// Copies the areas for a forked child, whose host mappings the engine's fork copies. The caller holds `fork_mutex()` until the engine has forked, so
  /// that no other thread changes mappings in between.
  Result<RefPtr<AddressSpace>> clone_for_fork() NO_THREAD_SAFETY_ANALYSIS;
  /// The lock of all changes.
  Mutex& fork_mutex() { return mutex_; }
  /// Forgets all areas (exec, exit); the engine drops the host's mappings in one go.
  void clear();

  /// Guest: what the guest may do. Debugger: also what only its own protection forbids.
  enum class Rights { Guest, Debugger };
  /// Copy guest memory for another process, or for a kernel thread; as far as the rights and the mappings reach. How many bytes; 0 also when the
  /// address space is gone. Call with no lock held that comes behind LockRank::AddressSpace.
  size_t read_foreign(uint64_t address, std::span<std::byte> into, Rights rights) { return copy_foreign(address, into, false, rights); }
  size_t write_foreign(uint64_t address, std::span<const std::byte> from, Rights rights) {
    return copy_foreign(address, {const_cast<std::byte*>(from.data()), from.size()}, true, rights);
  }

  /// The object behind a shared futex word: (store or host file identity, offset), or (this, address) for private memory.
  struct WordKey {
    const void* object;
    uint64_t offset;
  };
  Result<WordKey> word_key(uint64_t address, bool process_private);

  /// For the patcher: which copy of which file's text the code at `address` is, or which one's trampolines lie there.
  struct TextPlace {
    RefPtr<TextCopy> text;  // null: not the kernel's copy (anonymous or private pages): such sites stay unpatched
    uint64_t offset;        // of `address` in text->text(), modulo 2^64: trampolines lie below it
    uint64_t text_start;    // where text->text() begins, or would, in this address space; trampolines lie trampoline_distance() below
  };
  Result<TextPlace> find_text(uint64_t address);

  // For exec, proc and core dumps.
  uint64_t code_start = 0, code_end = 0, data_start = 0, data_end = 0, break_start = 0, stack_start = 0;
  uint64_t arguments_start = 0, arguments_end = 0, environment_start = 0, environment_end = 0;
  uint64_t vdso_start = 0;
  Vector<uint64_t> auxiliary_vector;
  RefPtr<MappableFile> executable;
  /// Keeps the program's file from being written while it runs; only held here.
  RefPtr<RefCounted> executable_hold;
  /// What the engine knows of where this is mapped. The number is never used again; an address space that nothing carries has 0.
  struct Carrier {
    std::atomic<void*> process{nullptr};
    std::atomic<uint64_t> number{0};
  } carrier;
  /// Its host process was killed: nothing of it can be touched any more.
  std::atomic<bool> is_lost{false};
  /// Trap only: the program uses the GS base, so its calls must not come through patched sites.
  bool trap_only = false;
  /// Makes it so: text that is mapped shows copies without patches from now on, and so does text that will be. ENOMEM, EIO.
  Result<void> leave_patched_text();
  /// Runs `work(page, argument)` with a page of the caller's own below 4 GiB, mapped for as long as that takes; other threads of the guest can write to
  /// it meanwhile. ENOMEM when none is free.
  Result<void> with_low_page(void (*work)(void* page, void* argument), void* argument);

  /// Calls `body(const Area&)` for each area of the guest in order, with the address space locked.
  template <typename Body>
  void for_each_area(Body&& body) {
    MutexLock lock(mutex_);
    for (const Area& area : areas_)
      if (area.is_visible()) body(area);
  }
  uint64_t total_bytes() const { return __atomic_load_n(&total_bytes_, __ATOMIC_RELAXED); }
  uint64_t locked_bytes() const { return __atomic_load_n(&locked_bytes_, __ATOMIC_RELAXED); }
  uint64_t committed_bytes() const { return __atomic_load_n(&committed_bytes_, __ATOMIC_RELAXED); }

  struct KeyOfArea {
    using type = uint64_t;
    const uint64_t& operator()(const Area& area) const { return area.start; }
  };
  Mutex& mutex() { return mutex_; }
  guest::Engine& engine() const { return engine_; }

  /// The file's contents from `size` on are gone: takes away what areas of this space map of them, private copies too. Called through Engine::run_in.
  void forget_beyond(PageSource& source, uint64_t size);

  /// Areas that show fixed pages of the file show the page cache from now on. Called through Engine::run_in.
  void leave_fixed_pages(PageSource& source);

  /// Takes write access to pages of the file away from shared areas of this space, or all access from all of its areas: the next access faults. False
  /// when the host refused, or the guest has locked pages that would lose access. Called through Engine::run_in.
  enum class Restriction { NoWriting, NoAccess };
  bool restrict_pages(PageSource& source, uint64_t first_page, uint64_t count, Restriction restriction);
  /// What may be shown of a page of shared memory has changed: shared areas show it so, writing later. False when the host refused. As restrict_pages.
  bool show_page_again(PageSource& source, uint64_t page);

  /// Counts up with each address space of the machine; from 1.
  const uint64_t number;

  AddressSpace(guest::Engine& engine, CacheWindow& window) : number(window.live.spaces_made.fetch_add(1, std::memory_order_relaxed) + 1), engine_(engine), window_(window) {
    set_layout(8 << 20, 0);
    window.live.address_spaces.fetch_add(1, std::memory_order_relaxed);
  }

 private:
  using AreaTree = Tree<Area, KeyOfArea, AreaTag>;
  enum class Visibility { GuestOnly, All };

  // area_tree.cpp: nothing here touches the host.
  Area* find_locked(uint64_t address) REQUIRES(mutex_);
  /// The first area that ends behind `address`.
  AreaTree::iterator first_behind_locked(uint64_t address) REQUIRES(mutex_);
  bool is_free_locked(uint64_t start, uint64_t end, Visibility visibility) REQUIRES(mutex_);
  Result<void> split_locked(uint64_t at) REQUIRES(mutex_);
  /// Splits at both ends, so that areas lie inside or outside.
  Result<void> isolate_locked(uint64_t start, uint64_t end) REQUIRES(mutex_);
  /// Takes the (isolated) areas of a range out.
  void remove_locked(uint64_t start, uint64_t end, DeadAreas& dead) REQUIRES(mutex_);
  void insert_locked(Area& area) REQUIRES(mutex_);
  void erase_locked(Area& area, DeadAreas& dead) REQUIRES(mutex_);
  /// Joins areas around [start, end] that continue each other.
  void merge_around_locked(uint64_t start, uint64_t end, DeadAreas& dead) REQUIRES(mutex_);
  void account_locked(const Area& area, bool add) REQUIRES(mutex_);
  void count_area_locked(int change) REQUIRES(mutex_);
  /// The highest free range of `length` bytes below `ceiling` with `room_below` free bytes under it; 0 when there is none.
  uint64_t find_space_locked(uint64_t length, uint64_t room_below, uint64_t ceiling, uint64_t alignment) REQUIRES(mutex_);
  /// True when [start, end) would come closer than the guard gap to a stack above it.
  bool invades_stack_gap_locked(uint64_t start, uint64_t end) REQUIRES(mutex_);

  // map.cpp
  Result<uint64_t> choose_address_locked(const MapRequest& request, uint64_t length) REQUIRES(mutex_);
  /// What mmap(2) and setrlimit(2) say about a new area, and the machine's memory.
  Result<void> check_limits_locked(const Area& added, const MemoryLimits& limits) REQUIRES(mutex_);
  Result<void> check_growth_locked(const Area& area, uint64_t bytes, uint64_t replaced, uint64_t replaced_data, const MemoryLimits& limits) REQUIRES(mutex_);
  /// Puts `area` in place of whatever is there, in the tree and on the host.
  Result<void> place_locked(std::unique_ptr<Area> area, DeadAreas& dead) REQUIRES(mutex_);
  uint64_t text_distance_locked(const PageSource& source, uint64_t start, uint64_t offset, uint64_t length) REQUIRES(mutex_);
  Result<void> place_trampolines_locked(const Area& area, DeadAreas& dead) REQUIRES(mutex_);
  bool is_text_mapped_locked(const Area& trampolines) REQUIRES(mutex_);
  void drop_unused_trampolines_locked(DeadAreas& dead) REQUIRES(mutex_);
  Result<void> free_trampolines_locked(uint64_t start, uint64_t end, DeadAreas& dead) REQUIRES(mutex_);

  // host_mapping.cpp
  /// Protection that the host shall enforce now for all of `area`.
  static int host_protection(const Area& area);
  /// Before pages of `source` are executed where they are, while other mappings may be writable. EPERM where that cannot be; ENOMEM.
  Result<void> prepare_shared_code(PageSource& source) const;
  /// What the host shall allow now for [start, end) of an area of the cache, which lies in one chunk. `present`: what the chunk has.
  int cache_protection(const Area& area, uint64_t start, uint64_t end, PageMask present) const;
  Result<void> establish_locked(Area& area, uint64_t start, uint64_t end) REQUIRES(mutex_);
  Result<void> establish_cache_locked(Area& area, uint64_t start, uint64_t end) REQUIRES(mutex_);
  // fixed_mapping.cpp
  static bool can_be_fixed(const MapRequest& request, uint64_t length);
  Result<void> establish_fixed_locked(Area& area, uint64_t start, uint64_t end) REQUIRES(mutex_);
  Result<void> become_cache_locked(Area& area) REQUIRES(mutex_);
  Result<void> fault_in_fixed_locked(Area& area, uint64_t address) REQUIRES(mutex_);
  /// Lets the host enforce a changed `area.protection` on what is mapped already.
  Result<void> reprotect_locked(Area& area) REQUIRES(mutex_);
  Result<void> seal_locked(Area& area) REQUIRES(mutex_);

  // unmap.cpp, break.cpp
  Result<void> unmap_locked(uint64_t start, uint64_t end, DeadAreas& dead) REQUIRES(mutex_);
  Result<void> protect_once(uint64_t start, uint64_t end, int protection, bool grows_down, bool grows_up, const MemoryLimits& limits);
  Result<void> protect_area_locked(Area& area, int protection, const MemoryLimits& limits) REQUIRES(mutex_);
  Result<void> grow_break_locked(uint64_t start, uint64_t end, const MemoryLimits& limits, DeadAreas& dead) REQUIRES(mutex_);
  void copy_shape_from(const AddressSpace& parent) NO_THREAD_SAFETY_ANALYSIS;
  Result<void> copy_areas_from(const AreaTree& areas);

  // remap.cpp, advise.cpp, residency.cpp
  Result<void> grow_locked(Area& area, uint64_t new_end, DeadAreas& dead) REQUIRES(mutex_);
  Result<void> move_locked(uint64_t from, uint64_t old_length, uint64_t to, uint64_t new_length, bool keep_old, DeadAreas& dead) REQUIRES(mutex_);
  Result<void> move_pages(uint64_t from, uint64_t length, uint64_t to);
  Result<void> advise_area_locked(Area& area, uint64_t start, uint64_t end, int advice) REQUIRES(mutex_);
  Result<void> populate_locked(Area& area, uint64_t start, uint64_t end, bool for_write) REQUIRES(mutex_);
  void set_locked_flag_locked(Area& area, bool lock, bool bring_in) REQUIRES(mutex_);

  // fault.cpp
  Result<void> grow_stack_locked(Area& area, uint64_t address, uint64_t stack_limit) REQUIRES(mutex_);
  Result<void> handle_fault_once(uint64_t address, uint64_t error_code, bool* is_mapped, uint64_t stack_limit, AbsentPages& absent);
  /// What the page has to be turned to first.
  std::optional<SharedCode::Use> missing_use(const Area& area, uint64_t address, uint64_t error_code) const;
  Result<void> fault_in_locked(Area& area, uint64_t address, uint64_t error_code) REQUIRES(mutex_);

  // foreign_access.cpp
  size_t copy_foreign(uint64_t address, std::span<std::byte> bytes, bool to_guest, Rights rights);
  size_t copy_piece(uint64_t address, std::span<std::byte> bytes, bool to_guest, Rights rights);
  size_t force_locked(Area& area, uint64_t address, std::span<std::byte> bytes, bool to_guest, DeadAreas& dead) REQUIRES(mutex_);

  // backed_mapping.cpp: pages of files with storage behind them
  /// What the host shall allow now for [start, end) of an area, which lies in one chunk.
  int backed_protection(const Area& area, uint64_t start, uint64_t end) const;
  Result<void> fault_in_backed_locked(Area& area, uint64_t address, uint64_t error_code, AbsentPages& absent) REQUIRES(mutex_);
  Result<void> reprotect_backed_locked(Area& area, uint64_t limit) REQUIRES(mutex_);
  /// Reads what is absent of an area whose pages are about to be copied as a whole.
  Result<void> fill_locked(const Area& area, uint64_t end) REQUIRES(mutex_);
  /// Touches [start, end), if it is a mapping of such a file, as the guest would; the locks are not held.
  Result<void> touch_backed(uint64_t start, uint64_t end, bool for_write);

  guest::Engine& engine_;
  CacheWindow& window_;
  Mutex mutex_{LockRank::AddressSpace};
  AreaTree areas_ GUARDED_BY(mutex_);
  size_t area_count_ GUARDED_BY(mutex_) = 0;
  size_t trampoline_count_ GUARDED_BY(mutex_) = 0;
  bool text_went_ GUARDED_BY(mutex_) = false;  // some trampolines may have no text any more
  uint64_t break_end_ GUARDED_BY(mutex_) = 0;
  uint64_t stack_top_ = 0;   // end of the stack area
  uint64_t map_base_ = 0;    // addresses are chosen below this
  uint64_t heap_place_ = 0;  // for start_break_apart
  /// No free range of `searched_length_` bytes or more lies between `searched_from_` and map_base_.
  uint64_t searched_from_ GUARDED_BY(mutex_) = UINT64_MAX;
  uint64_t searched_length_ GUARDED_BY(mutex_) = 0;
  uint32_t lock_future_ GUARDED_BY(mutex_) = 0;  // mlockall(MCL_FUTURE), MCL_ONFAULT
  uint64_t total_bytes_ = 0;
  uint64_t data_bytes_ GUARDED_BY(mutex_) = 0;
  uint64_t locked_bytes_ = 0;
  uint64_t committed_bytes_ = 0;
};

/// The contents of `source` from `size` on are gone, and `mappable_bytes()` says so already: takes them away from all who map them. Filesystems call
/// it when a file that is mapped is truncated, holding no lock that page faults need.
void unmap_beyond(PageSource& source, uint64_t size);

}  // namespace umk::mm

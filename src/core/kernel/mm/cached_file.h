// CachedFile: the cached pages of one file that has storage behind it (file_backing.h).
//
// A page is
//   absent      its contents are in the storage alone
//   present     memory and storage agree, or it is dirty
//   dirty       changed since it was last written; never dropped but by truncation
//   written     (under write-back) it is being written; may become dirty again meanwhile
// A chunk of 16 pages is `busy` while absent pages of it are read; others who want them wait. Pages that a guest may write through a shared mapping
// are `writable`: whatever they hold is dirty until write access was taken away again.
//
// Reading in order is followed by reading ahead (read_ahead.cpp): the reader waits for what it asked for, and the next pages are read meanwhile.
//
// The life of a written byte: write() makes its page present (reads it when the write covers a part of it), asks the backing to reserve(), marks the
// page dirty, copies, and marks it again, as it may have been written out in between. Some seconds later, or at fsync, write-back takes runs of
// consecutive dirty pages, clears `dirty`, and hands them to write_pages(). A failure is recorded in errors() and the page stays present and clean,
// as in Linux: fsync(2) says so once to each open file.
//
// What the owner (the filesystem) does:
//   read    clip by the size, read().
//   write   take the writers' lock (LockRank::FileData) of the file; write(); set the size; release the lock; PageCache::throttle().
//   grow    extend() with the writers' lock held, then set the size.
//   shrink  take the writers' lock; NoFills; set the size; truncate(); free the blocks; end NoFills, drop the lock; unmap_beyond().
//   hole    the same with punch(), the size staying.
//   fsync   sync(), then its own metadata and the flush of the medium. Write errors are reported by the VFS through errors().
//   end     discard() for a file without a name, else sync(); then the object may go. A CachedFile must not be dirty when it dies.
//
// Locks: the store's mutex (LockRank::PageStore) guards changes of the tree and of page states; nothing is copied or read under it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/kernel/guest/user_memory.h"
#include "core/kernel/mm/error_sequence.h"
#include "core/kernel/mm/file_backing.h"
#include "core/kernel/mm/page_store.h"
#include "core/sync/wait_queue.h"

namespace umk::mm {

class PageCache;
class WriteBackGroup;
struct DirtyFileTag;
struct CachedFileTag;

/// posix_fadvise(2), as its numbers are.
enum class Advice : int { Normal = 0, Random = 1, Sequential = 2, WillNeed = 3, DontNeed = 4, NoReuse = 5 };

class CachedFile : public ListHook<DirtyFileTag>, public ListHook<CachedFileTag> {
 public:
  /// `group`: the filesystem instance, for syncfs; outlives the file.
  CachedFile(PageCache& cache, WriteBackGroup& group, FileBacking& backing);
  ~CachedFile();
  CachedFile(const CachedFile&) = delete;
  CachedFile& operator=(const CachedFile&) = delete;

  // --- data
  /// Copies file bytes to the buffer, reading what is absent and some more where the file is read in order. The caller bounded the range by the size.
  /// EFAULT, EIO, ENOMEM when nothing could be copied; else the bytes before that.
  Result<size_t> read(uint64_t offset, UserOutBuffer& buffer);
  /// Copies the buffer into the file's pages. The caller excludes other writers and sets the size afterwards. ENOSPC and the like from reserve(), EFAULT,
  /// EIO, ENOMEM when nothing was written; else the bytes before that.
  Result<size_t> write(uint64_t offset, UserInBuffer& buffer);
  /// Held by a writer from before write() until the new size is set: `size` is the old one. The page that holds the old end may be written out in between, without
  /// what the writer has put behind the end, and so stays dirty.
  class Extending {
   public:
    Extending(CachedFile& file, uint64_t size) : file_(file) { file_.extended_page_.store(size >> kPageShift, std::memory_order_relaxed); }
    ~Extending() { file_.extended_page_.store(UINT64_MAX, std::memory_order_release); }
    Extending(const Extending&) = delete;
    Extending& operator=(const Extending&) = delete;

   private:
    CachedFile& file_;
  };
  /// O_DIRECT: past the cache, coherent with it. Offset, memory and length are multiples of 512 (EINVAL); as read() and write() else. What is not whole
  /// pages within the file is written through the cache: the owner sets the size and then calls sync() for the range.
  Result<size_t> read_direct(uint64_t offset, UserOutBuffer& buffer);
  Result<size_t> write_direct(uint64_t offset, UserInBuffer& buffer);

  // --- size and holes
  /// While one exists nothing is brought into the cache and no mapping makes a page dirty: blocks may be taken away. Waits for reads under way.
  class NoFills {
   public:
    explicit NoFills(CachedFile& file) : file_(file) { file_.stop_fills(); }
    ~NoFills() { file_.allow_fills(); }
    NoFills(const NoFills&) = delete;
    NoFills& operator=(const NoFills&) = delete;

   private:
    CachedFile& file_;
  };
  /// Before the size grows from `old_size`: what mappings wrote behind the end of the file must not show up.
  void extend(uint64_t old_size, uint64_t new_size);
  /// Drops everything from `size` on, which is the file's size already, and zeroes the rest of its page, in the storage too (the page becomes dirty).
  /// Under NoFills. EIO, ENOMEM: the page could not be read; all else was done.
  Result<void> truncate(uint64_t size);
  /// Drops [offset, offset + length), zeroing partial pages. Under NoFills.
  Result<void> punch(uint64_t offset, uint64_t length);
  /// Drops everything, written or not: nobody will read it again. Waits for write-back under way.
  void discard();

  // --- write-back
  /// Writes what is dirty in [offset, end) and waits until all of it is written, by whomever. Failures go to errors() only.
  void sync(uint64_t offset = 0, uint64_t end = UINT64_MAX, WriteReason reason = WriteReason::Sync);
  /// Starts writing: sync_file_range(2) without waiting, MS_ASYNC. The write-back thread does it.
  void start_write_back();
  /// Waits for write-back under way in [offset, end).
  void wait_for_write_back(uint64_t offset = 0, uint64_t end = UINT64_MAX);
  bool is_dirty() const { return dirty_pages_.load(std::memory_order_acquire) != 0; }
  uint64_t dirty_pages() const { return dirty_pages_.load(std::memory_order_relaxed); }
  ErrorSequence& errors() { return errors_; }
  WriteBackGroup& group() const { return group_; }

  // --- what is in the cache
  /// Brings pages in, as far as they are in the file: mappings, readahead(2). EIO, ENOMEM when the first page could not be had.
  Result<void> fill(uint64_t first_page, uint64_t count) { return fill_range(first_page, count, Gate::Respect); }
  /// The same without waiting for other contexts, for who holds an address space: EINPROGRESS when one would have to.
  Result<void> try_fill(uint64_t first_page, uint64_t count) { return fill_range(first_page, count, Gate::Try); }
  /// For a page fault: brings in [first, first + count) and perhaps what follows; success when `page` of it was present.
  Result<void> fill_around(uint64_t page, uint64_t first, uint64_t count);
  void advise(uint64_t offset, uint64_t length, Advice advice);
  /// Drops clean pages that no guest maps. Returns how many.
  uint64_t invalidate(uint64_t first_page, uint64_t count);
  /// For mincore(2): whether the page is present.
  bool is_present(uint64_t page) const;
  uint64_t present_bytes() const { return store_.allocated_bytes(); }
  PageStore& store() { return store_; }
  FileBacking& backing() const { return backing_; }
  PageCache& cache() const { return cache_; }

  // --- mappings
  /// A guest is about to write to pages through a shared mapping: reserves and marks them. Present pages only. Called with no
  /// lock held. ENOSPC and the like; EAGAIN when the pages are not present any more.
  Result<void> make_writable(uint64_t first_page, uint64_t count);
  /// For who opens them to a guest, with its address space locked: whether they still are what make_writable() made them.
  bool are_writable(uint64_t first_page, uint64_t count) const;
  /// Pages of one chunk that are present / that make_writable() made writable.
  PageMask present_pages(uint64_t chunk_index) const { return store_.load(chunk_index).present; }
  PageMask writable_pages(uint64_t chunk_index) const { return load_state(chunk_index).writable; }
  /// Mappings may show the pages of FileBacking::fixed_extent from now on, until the file is changed; false when it was. With the address space locked.
  bool begin_showing_fixed();

 private:
  friend class PageCache;
  friend struct CachedFileInspector;  // tests
  using Entry = PageStore::Entry;
  using State = PageStore::State;
  using Slot = PageStore::Slot;
  /// Own: by who holds NoFills. Try: EINPROGRESS instead of waiting for somebody else.
  enum class Gate { Respect, Own, Try };

  static constexpr size_t kMaximumPieces = 33;
  static constexpr unsigned kChunksInLook = 256;  // so that a big file is not searched whole while the cache's lock is held
  static constexpr uint64_t kMaximumRun = 512;  // pages that are read or written at once

  /// Consecutive pages and where they lie.
  struct Run {
    uint64_t first = 0, count = 0;
    size_t piece_count = 0;
    bool any_writable = false;
    PageMask writable[kMaximumRun / kPagesInChunk + 1] = {};  // of each chunk
    PageMemory pieces[kMaximumPieces];

    bool has_room() const { return piece_count < kMaximumPieces && count < kMaximumRun; }
    void add(std::byte* memory, uint64_t pages);
    /// Leaves the first pages, or all but these, of a run of which none is writable.
    void limit(uint64_t pages);
    void skip(uint64_t pages);
    void note_writable(uint64_t chunk_index, PageMask pages) {
      writable[chunk_index - first / kPagesInChunk] |= pages;
      if (pages) any_writable = true;
    }
    std::span<const PageMemory> memory() const { return std::span(pieces).first(piece_count); }
  };

  // cached_file.cpp
  struct Present {
    uint64_t bytes = 0;           // what there is to copy
    bool is_ahead_mark = false;   // time to read more ahead
  };
  Result<size_t> read_present(uint64_t offset, UserOutBuffer& buffer, Present& present);
  Slot* state_of(uint64_t chunk_index) const {
    Slot* slot = store_.tree_.find(chunk_index);
    return slot ? store_.tree_.second(chunk_index, slot) : nullptr;
  }
  State load_state(uint64_t chunk_index) const {
    const Slot* state = state_of(chunk_index);
    return State::unpack(state ? state->load(std::memory_order_seq_cst) : 0);
  }
  uint64_t size_pages() const { return page_up(backing_.mappable_bytes()) >> kPageShift; }
  struct Claimed {
    std::byte* memory;  // of the chunk
    PageMask fresh;     // pages that are zeroes; others hold anything
  };
  /// Gives pages of a chunk memory, without making them present.
  Result<Claimed> claim_locked(uint64_t chunk_index, PageMask pages, class PageBudget& budget) REQUIRES(store_.mutex_);
  void set_present_locked(uint64_t chunk_index, PageMask pages) REQUIRES(store_.mutex_);
  void set_absent_locked(uint64_t chunk_index, PageMask pages) REQUIRES(store_.mutex_);
  /// Accounts pages as dirty. Returns whether the file was clean: then the cache has to be told, without the lock.
  [[nodiscard]] bool mark_dirty_locked(uint64_t chunk_index, PageMask pages) REQUIRES(store_.mutex_);
  void mark_dirty(uint64_t chunk_index, PageMask pages);
  /// Takes pages out of the dirty ones. They are written, or go.
  void forget_dirty_locked(uint64_t chunk_index, PageMask pages) REQUIRES(store_.mutex_);
  /// Reads absent pages from `first` on, at most `count`, up to the first that is present or busy. Afterwards `first` was present for a moment.
  Result<void> fill_run(uint64_t first, uint64_t count, Gate gate = Gate::Respect);
  Result<void> fill_range(uint64_t first_page, uint64_t count, Gate gate);
  /// Gives up to `count` absent pages from `run.first` on memory and makes them busy. ENOMEM, EINPROGRESS when not even the first.
  Result<void> claim_run_locked(Run& run, uint64_t count, PageBudget& budget) REQUIRES(store_.mutex_);
  void release_run_locked(const Run& run, bool was_read) REQUIRES(store_.mutex_);
  void stop_fills();
  void allow_fills();
  Result<void> begin_fill();
  void end_fill();

  // fixed_mapping.cpp
  uint64_t absent_pages(uint64_t first, uint64_t count) const;
  /// Reads absent pages from where they are fixed; 0 when they are not, or the rest is the cache's.
  Result<size_t> read_fixed(uint64_t offset, UserOutBuffer& buffer);
  /// Before the contents change: mappings show the cache from now on.
  void before_change() {
    if (fixed_showing_.load(std::memory_order_acquire) != Showing::Over) [[unlikely]] stop_showing_fixed();
  }
  void stop_showing_fixed();

  // cached_write.cpp
  Result<void> reserve_clean(uint64_t chunk_index, PageMask pages);
  void release(uint64_t chunk_index, PageMask pages);
  Result<void> add_zeroed(uint64_t chunk_index, PageMask pages);
  void drop_unwritten(uint64_t chunk_index, PageMask pages);
  Result<size_t> write_present(uint64_t offset, size_t bytes, UserInBuffer& buffer);
  /// Whole pages that are not in the cache; 0 when that could not be done and they are present now.
  Result<size_t> write_absent(uint64_t offset, size_t bytes, UserInBuffer& buffer);
  Result<size_t> write_some(uint64_t offset, size_t most, UserInBuffer& buffer);
  Result<void> write_past_cache(uint64_t first_page, PageMemory memory);

  // cached_drop.cpp
  /// Of dropped pages that guests map: their mappings go now, or they show zeroes from now on.
  enum class Mapped { Gone, Emptied };
  Result<void> zero_part(uint64_t offset, uint64_t length);
  void drop(uint64_t first_page, uint64_t end_page, Mapped mapped);
  /// Drops those of the candidates that are clean, unless somebody looks at the file. Returns how many pages of memory that gave back.
  uint64_t reclaim_chunk_locked(uint64_t chunk_index, PageMask candidates) REQUIRES(store_.mutex_);
  /// For the clock: looks at some chunks from where it stopped, drops up to about `pages`. `is_round`: it came to the end of the file.
  uint64_t reclaim_some(uint64_t pages, bool second_chance, bool* is_round);
  /// All of its pages are dirty, or none went when they were looked at a moment ago: the clock passes by.
  bool has_nothing_to_reclaim(uint64_t now_ns) const;
  /// For the write-back thread, which holds no lock: takes up to about `pages` clean pages away from the guests that map them.
  uint64_t evict_mapped(uint64_t pages);

  // cached_write_back.cpp
  class RunsInFlight;
  /// Busy: a page is being written by somebody else, who is to be waited for with `when_busy` Wait.
  enum class Taken { Some, Nothing, Busy };
  Taken take_dirty(uint64_t& cursor, uint64_t end, WriteReason reason, FileBacking::WhenBusy when_busy, Run& run);
  void write_run(Run& run, WriteReason reason);
  /// Its last page is written from a copy: mappings may have written behind the end of the file.
  bool has_tail(const Run& run) const;
  Result<void> write_with_tail(Run& run, uint64_t tail, WriteReason reason);
  void finish_run(const Run& run, const Result<void>& outcome, bool stays_writable);
  void write_dirty(uint64_t offset, uint64_t end, WriteReason reason);
  /// Takes write access to the pages away from all who map them; false when somebody could not be reached and may go on writing.
  bool revoke_writes(const Run& run);
  void revoke_writes(uint64_t first_page, uint64_t end_page);

  // read_ahead.cpp
  /// A place where somebody reads in order: what was read ahead last ends at `next` and was `window` pages long.
  struct Stream {
    std::atomic<uint64_t> next{0};
    std::atomic<uint32_t> window{0};
  };
  class BackgroundFill;
  Result<void> read_missing(uint64_t page, uint64_t wanted);
  Stream* stream_at(uint64_t page);
  uint64_t maximum_window() const;
  /// A reader has come to `page`, where what was read ahead last begins.
  void continue_ahead(uint64_t page);
  void start_ahead(uint64_t first, uint64_t count);
  /// Begins to read absent pages from `first` on, without waiting for anything; returns how many.
  uint64_t start_fill(uint64_t first, uint64_t count, bool marks);
  void end_background_fill(BackgroundFill& fill, int error_code);

  static constexpr size_t kStreams = 4;

  enum class Showing : uint8_t { Possible, Now, Ending, Over };

  PageCache& cache_;
  WriteBackGroup& group_;
  FileBacking& backing_;
  PageStore store_;
  Mutex fixed_mutex_{LockRank::FileData};  // held while mappings are taken back to the cache
  std::atomic<Showing> fixed_showing_{Showing::Possible};
  ErrorSequence errors_;
  /// Sleepers on busy chunks, pages under write-back, fills and NoFills; they wait with the store's mutex.
  WaitQueue waiters_;
  uint32_t no_fills_ GUARDED_BY(store_.mutex_) = 0;
  uint32_t fills_in_flight_ GUARDED_BY(store_.mutex_) = 0;
  uint64_t fill_generation_ GUARDED_BY(store_.mutex_) = 0;  // moves on with each read into the cache
  std::atomic<uint64_t> dirty_pages_{0}, written_pages_{0};
  std::atomic<bool> written_by_mappings_{false};  // so bytes behind the end of the file may not be zero
  std::atomic<uint64_t> extended_page_{UINT64_MAX};  // of an Extending
  // Chunks that are dirty lie in between.
  uint64_t first_dirty_chunk_ GUARDED_BY(store_.mutex_) = UINT64_MAX;
  uint64_t last_dirty_chunk_ GUARDED_BY(store_.mutex_) = 0;
  uint64_t clock_hand_ GUARDED_BY(store_.mutex_) = 0, evict_hand_ GUARDED_BY(store_.mutex_) = 0;
  uint64_t freed_in_round_ GUARDED_BY(store_.mutex_) = 0;  // since the clock's hand was at the start
  std::atomic<uint64_t> fruitless_until_ns_{0};
  // Races on these cost a read-ahead that is too long or too short.
  std::atomic<Advice> advice_{Advice::Normal};
  Stream streams_[kStreams];
  std::atomic<uint32_t> next_stream_{0};

  // Guarded by the cache's mutex.
  uint64_t dirty_since_ns_ = 0;
  uint64_t sync_pass_ = 0;
  bool write_back_asked_ = false;
};

/// Makes pages read-only in all shared mappings of a file. False when a mapping could not be reached. No lock is held. (advise.cpp)
bool write_protect(PageSource& source, uint64_t first_page, uint64_t count);

/// Mappings of the source that show fixed pages show the cache instead, but for private ones that may hold the process's own. (fixed_mapping.cpp)
void leave_fixed_pages(PageSource& source);

/// Takes all access to pages away from all who map them. False when somebody keeps it: it could not be reached, or has locked them.
bool take_access(PageSource& source, uint64_t first_page, uint64_t count);

/// Pages that were charged to the machine's memory ahead, so that nothing has to be charged under a lock. What is not used goes back.
class PageBudget {
 public:
  explicit PageBudget(PageCache& cache) : cache_(cache) {}
  ~PageBudget();
  PageBudget(const PageBudget&) = delete;
  PageBudget& operator=(const PageBudget&) = delete;
  /// ENOMEM when they are not to be had even after reclaim.
  Result<void> charge(uint64_t pages);
  /// The same without waiting for anybody.
  Result<void> try_charge(uint64_t pages);
  void use(uint64_t pages) {
    CHECK(pages <= pages_, "memory is charged before it is used");
    pages_ -= pages;
  }

 private:
  PageCache& cache_;
  uint64_t pages_ = 0;
};

}  // namespace umk::mm

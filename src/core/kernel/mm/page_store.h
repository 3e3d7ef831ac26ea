// PageStore: the pages of one file in the page cache.
//
// A radix tree finds the 64 KiB chunk of the cache window that holds a stretch of the file. A tree entry is one word: the chunk, which of its pages
// are `present` (hold file data), and which are `backed` (have memory of the host behind them, present or not). A page that is not present reads as
// zeroes; when it becomes present it is zeroed first if it is backed.
//
// Readers and writers find their pages without the lock and copy without it: user memory may fault and need anything. They hold a Pin meanwhile.
// What is taken out of the file while a pin is held stays in the tree as backed but not present, and the last pin to go sweeps it. Mappings hold a
// pin too, for as long as they live, so a chunk never passes to another file while a guest can see it. Pages that are taken out of a mapped file are
// emptied, and stay present: a guest may write to them through its mapping without the kernel's knowing.
//
// A tracked store has a second word for each chunk, the State of its pages. It belongs to a file with storage behind it: absent pages are not zeroes
// there but have to be read, which CachedFile does (cached_file.h); read, write, punch and their kin are for stores whose holes are zeroes.
//
// Writers that race with a truncation write into a page that is no longer the file's or one that is again; whoever needs more order than that (an
// inode's size) keeps it above.
//
// Lock: `mutex_` (LockRank::PageStore) guards changes of the tree. The window's lock and the heap's come below it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/kernel/guest/user_memory.h"
#include "core/kernel/mm/cache_window.h"
#include "core/kernel/mm/chunk_tree.h"
#include "core/sync/mutex.h"

namespace umk::mm {

class PageStore {
 public:
  static constexpr uint64_t kChunkBytes = mm::kChunkBytes;

  enum class Kind { Plain, Tracked };
  explicit PageStore(CacheWindow& window, Kind kind = Kind::Plain)
      : window_(window), tree_(kind == Kind::Tracked ? ChunkTree::Words::Two : ChunkTree::Words::One) {}
  ~PageStore();
  PageStore(const PageStore&) = delete;
  PageStore& operator=(const PageStore&) = delete;

  /// Copies file bytes [offset, offset + remaining) to the buffer; holes are zeroes. The caller bounded the range by the file's size.
  /// EFAULT when nothing could be copied; else the bytes before the fault.
  Result<size_t> read(uint64_t offset, UserOutBuffer& buffer);
  /// Copies the buffer into the file's pages, allocating. ENOMEM beyond the machine's memory limit, EFAULT; both only when nothing was written.
  Result<size_t> write(uint64_t offset, UserInBuffer& buffer);
  /// Drops everything from `size` on and zeroes the rest of its page.
  void truncate(uint64_t size) { punch(size, UINT64_MAX - size); }
  /// Makes [offset, offset + length) a hole, zeroing partial pages.
  void punch(uint64_t offset, uint64_t length);
  /// Allocates zeroed pages (fallocate). ENOMEM; what was allocated before that stays.
  Result<void> allocate(uint64_t offset, uint64_t length);
  /// Makes an untouched store [0, bytes) present as a whole, in one run of chunks: shared memory that is mapped once and never looked at again.
  Result<void> allocate_run(uint64_t bytes);
  uint64_t allocated_bytes() const { return present_pages_.load(std::memory_order_relaxed) * kPageSize; }
  /// The first offset >= `from` that holds data / is a hole, below `size`. next_hole gives `size` when there is none.
  std::optional<uint64_t> next_data(uint64_t from, uint64_t size);
  uint64_t next_hole(uint64_t from, uint64_t size);
  /// Kernel address of a page, allocated (zeroed) when absent; null without `allocate` for a hole. The caller holds a pin, or knows otherwise that
  /// the page is not dropped meanwhile.
  Result<std::byte*> page(uint64_t index, bool allocate);

  /// For mappings: the chunk that holds `file_offset`, made (an address, no memory) when absent, and which of its pages are present.
  struct MappedChunk {
    uint64_t cache_offset;  // of the chunk's first byte
    PageMask present;
  };
  Result<MappedChunk> map_chunk(uint64_t file_offset);
  /// Makes pages of one chunk present before a guest may write to them.
  Result<void> make_present(uint64_t chunk_index, PageMask pages);
  /// Offset in the cache file of the chunk that holds `file_offset`, as map_chunk.
  Result<uint64_t> cache_offset(uint64_t file_offset) {
    const MappedChunk chunk = TRY(map_chunk(file_offset));
    return chunk.cache_offset;
  }

  /// While a pin is held, no chunk that the store had at its start is used for anything else.
  void pin() { pins_.fetch_add(kReaderPin, std::memory_order_seq_cst); }
  void unpin() { drop_pin(kReaderPin); }
  /// A mapping's pin: chunks that nobody maps may be taken out of a tracked store under it.
  void pin_mapping() { pins_.fetch_add(kMappingPin, std::memory_order_seq_cst); }
  void unpin_mapping() { drop_pin(kMappingPin); }
  bool is_mapped() const { return (pins_.load(std::memory_order_relaxed) & kMappingPins) != 0; }

 private:
  friend class CachedFile;

  class Pin {
   public:
    explicit Pin(PageStore& store) : store_(store) { store_.pin(); }
    ~Pin() { store_.unpin(); }
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;

   private:
    PageStore& store_;
  };

  using Slot = ChunkTree::Slot;

  /// What a slot holds: chunk in the low half, then the masks. 0: nothing.
  struct Entry {
    ChunkNumber chunk;
    PageMask present;
    PageMask backed;
    uint64_t packed() const { return chunk | (uint64_t{present} << 32) | (uint64_t{backed} << 48); }
    static Entry unpack(uint64_t bits) { return {static_cast<ChunkNumber>(bits), static_cast<PageMask>(bits >> 32), static_cast<PageMask>(bits >> 48)}; }
  };

  /// What is known of the pages of a chunk of a tracked store beyond its entry: the second word, changed by atomic operations.
  struct State {
    PageMask dirty, written, writable;
    uint16_t flags;
    static constexpr unsigned kWrittenShift = 16, kWritableShift = 32, kFlagShift = 48;
    static constexpr uint64_t kBusy = uint64_t{1} << kFlagShift;        // absent pages are being read
    static constexpr uint64_t kReferenced = uint64_t{2} << kFlagShift;  // used since the clock's hand came by
    static constexpr uint64_t kMapped = uint64_t{4} << kFlagShift;      // shown to a guest since the file was last mapped by nobody
    static constexpr uint64_t kAhead = uint64_t{8} << kFlagShift;       // whoever reads here is followed by reading more ahead
    static State unpack(uint64_t bits) {
      return {static_cast<PageMask>(bits), static_cast<PageMask>(bits >> kWrittenShift), static_cast<PageMask>(bits >> kWritableShift),
              static_cast<uint16_t>(bits >> kFlagShift)};
    }
    /// Pages that must stay.
    PageMask kept() const { return dirty | written | writable; }
  };
  bool is_tracked() const { return tree_.has_second(); }

  // Two counts in one word, so that one look tells both.
  static constexpr uint64_t kReaderPin = 1, kReaderPins = 0xffffffff, kMappingPin = uint64_t{1} << 32, kMappingPins = ~kReaderPins;
  void drop_pin(uint64_t kind) {
    if (pins_.fetch_sub(kind, std::memory_order_seq_cst) == kind && sweep_due_.load(std::memory_order_seq_cst)) [[unlikely]] sweep_after_unpin();
  }
  void sweep_after_unpin();

  Entry load(uint64_t chunk_index) const {
    const Slot* slot = tree_.find(chunk_index);
    return Entry::unpack(slot ? slot->load(std::memory_order_seq_cst) : 0);
  }
  Result<Entry> ensure_locked(uint64_t chunk_index, PageMask pages) REQUIRES(mutex_);
  Result<Entry> ensure(uint64_t chunk_index, PageMask pages);
  /// Frees what lies in [first, last] without being present. Needs that no pin was held at some time after it stopped being present.
  void sweep_locked(uint64_t first, uint64_t last) REQUIRES(mutex_);
  void sweep_later_locked(uint64_t first, uint64_t last) REQUIRES(mutex_);
  void zero_within_page(uint64_t offset, uint64_t length);

  CacheWindow& window_;
  Mutex mutex_{LockRank::PageStore};
  std::atomic<uint64_t> pins_{0};
  std::atomic<bool> sweep_due_{false};
  bool was_mapped_ GUARDED_BY(mutex_) = false;  // guests may have touched pages that are not `backed` as far as we know
  uint64_t sweep_first_ GUARDED_BY(mutex_) = UINT64_MAX;
  uint64_t sweep_last_ GUARDED_BY(mutex_) = 0;
  std::atomic<uint64_t> present_pages_{0};
  ChunkTree tree_;
};

}  // namespace umk::mm

// PageCache: what all cached files of the machine share: limits, counts, write-back and reclaim.
//
// Dirty pages are written when they are old (dirty_expire, looked for every dirty_writeback), when more than the background share of memory is dirty,
// and when somebody asks. Who makes pages dirty faster than they can be written is slowed down in throttle(). proc_sys_vm(5), "dirty_*".
//
// Memory: the machine's limit (`mem=`) is shared with everything else. When it gets short, clean pages that no guest maps are dropped, files and
// chunks in turn like the hand of a clock, and dirty ones are written so that they become clean.
//
// Threads: run_write_back() is the body of a kernel thread of the monitor. It sleeps without a timer while nothing is dirty.
//
// Locks: `mutex_` (LockRank::PageCache) guards the lists of files; the counters are atomics.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/base/list.h"
#include "core/kernel/mm/cached_file.h"
#include "core/sync/wait_queue.h"

namespace umk::mm {

struct GroupTag;

/// The files of one filesystem instance (or block device).
class WriteBackGroup : public ListHook<GroupTag> {
 public:
  WriteBackGroup() = default;
  virtual ~WriteBackGroup() = default;
  WriteBackGroup(const WriteBackGroup&) = delete;
  WriteBackGroup& operator=(const WriteBackGroup&) = delete;
  /// For syncfs(2): failures of any of its files.
  ErrorSequence errors;
  /// The time for what the filesystem keeps by itself, such as a journal's transaction, has come (PageCache::write_later). Called without locks, by the
  /// write-back thread.
  virtual void write_own() {}

 private:
  friend class PageCache;
  std::atomic<uint64_t> own_due_ns_{0};  // 0: nothing to write
};

class PageCache final : public MemoryReclaimer {
 public:
  /// /proc/sys/vm/dirty_*: times in hundredths of a second; bytes win over ratios unless 0.
  struct Settings {
    std::atomic<uint32_t> dirty_background_ratio{10}, dirty_ratio{20}, dirty_expire_centisecs{3000}, dirty_writeback_centisecs{500};
    std::atomic<uint64_t> dirty_background_bytes{0}, dirty_bytes{0};
  };
  struct Counters {
    std::atomic<uint64_t> present{0}, dirty{0}, written_back{0};               // pages now: Cached, Dirty, Writeback of /proc/meminfo
    std::atomic<uint64_t> pages_dirtied{0}, pages_written{0};                  // since boot: nr_dirtied, nr_written of /proc/vmstat
    std::atomic<uint64_t> pages_read{0}, pages_scanned{0}, pages_reclaimed{0};  // since boot
  };

  explicit PageCache(CacheWindow& window);
  ~PageCache();
  PageCache(const PageCache&) = delete;
  PageCache& operator=(const PageCache&) = delete;

  /// Body of the write-back thread; returns after stop().
  void run_write_back();
  void stop();

  /// Slows the caller down while too much is dirty. Call it after write(), holding no lock of the file. Never waits for long.
  void throttle();
  /// Writes all dirty pages of a group's files and waits: syncfs(2), or with null of all: sync(2). Failures go to the files' errors() and the group's.
  void sync_group(const WriteBackGroup* group);
  /// The group's write_own() may be called from now on, until remove_group(), which waits for a call that is going on.
  void add_group(WriteBackGroup& group);
  void remove_group(WriteBackGroup& group);
  /// Calls the group's write_own() once, about `delay_ns` from now. Takes no lock but a queue's.
  void write_later(WriteBackGroup& group, uint64_t delay_ns);
  /// Drops clean pages that no guest maps, those first that were not used lately; returns how many. Takes locks from LockRank::PageCache on.
  uint64_t reclaim(uint64_t pages) override;
  /// Takes clean pages away from guests that map them; returns how many. Holding no lock that faults need. The write-back thread does it when memory is
  /// short; so may a fault that finds none, whose own address space it can always reach.
  uint64_t evict_mapped(uint64_t pages);
  /// reclaim() and evict_mapped(), and if that is not enough some times more after writing everything that is dirty: what to do before a program is killed
  /// for want of memory. Returns how many pages it freed. May take as long as the disks do; holding no lock.
  uint64_t reclaim_thoroughly(uint64_t pages);
  /// Lets the cache shrink, though not to nothing, while guests were promised more private memory than is left beside it.
  void make_way_for_commitments();
  /// drop_caches: all clean pages that no guest maps.
  void drop_clean();
  /// How many pages make the write-back thread start, and how many stop writers: proc_sys_vm(5).
  uint64_t background_limit() const;
  uint64_t dirty_limit() const;
  /// Cuts what is brought in ahead to a part of the memory that is left.
  uint64_t bounded_read_ahead(uint64_t pages) const;

  CacheWindow& window() const { return window_; }
  Settings settings;
  Counters counters;

  /// Bytes of the machine's memory that the cache leaves free for those who cannot wait.
  uint64_t reserved_bytes() const;

 private:
  friend class CachedFile;
  friend class PageBudget;

  // For CachedFile.
  void add(CachedFile& file);
  void remove(CachedFile& file);
  void note_dirtied(CachedFile& file, bool was_clean);
  void note_written(uint64_t pages);
  void ask_write_back(CachedFile& file);
  /// Takes memory for `pages`; ENOMEM when there is none even after reclaim. May sleep for a moment.
  Result<void> charge(uint64_t pages);
  /// The same after one look for what can be dropped.
  Result<void> try_charge(uint64_t pages);

  uint64_t memory_pages() const;
  uint64_t dirty_or_written() const { return counters.dirty.load(std::memory_order_relaxed) + counters.written_back.load(std::memory_order_relaxed); }
  void wake_writer();
  /// For something that is to be done then: not needed when the thread looks around by itself before.
  void wake_writer_before(uint64_t due_ns);
  /// The next file to write, with a mapping reference; null when none is due. `wait_ns`: until the next one is.
  CachedFile* next_due_locked(uint64_t round_start, uint64_t now, uint64_t* wait_ns) REQUIRES(mutex_);
  /// The next group whose write_own() is due, null when none is; lowers `wait_ns` to when one will be.
  WriteBackGroup* next_group_locked(uint64_t now, uint64_t* wait_ns) REQUIRES(mutex_);
  void move_to_end_locked(CachedFile& file, uint64_t now) REQUIRES(mutex_);

  CacheWindow& window_;
  Mutex mutex_{LockRank::PageCache};
  List<CachedFile, CachedFileTag> files_ GUARDED_BY(mutex_);  // all; the first is the next that the clock looks at
  List<CachedFile, DirtyFileTag> dirty_ GUARDED_BY(mutex_);   // by the time of their first dirty page
  List<WriteBackGroup, GroupTag> groups_ GUARDED_BY(mutex_);
  WriteBackGroup* busy_group_ GUARDED_BY(mutex_) = nullptr;   // whose write_own() runs
  WaitQueue group_done_;
  size_t file_count_ GUARDED_BY(mutex_) = 0;
  uint64_t write_back_asked_ GUARDED_BY(mutex_) = 0;          // files that are to be written now
  uint64_t sync_pass_ GUARDED_BY(mutex_) = 0;
  uint64_t evictions_ GUARDED_BY(mutex_) = 0;                 // rounds of the write-back thread that looked for mapped pages
  uint64_t evicted_ GUARDED_BY(mutex_) = 0;                   // pages that they found
  bool memory_is_short_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::atomic<bool> has_thread_{false};
  std::atomic<bool> was_woken_{false};
  std::atomic<uint64_t> writer_looks_at_ns_{UINT64_MAX};  // how long the thread sleeps at most
  WaitQueue writer_;     // the write-back thread
  WaitQueue throttled_;  // who waits for it
};

}  // namespace umk::mm

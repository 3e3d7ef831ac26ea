// Journal: makes changes of many metadata blocks one change, by writing them to a log before they go to their places.
//
// Whoever changes metadata opens a Handle, tells it each buffer that he changes, and closes it; what one handle covers is there after a crash as a whole or
// not at all. Handles join the running transaction. A commit waits until all its handles are closed, writes the changed blocks to the log, flushes the
// medium, writes the commit block, and flushes again. From time to time a checkpoint writes what has been committed to its place, after which the log
// starts anew. Nobody changes anything while buffers are copied to the log or to their places.
//
// Data: file blocks are written to the medium before the handle that makes them part of a file is closed, so the first flush of a commit makes them durable
// before the metadata that leads to them (data=ordered).
//
// Freed blocks: a metadata block that is freed is revoked, so that recovery does not write old contents over what it holds later. No freed block
// is used again before the transaction that freed it is committed: until then a crash would bring back its old owner. The owner of the
// allocator keeps them apart and is told by on_committed().
//
// A filesystem without a journal uses this class too: then a commit writes the buffers to their places.
//
// Locks: `commit_mutex_` is held during a commit, `mutex_` guards the lists; both LockRank::DiskFilesystem. begin() may wait for a commit, and a commit for all
// open handles. So: an inode's mutex is taken before begin(), never under a handle, and no reference that may be the last of an inode is dropped under one.
#pragma once

#include "core/fs/ext4/block_cache.h"
#include "core/lib/ext4_format/extent_node.h"
#include "core/lib/ext4_format/journal_format.h"
#include "core/sync/wait_queue.h"

namespace umk::ext4 {

/// A run of blocks that a transaction freed.
struct FreedRun {
  uint64_t block;
  uint32_t count;
};

class Journal {
 public:
  class Handle;

  /// What the filesystem does for its journal.
  class Owner {
   public:
    /// Everything stands still: puts counters that live in memory into their buffers.
    virtual void before_commit(Handle& handle) = 0;
    /// A transaction has its first change, and should be committed `seconds` later. The journal is locked.
    virtual void on_begun(uint32_t seconds) = 0;
    /// Computes the checksums in a buffer.
    virtual void seal(Buffer& buffer) = 0;
    virtual void on_committed(std::span<const FreedRun> freed) = 0;
    /// The journal cannot go on.
    virtual void on_abort(int error_code) = 0;

   protected:
    ~Owner() = default;
  };

  class Handle {
   public:
    Handle(Handle&& other) noexcept : journal_(std::exchange(other.journal_, nullptr)), credits_(other.credits_), transaction_(other.transaction_) {}
    ~Handle() {
      if (journal_) journal_->end(credits_);
    }
    Handle& operator=(Handle&&) = delete;

    /// `buffer` is about to be changed. `kind` and `context` say how it is to be sealed.
    void modify(Buffer& buffer, BufferKind kind, uint32_t context = 0);
    void modify(Buffer& buffer) { modify(buffer, buffer.kind, buffer.context); }
    /// The metadata block was freed.
    Result<void> forget(uint64_t block);
    /// Blocks were freed: on_committed() will name them.
    Result<void> note_freed(FreedRun run);
    uint32_t transaction() const { return transaction_; }

   private:
    friend class Journal;
    Handle(Journal& journal, uint32_t credits, uint32_t transaction) : journal_(&journal), credits_(credits), transaction_(transaction) {}
    Journal* journal_;
    uint32_t credits_;
    uint32_t transaction_;
  };

  Journal(BlockCache& cache, Owner& owner) : cache_(cache), owner_(owner) {}
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// Uses a log: `layout` are the runs of its blocks on the device. The superblock is read; with one that asks for it, the log is replayed first when
  /// `may_write`; the number of replayed transactions is returned.
  Result<uint32_t> open_log(Vector<Extent> layout, uint64_t blocks, bool may_write, std::string_view& reason);
  bool has_log() const { return has_log_; }
  bool needs_recovery() const { return has_log_ && log_.start != 0; }
  /// Gets the log ready for writing, with these incompatible features besides those it has.
  Result<void> start_log(uint32_t features);

  /// For who has handles open already, for data that are being written, and must close them before he waits for a commit: EAGAIN instead of waiting.
  enum class WhenBusy { Wait, Fail };
  /// Opens a handle that changes at most `credits` buffers. Waits while a commit needs stillness. EROFS after an abort.
  Result<Handle> begin(uint32_t credits, WhenBusy when_busy = WhenBusy::Wait);
  /// Waits until the transaction is durable; commits it if need be.
  Result<void> commit(uint32_t transaction);
  Result<void> commit_all();
  /// Commits and writes everything to its place.
  Result<void> checkpoint();
  /// After checkpoint(): leaves an empty log.
  Result<void> finish_log();
  void abort(int error_code);
  bool is_aborted() const { return aborted_.load(std::memory_order_acquire); }

  void set_barriers(bool on) { barriers_ = on; }
  void set_commit_interval(uint32_t seconds) { commit_interval_seconds_ = seconds; }
  bool is_committed(uint32_t transaction);
  bool has_changes();
  /// Changes that are not in their places yet.
  bool is_behind();
  /// Moves on whenever blocks were written to their places.
  void count_places_from(uint64_t number) { places_written_.store(number, std::memory_order_release); }
  uint64_t places_written() const { return places_written_.load(std::memory_order_acquire); }

 private:
  using BufferList = List<Buffer, BufferTransactionTag>;

  void end(uint32_t credits);
  /// These two look at the running transaction while everything stands still, without `mutex_`.
  Result<void> commit_locked(bool and_checkpoint) NO_THREAD_SAFETY_ANALYSIS;
  Result<void> write_transaction(uint32_t sequence, std::span<const uint64_t> revoked) NO_THREAD_SAFETY_ANALYSIS;
  Result<void> write_commit_block(uint32_t sequence);
  void make_room();
  Result<void> write_home();
  Result<void> start_anew(uint32_t sequence);
  void take_buffers_locked() REQUIRES(mutex_);
  void become_still();
  void end_stillness();
  Result<void> flush();
  Result<void> write_log_superblock();
  uint32_t log_used() const { return head_ >= tail_ ? head_ - tail_ : head_ + (log_.blocks - log_.first) - tail_; }

  // journal_recovery.cpp
  Result<uint32_t> recover();
  Result<void> read_log_block(uint32_t index, Bytes into);
  uint64_t physical(uint32_t index, uint32_t* run = nullptr) const;

  friend class LogWriter;

  BlockCache& cache_;
  Owner& owner_;
  bool has_log_ = false;
  Vector<Extent> layout_;
  JournalSuperblock log_;
  Vector<std::byte> log_superblock_;
  bool barriers_ = true;
  uint32_t commit_interval_seconds_ = 5;
  uint32_t maximum_buffers_ = 2048;  // of a transaction
  std::atomic<bool> aborted_{false};
  std::atomic<uint64_t> places_written_{1};

  Mutex commit_mutex_{LockRank::DiskFilesystem};
  uint32_t head_ = 0, tail_ = 0;  // of the log; under commit_mutex_
  uint32_t roomy_piece_ = UINT32_MAX;  // the piece of the log that make_room() looked at last; under commit_mutex_

  Mutex mutex_{LockRank::DiskFilesystem};
  WaitQueue changed_;
  bool is_still_ GUARDED_BY(mutex_) = false;  // a commit wants or has stillness
  uint32_t handles_ GUARDED_BY(mutex_) = 0;
  uint32_t reserved_credits_ GUARDED_BY(mutex_) = 0;
  // The running transaction.
  uint32_t running_ GUARDED_BY(mutex_) = 1;
  BufferList buffers_ GUARDED_BY(mutex_);
  uint32_t buffer_count_ GUARDED_BY(mutex_) = 0;
  Vector<uint64_t> revoked_ GUARDED_BY(mutex_);
  Vector<FreedRun> freed_ GUARDED_BY(mutex_);
  int64_t started_seconds_ GUARDED_BY(mutex_) = 0;
  uint32_t committed_ GUARDED_BY(mutex_) = 0;
  List<Buffer, BufferCheckpointTag> awaiting_home_ GUARDED_BY(mutex_);
};

}  // namespace umk::ext4

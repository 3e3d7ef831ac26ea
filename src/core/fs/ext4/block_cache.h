// BlockCache: the metadata blocks of a mounted filesystem, by number.
//
// A Buffer is read when it is first asked for, checked once by who knows what it should be, and then stays as long as somebody uses it, it is dirty, or
// there is room. Blocks that will be wanted with another are read with it (Around) and checked when they are asked for. What is dirty belongs to the
// journal (journal.h), which holds a reference until it is written to its place.
//
// Who changes a buffer holds a handle of the journal and the lock of what the block belongs to (a directory's inode, a file's block map, the allocator).
// Checksums are not kept up to date meanwhile: the journal has every buffer sealed when it commits.
//
// Locks: `mutex_` (LockRank::DiskFilesystem) guards the tree; each buffer's `load_mutex` is held while it is read.
#pragma once

#include "core/base/bytes.h"
#include "core/base/list.h"
#include "core/base/make.h"
#include "core/kernel/block/block_device.h"
#include "core/sync/mutex.h"

namespace umk::ext4 {

/// What a block is, which decides how it is checked and sealed.
enum class BufferKind : uint8_t { Plain, Superblock, Descriptors, BlockBitmap, InodeBitmap, InodeTable, Extents, DirectoryLeaf, HtreeRoot, HtreeInner, Attributes, Orphans };

struct BufferTreeTag;
struct BufferAgeTag;
struct BufferTransactionTag;
struct BufferCheckpointTag;

class Buffer final : public RefCounted,
                     public TreeHook<BufferTreeTag>,
                     public ListHook<BufferAgeTag>,
                     public ListHook<BufferTransactionTag>,
                     public ListHook<BufferCheckpointTag> {
 public:
  Buffer(uint64_t block, std::unique_ptr<std::byte[]> memory, uint32_t size) : block_(block), memory_(std::move(memory)), size_(size) {}

  uint64_t block() const { return block_; }
  bool is_loaded() const { return is_loaded_.load(std::memory_order_acquire); }
  Bytes bytes() { return {memory_.get(), size_}; }

  BufferKind kind = BufferKind::Plain;
  /// Group number of a bitmap; where checksums start for what belongs to an inode.
  uint32_t context = 0;

  // Of the journal, under its lock.
  bool in_transaction = false;  // changed by the running transaction
  bool awaits_home = false;     // committed, and not yet written to its place
  bool is_forgotten = false;    // freed: must not be written any more

 private:
  friend class BlockCache;
  const uint64_t block_;
  std::unique_ptr<std::byte[]> memory_;
  const uint32_t size_;
  Mutex load_mutex_{LockRank::DiskFilesystem};
  std::atomic<bool> is_loaded_{false};
  std::atomic<bool> is_loaded_unchecked_{false};  // as it came from the medium
  std::atomic<BufferKind> checked_as_{BufferKind::Plain};
};

/// Blocks in a row that will be wanted with another; none.
struct Around {
  uint64_t first = 0;
  uint32_t count = 0;
};

class BlockCache {
 public:
  /// Checks what was read: EUCLEAN. `is_fresh`: it comes from the medium, so its checksum must be right; that of a block in use may be out of date.
  class Checker {
   public:
    virtual Result<void> check(Buffer& buffer, BufferKind kind, uint32_t context, bool is_fresh) = 0;
    /// What may be read with a block that is not here: metadata of one owner, so that none of it becomes something else meanwhile. No lock is held.
    virtual Around around(BufferKind kind, uint32_t context) = 0;

   protected:
    ~Checker() = default;
  };

  /// Keeps about `bytes` of blocks that nobody holds.
  BlockCache(block::BlockDevice& device, uint32_t block_size, uint64_t block_count, uint64_t bytes, Checker& checker)
      : device_(device), block_size_(block_size), block_count_(block_count), limit_(bytes / block_size), checker_(checker) {}
  ~BlockCache();
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  uint32_t block_size() const { return block_size_; }
  block::BlockDevice& device() const { return device_; }

  /// The block, which is a `kind`; read and checked when it is not here, and then with some of what is `around` it or what the checker names.
  /// EIO, ENOMEM, EUCLEAN.
  Result<RefPtr<Buffer>> read(uint64_t block, BufferKind kind, uint32_t context = 0, Around around = {});
  static constexpr uint32_t kMostAround = 32;
  /// A block that was just allocated: zeroes.
  Result<RefPtr<Buffer>> make(uint64_t block, BufferKind kind, uint32_t context = 0);
  /// The block if it is here.
  RefPtr<Buffer> find(uint64_t block);
  /// The block is not metadata any more.
  void drop(uint64_t block);
  /// Forgets everything that nobody holds: the device was changed behind the cache (recovery).
  void drop_all();
  void set_block_count(uint64_t count) { block_count_.store(count, std::memory_order_relaxed); }

 private:
  struct BlockOf {
    using type = uint64_t;
    type operator()(const Buffer& buffer) const { return buffer.block(); }
  };

  Result<RefPtr<Buffer>> get(uint64_t block);
  void read_around(uint64_t block, Around around);
  void shrink_locked() REQUIRES(mutex_);

  block::BlockDevice& device_;
  const uint32_t block_size_;
  std::atomic<uint64_t> block_count_;
  const size_t limit_;
  Checker& checker_;
  Mutex mutex_{LockRank::DiskFilesystem};
  Tree<Buffer, BlockOf, BufferTreeTag> buffers_ GUARDED_BY(mutex_);
  List<Buffer, BufferAgeTag> by_age_ GUARDED_BY(mutex_);  // the longest unused first
  size_t count_ GUARDED_BY(mutex_) = 0;
};

}  // namespace umk::ext4

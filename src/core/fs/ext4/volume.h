// Volume: a mounted ext2, ext3 or ext4 filesystem.
//
// Life: `mount` reads and checks the superblock and all group descriptors, replays the journal, and for writing frees what orphans hold; the VFS keeps it
// while it is mounted; `unmounted` writes everything to its place and leaves a clean filesystem.
//
// Nodes (node.h) are the inodes in use. The table here finds them by number and holds no reference; one whose last reference went is written back before
// its number can be had again.
//
// Allocation (block_allocation.cpp, inode_allocation.cpp): bitmaps and descriptors are changed under `allocation_mutex_`. Counters of the superblock live in
// memory and are put into it by each commit. Data blocks that were promised (delayed allocation) count as taken.
//
// Locks, all LockRank::DiskFilesystem, in this order: an inode's mutex (VFS), the journal's handle, a node's map mutex, allocation_mutex_, the caches.
#pragma once

#include "core/fs/ext4/block_cache.h"
#include "core/fs/ext4/journal.h"
#include "core/fs/ext4/mount_options.h"
#include "core/kernel/mm/page_cache.h"
#include "core/kernel/vfs/superblock.h"
#include "core/lib/ext4_format/group_descriptor.h"
#include "core/lib/ext4_format/superblock.h"

namespace umk::ext4 {

class Node;

/// A table that is replaced as a whole while others read it without a lock. What they may still be reading stays as long as the object: only growing replaces
/// tables, so that there are few.
template <typename T>
class Published {
 public:
  const T& operator*() const { return *current_.load(std::memory_order_acquire); }
  const T* operator->() const { return current_.load(std::memory_order_acquire); }
  /// ENOMEM: the old one stays.
  Result<void> publish(T table) {
    std::unique_ptr<T> fresh = TRY(make_unique<T>(std::move(table)));
    const T* next = fresh.get();
    TRY(versions_.push_back(std::move(fresh)));
    current_.store(next, std::memory_order_release);
    return {};
  }
  /// Nobody reads any of them.
  void clear() {
    current_.store(&empty_, std::memory_order_release);
    versions_.clear();
  }

 private:
  const T empty_{};
  std::atomic<const T*> current_{&empty_};
  Vector<std::unique_ptr<T>> versions_;
};

class Volume final : public vfs::Superblock, private BlockCache::Checker, private Journal::Owner, private mm::WriteBackGroup, private block::MountedUser {
 public:
  /// EINVAL for what is no ext4 filesystem or one with unknown features (their names go to the log); EUCLEAN, EIO, EROFS, ENOMEM.
  static Result<RefPtr<Volume>> mount(std::string_view type_name, RefPtr<block::BlockDevice> device, mm::PageCache& page_cache, std::string_view options,
                                      bool read_only);
  ~Volume() override;

  // vfs::Superblock
  RefPtr<vfs::Inode> root() override;
  Result<vfs::FilesystemStatistics> statistics() override;
  Result<void> sync() override;
  Result<void> remount(std::string_view options, bool read_only) override;
  void unmounted() override;
  void show_options(TextSink& sink) override;
  mm::ErrorSequence* write_errors() override { return &errors; }

  const Geometry& geometry() const { return geometry_; }
  const MountOptions& options() const { return options_; }
  BlockCache& cache() { return cache_; }
  Journal& journal() { return journal_; }
  block::BlockDevice& device() const { return *device_; }
  mm::PageCache& page_cache() const { return page_cache_; }
  mm::WriteBackGroup& write_back_group() { return *this; }
  /// Starts a change: EROFS where nothing may be changed.
  Result<Journal::Handle> begin(uint32_t credits, Journal::WhenBusy when_busy = Journal::WhenBusy::Wait);
  /// data=ordered: a commit finds the data on the medium that it leads to.
  bool orders_data() const { return options_.data_mode != DataMode::WriteBack; }

  /// The inode with this number, which a directory named: EUCLEAN when there cannot be such a one. ESTALE: it is free.
  Result<RefPtr<Node>> node(uint32_t number);
  /// Enters a new node.
  void enter_node(Node& node);
  /// The node's last reference is gone; afterwards its number can be had again.
  void forget_node(Node& node);
  /// What was written, and all changes up to this transaction (0: none), are durable afterwards: fsync.
  Result<void> sync_node(uint32_t transaction);
  /// Makes what is left of a node that nobody uses any more: frees it when it has no links.
  void retire(Node& node);

  // --- blocks
  struct Run {
    uint64_t block;
    uint32_t count;
  };
  /// Up to `wanted` blocks in a row, near `goal`. ENOSPC.
  Result<Run> allocate_blocks(Journal::Handle& handle, uint64_t goal, uint32_t wanted);
  /// Frees blocks; what was metadata is revoked. EUCLEAN when they were free or are not for files.
  Result<void> free_blocks(Journal::Handle& handle, uint64_t block, uint64_t count, bool is_metadata);
  /// Whether blocks may belong to a file: inside of the filesystem, and no bitmap, table or descriptor.
  bool may_be_file_blocks(uint64_t block, uint64_t count) const;
  /// How many of `wanted` blocks the current task may have: the reserve is for the superuser. 0: none. What leads to data that was promised is not asked.
  uint64_t allowance(uint64_t wanted) const;
  /// ENOSPC when that is less than all.
  Result<void> check_allowance(uint64_t wanted) const {
    if (allowance(wanted) < wanted) return error(ENOSPC);
    return {};
  }
  /// Promises blocks for later. ENOSPC.
  Result<void> promise_blocks(uint64_t count);
  void drop_promise(uint64_t count) { promised_blocks_.fetch_sub(static_cast<int64_t>(count), std::memory_order_relaxed); }
  uint64_t goal_for(uint32_t inode) const;

  // --- inodes
  Result<uint32_t> allocate_inode(Journal::Handle& handle, uint32_t parent, bool is_directory);
  Result<void> free_inode(Journal::Handle& handle, uint32_t number, bool is_directory);
  struct InodePlace {
    RefPtr<Buffer> buffer;
    uint32_t offset;
  };
  Result<InodePlace> inode_place(uint32_t number);
  uint32_t next_generation() { return generation_.fetch_add(0x9e3779b9, std::memory_order_relaxed); }
  /// Whether the inode is marked as in use.
  Result<bool> is_inode_used(uint32_t number);

  // --- orphans (orphans.cpp): inodes to be freed or shortened when a crash comes in between
  Result<void> add_orphan(Journal::Handle& handle, Node& node);
  Result<void> remove_orphan(Journal::Handle& handle, Node& node);

  /// The filesystem is damaged: says so, and does what errors= asks for. Returns the error for the caller: EUCLEAN.
  Error damaged(std::string_view what, uint32_t inode = 0, uint64_t block = 0, const char* function = __builtin_FUNCTION(), int line = __builtin_LINE());
  /// A failure of an update that was half made, which cannot be undone: gives the journal up unless it is one that changes nothing.
  Error failed_midway(Error failure);

  /// Notes that a file of more than 2 GiB, a directory with too many links, and the like exist.
  void require_feature(Journal::Handle& handle, FeatureSet set, uint32_t bit);

  // --- growing while mounted (grow.cpp). EPERM when errors were found, EBUSY when the filesystem is being grown already, EOPNOTSUPP, EROFS.
  /// Makes the filesystem reach over `blocks`, or nearly so when a last group would have no room for its own metadata. EINVAL: it would shrink, or is too
  /// large; ENOSPC: the device ends before.
  Result<void> grow(uint64_t blocks);
  /// The same within the last group.
  Result<void> grow_last_group(uint64_t blocks);
  struct NewGroup {
    uint32_t number;
    uint64_t block_bitmap, inode_bitmap, inode_table;
    uint32_t blocks, reserved_blocks;
  };
  /// Adds a group behind the last one, with its metadata where the caller wants it. EINVAL when that is nowhere it could be.
  Result<void> add_group(const NewGroup& group);

  /// FS_IOC_GETFSLABEL, FS_IOC_SETFSLABEL.
  std::array<char, kLabelSize> label();
  Result<void> set_label(std::string_view text);

  Result<uint64_t> trim(uint64_t first_byte, uint64_t bytes, uint64_t minimum_bytes);

  Volume(std::string_view type_name, RefPtr<block::BlockDevice> device, mm::PageCache& page_cache, const Geometry& geometry, const MountOptions& options);

 private:
  struct Group {
    /// Blocks that were freed by a transaction which is not committed: free in the bitmap, and not to be used yet.
    Vector<std::byte> pending;
    uint32_t pending_count = 0;
    /// No run of free blocks in the group is longer.
    uint32_t longest_run = UINT32_MAX;
  };
  struct SystemRange {
    uint64_t first, end;
  };

  // BlockCache::Checker, Journal::Owner
  Result<void> check(Buffer& buffer, BufferKind kind, uint32_t context, bool is_fresh) override;
  Around around(BufferKind kind, uint32_t context) override;
  void before_commit(Journal::Handle& handle) override;
  void on_begun(uint32_t seconds) override;
  void seal(Buffer& buffer) override;
  void on_committed(std::span<const FreedRun> freed) override;
  void on_abort(int error_code) override;
  // mm::WriteBackGroup: a transaction has become old.
  void write_own() override;

  // block::MountedUser
  bool try_add_user() override { return try_add_reference(); }
  void drop_user() override { drop_reference(); }
  uint64_t bring_up_to_date() override;
  void device_changed(uint64_t offset, uint64_t bytes) override;

  // volume.cpp, mount.cpp
  Result<void> open_journal(bool read_only);
  Result<void> reload(bool read_only);
  /// Before a replay only the group is looked at that the journal's inode lies in: of the others the log may have newer descriptors.
  enum class Replay { ToCome, Done };
  Result<void> load_groups(Replay replay);
  /// Of the groups there are and of `fresh` ones behind them; `whole` is the geometry with these.
  Result<void> collect_system_ranges(const Geometry& whole, std::span<const NewGroup> fresh);
  Result<void> start_writing();
  void stop_writing();
  Result<void> store_all_nodes();
  void note_errors();
  void mark_on_disk(uint32_t inode, uint64_t block, const char* function, int line);
  bool has_new_error();
  Bytes superblock_bytes() { return superblock_->bytes().subspan(geometry_.block_size == 1024 ? 0 : kSuperblockOffset, kSuperblockSize); }
  GroupDescriptor descriptor(uint32_t group);
  Buffer& descriptor_buffer(uint32_t group) { return *(*descriptors_)[group / geometry_.descriptors_per_block()]; }
  void modify_descriptor(Journal::Handle& handle, uint32_t group) {
    handle.modify(descriptor_buffer(group), BufferKind::Descriptors, group / geometry_.descriptors_per_block());
  }

  // grow.cpp
  template <typename Work>
  Result<void> grow_alone(Work work);
  Geometry grown_to(uint64_t blocks) const;
  Result<void> check_new_size(uint64_t blocks) const;
  Result<void> extend_last_group(uint64_t end);
  Result<void> enter_groups(const Geometry& whole, std::span<const NewGroup> fresh);
  Result<void> enter_group(const NewGroup& group);
  struct ResizeInode;
  Result<ResizeInode> load_resize_inode(Journal::Handle& handle);
  Result<RefPtr<Buffer>> use_reserved_block(Journal::Handle& handle, ResizeInode& inode, uint32_t index);
  Result<void> reserve_copies(Journal::Handle& handle, ResizeInode& inode, uint32_t group, uint32_t first, uint32_t count);
  Result<void> use_meta_groups();
  void publish_size_locked(const Geometry& whole) REQUIRES(allocation_mutex_);
  void write_backups(uint32_t first_index);

  // block_allocation.cpp
  bool may_use_reserve() const;
  Result<RefPtr<Buffer>> block_bitmap(uint32_t group);
  Result<RefPtr<Buffer>> usable_block_bitmap(Journal::Handle& handle, uint32_t group);
  Result<std::optional<Run>> take_from_group(Journal::Handle& handle, uint32_t group, uint32_t goal_bit, uint32_t wanted, bool take_less)
      REQUIRES(allocation_mutex_);
  // inode_allocation.cpp
  Result<RefPtr<Buffer>> usable_inode_bitmap(Journal::Handle& handle, uint32_t group);
  std::optional<uint32_t> choose_group(uint32_t parent, bool is_directory);
  // orphans.cpp
  Result<void> process_orphans();
  Result<void> process_orphan(uint32_t number);

  const RefPtr<block::BlockDevice> device_;
  mm::PageCache& page_cache_;
  Geometry geometry_;  // grows under allocation_mutex_; others may see numbers of before
  MountOptions options_;
  BlockCache cache_;
  Journal journal_;
  block::BlockDevice::Claim claim_;
  RefPtr<Buffer> superblock_;
  Published<Vector<RefPtr<Buffer>>> descriptors_;
  Published<Vector<SystemRange>> system_ranges_;  // sorted
  std::atomic<bool> is_growing_{false};
  bool is_writing_ = false;            // between start_writing and stop_writing
  std::atomic<bool> is_marked_{false};  // the superblock on the disk tells of damage
  /// Damage that was found and is to be told to e2fsck.
  struct NotedError {
    bool is_new = false;
    uint32_t inode = 0;
    uint64_t block = 0;
    const char* function = nullptr;
    int line = 0;
  };
  Mutex error_mutex_{LockRank::DiskFilesystem};
  NotedError noted_error_ GUARDED_BY(error_mutex_);
  std::atomic<uint32_t> generation_{1};

  Mutex allocation_mutex_{LockRank::DiskFilesystem};
  Vector<Group> groups_ GUARDED_BY(allocation_mutex_);
  std::atomic<int64_t> free_blocks_{0}, promised_blocks_{0}, free_inodes_{0};

  Mutex nodes_mutex_{LockRank::DiskFilesystem};
  WaitQueue node_gone_;
  Vector<Node*> node_buckets_ GUARDED_BY(nodes_mutex_);

  Mutex orphans_mutex_{LockRank::DiskFilesystem};
  Vector<Node*> orphans_ GUARDED_BY(orphans_mutex_);  // of the list in the superblock, the oldest first
  uint32_t orphan_count_ GUARDED_BY(orphans_mutex_) = 0;
  Vector<uint64_t> orphan_blocks_;                    // of the orphan file
  uint32_t orphan_seed_ = 0;
};

/// The types ext4, ext3 and ext2: one driver under three names, as in Linux.
class Type final : public vfs::FilesystemType {
 public:
  Type(std::string_view name, mm::PageCache& page_cache) : name_(name), page_cache_(page_cache) {}
  std::string_view name() const override { return name_; }
  bool needs_device() const override { return true; }
  Result<RefPtr<vfs::Superblock>> mount(const vfs::MountRequest& request) override;

 private:
  std::string_view name_;
  mm::PageCache& page_cache_;
};

}  // namespace umk::ext4

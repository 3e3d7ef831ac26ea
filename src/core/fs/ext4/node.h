// Node: an inode of an ext4 filesystem in memory. Derived: FileNode, DirectoryNode, LinkNode; devices, FIFOs and sockets are plain Nodes.
//
// `record_` holds the inode as it is on the disk or shall be. Mode, owner, times and links are the VFS's members (under the inode's mutex) and are put into
// the record when it is stored; the block map, the size on disk and the sector count change in the record itself, under `map_mutex_`.
//
// The VFS sets times without telling (reads, writes): such changes reach the disk with the next store, with sync, or when the last reference goes.
#pragma once

#include "core/fs/ext4/volume.h"
#include "core/lib/ext4_format/attributes.h"
#include "core/lib/ext4_format/inode_record.h"

namespace umk::ext4 {

/// Where a stretch of a file lies: nowhere (a hole) or in consecutive blocks.
struct Mapping {
  uint64_t physical = 0;
  uint32_t count = 0;
  bool initialised = true;  // false: allocated, and reads as zeroes

  bool is_hole() const { return physical == 0; }
};

class Node : public vfs::Inode {
 public:
  /// Reads the inode and makes a node of its type.
  static Result<RefPtr<Node>> load(Volume& volume, uint32_t number);
  /// What a new file is made of.
  struct Fresh {
    uint32_t number;
    uint32_t mode;
    UserId uid;
    GroupId gid;
    vfs::DeviceNumber device;
    uint32_t inherited_flags;
  };
  static Result<RefPtr<Node>> make(Volume& volume, const Fresh& fresh);

  Volume& volume() const { return static_cast<Volume&>(superblock_); }
  uint32_t inode_number() const { return static_cast<uint32_t>(number_); }
  uint32_t checksum_seed() const { return checksum_seed_; }
  uint32_t flags() const { return flags_.load(std::memory_order_relaxed); }
  bool uses_extents() const { return flags() & inode_flags::kExtents; }
  bool is_frozen() const { return flags() & (inode_flags::kImmutable | inode_flags::kAppend); }

  // vfs::Inode
  Result<vfs::Metadata> metadata() override;
  Result<void> change(const vfs::MetadataChange& wanted) override;
  Result<void> check_access(const Credentials& who, unsigned want) override;
  Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, uint32_t flags) override;
  Result<void> sync(bool data_only) override;
  Result<String> get_attribute(std::string_view name) override;
  Result<void> set_attribute(std::string_view name, std::string_view value, int flags) override;
  Result<void> remove_attribute(std::string_view name) override;
  Result<String> list_attributes() override;
  bool may_be_linked() const override { return is_linkable_.load(std::memory_order_relaxed); }
  void set_linkable(bool linkable) { is_linkable_.store(linkable, std::memory_order_relaxed); }

  /// FS_IOC_GETFLAGS, FS_IOC_SETFLAGS.
  uint32_t visible_flags() const { return flags() & inode_flags::kVisible; }
  Result<void> set_visible_flags(const Credentials& who, uint32_t wanted);

  // Storing. The handle has room for a buffer.
  /// With the inode's mutex held: everything.
  Result<void> store(Journal::Handle& handle) NO_THREAD_SAFETY_ANALYSIS;
  /// With the map mutex held: the record as it is, without newer times.
  enum class What { All, Times };
  Result<void> store_record_locked(Journal::Handle& handle, What changed = What::All) REQUIRES(map_mutex_);
  /// Stores what the VFS changed without telling: times. No mutex is held.
  Result<void> store_if_changed();
  /// The same for a node that nobody else can reach.
  Result<void> store_last_changes() NO_THREAD_SAFETY_ANALYSIS;
  /// With the inode's mutex held.
  void stamp(bool modified) NO_THREAD_SAFETY_ANALYSIS { stamp_change_locked(modified); }
  void set_links(uint32_t links) { links_.store(links, std::memory_order_relaxed); }
  InodeRecord record() { return InodeRecord(Bytes(record_.data(), record_.size())); }

  // The block map (extent_map.cpp, indirect_map.cpp), under the map mutex.
  Mutex& map_mutex() UMK_ANNOTATE(lock_returned(map_mutex_)) { return map_mutex_; }
  /// What holds the file's block `logical`, and how many after it; at most `maximum`. Of a hole the count may be less than its length.
  Result<Mapping> map_locked(uint32_t logical, uint32_t maximum) REQUIRES(map_mutex_);
  /// Enters blocks where there is a hole.
  Result<void> insert_locked(Journal::Handle& handle, const Extent& extent) REQUIRES(map_mutex_);
  /// Blocks that were allocated and not initialised hold data from now on.
  Result<void> initialise_locked(Journal::Handle& handle, uint32_t logical, uint32_t count) REQUIRES(map_mutex_);
  /// Takes blocks of [first, end) out of the map, from the end on, and frees them: some of them. True when nothing is left to do.
  Result<bool> remove_some_locked(Journal::Handle& handle, uint32_t first, uint64_t end) REQUIRES(map_mutex_);
  /// Room that these need in a handle, with allocation.
  static constexpr uint32_t kMapCredits = 32;
  /// Frees [first, end) in as many transactions as it takes.
  Result<void> remove_blocks(uint32_t first, uint64_t end);
  /// Frees [first, end) and moves what lies behind to the front, in several transactions if there is much: true when all is done. `progress` is 0 at first.
  Result<bool> collapse_some_locked(Journal::Handle& handle, uint32_t first, uint64_t end, uint64_t& progress) REQUIRES(map_mutex_);
  /// Moves what lies at `first` and behind it back by `distance` blocks, in the same way. `progress` is UINT64_MAX at first.
  Result<bool> spread_some_locked(Journal::Handle& handle, uint32_t first, uint32_t distance, uint64_t& progress) REQUIRES(map_mutex_);
  /// Room for as much of either as one call does.
  static constexpr unsigned kShiftSteps = 8;
  static constexpr uint32_t kShiftCredits = kShiftSteps * kMapCredits;
  /// Where the last extent ends.
  Result<uint64_t> end_of_blocks_locked() REQUIRES(map_mutex_);
  /// A good place for the block `logical`.
  uint64_t goal_locked(uint32_t logical) REQUIRES(map_mutex_);
  void add_sectors_locked(int64_t blocks) REQUIRES(map_mutex_);
  uint64_t size_on_disk_locked() REQUIRES(map_mutex_) { return record().size(); }

  /// Before a node without links goes: drops what is cached.
  virtual void discard_data() {}
  /// Before a node with links goes.
  virtual void sync_data() {}
  /// Whether the record holds a block map at all.
  virtual bool has_block_map() { return is_regular() || is_directory(); }
  /// Whether blocks of the file are metadata, which is revoked when they are freed.
  bool has_metadata_blocks() const { return !is_regular() || journals_data(); }
  /// The file's data goes through the journal: data=journal, chattr +j. Its blocks are buffers of the cache then until they are in their places.
  bool journals_data() const {
    return is_regular() && volume().journal().has_log() && (volume().options().data_mode == DataMode::Journal || (flags() & inode_flags::kJournalData));
  }
  /// Changes the flag for that, when nothing of the file is on its way.
  virtual Result<void> set_journaled(bool on);

  // Attributes with the mutex held (attributes.cpp).
  Result<void> store_attribute(Journal::Handle& handle, uint8_t index, std::string_view name, std::optional<std::string_view> value, int flags);
  /// Room that it needs.
  static constexpr uint32_t kAttributeCredits = 16;
  static constexpr size_t kAttributeNameLimit = 255;
  Result<void> free_attribute_block(Journal::Handle& handle);
  /// New files take the default ACL of their directory; changes `mode` as it says. Before the node has a name.
  Result<void> inherit_acl(Journal::Handle& handle, Node& directory);

  // Of the volume.
  Node* next_in_bucket = nullptr;
  bool is_entered = false;  // in the volume's table
  bool is_orphan = false;        // under Volume::orphans_mutex_
  int32_t orphan_slot = -1;      // in the orphan file
  /// The transaction that stored the inode last, for fsync; and the last one that stored more than times, for fdatasync.
  std::atomic<uint32_t> last_transaction{0}, last_data_transaction{0};

 protected:
  ExtentNode root_node() { return ExtentNode(record().block_map()); }
  Node(Volume& volume, uint32_t number, uint32_t mode, UserId uid, GroupId gid, vfs::DeviceNumber device, Vector<std::byte> record);
  ~Node() override;
  void last_reference_dropped() override;
  void take_over_record() NO_THREAD_SAFETY_ANALYSIS;
  bool differs_from_record() NO_THREAD_SAFETY_ANALYSIS;
  void stamp_record() NO_THREAD_SAFETY_ANALYSIS;

  mutable Mutex map_mutex_{LockRank::DiskFilesystem};
  Vector<std::byte> record_;
  std::atomic<uint32_t> flags_{0};
  uint32_t checksum_seed_ = 0;
  std::atomic<bool> is_linkable_{false};

 private:
  struct ExtentPath;
  static Result<RefPtr<Node>> construct(Volume& volume, uint32_t number, InodeRecord record, Vector<std::byte> bytes);

  // extent_map.cpp
  ExtentNode node_at(ExtentPath& path, uint32_t level);
  Result<void> find_extent(uint32_t logical, ExtentPath& path);
  Result<void> make_room(Journal::Handle& handle, uint32_t logical, uint32_t entries, ExtentPath& path) REQUIRES(map_mutex_);
  Result<void> grow_root(Journal::Handle& handle, ExtentPath& path) REQUIRES(map_mutex_);
  Result<void> split_node(Journal::Handle& handle, ExtentPath& path, uint32_t level, bool at_end) REQUIRES(map_mutex_);
  void modify_level(Journal::Handle& handle, ExtentPath& path, uint32_t level);
  void correct_keys(Journal::Handle& handle, ExtentPath& path);
  void merge_around(Journal::Handle& handle, ExtentPath& path, uint32_t i);
  Result<void> remove_empty(Journal::Handle& handle, ExtentPath& path) REQUIRES(map_mutex_);
  Result<uint64_t> shift_left_locked(Journal::Handle& handle, uint64_t at, uint32_t distance) REQUIRES(map_mutex_);
  Result<void> divide_extent_locked(Journal::Handle& handle, uint32_t logical) REQUIRES(map_mutex_);
  Result<Mapping> map_extent(uint32_t logical, uint32_t maximum);
  Result<void> insert_extent(Journal::Handle& handle, Extent extent) REQUIRES(map_mutex_);
  Result<bool> remove_extents(Journal::Handle& handle, uint32_t first, uint64_t end) REQUIRES(map_mutex_);
  // indirect_map.cpp
  Result<Mapping> map_indirect(uint32_t logical, uint32_t maximum);
  Result<void> insert_indirect(Journal::Handle& handle, const Extent& extent) REQUIRES(map_mutex_);
  Result<bool> remove_indirect(Journal::Handle& handle, uint32_t first, uint64_t end) REQUIRES(map_mutex_);
  struct IndirectPath;
  Result<bool> indirect_path(uint32_t logical, IndirectPath& path) const;

  // attributes.cpp
  Result<AttributeList> load_attributes();
  Result<RefPtr<Buffer>> attribute_block();
  Result<void> load_acl();
  Result<void> update_acl_for_mode(Journal::Handle& handle);
  Result<void> check_by_capability(const Credentials& who, unsigned want);

  std::atomic<bool> knows_acl_{false}, has_acl_{false};
  Mutex acl_mutex_{LockRank::None};
  String acl_ GUARDED_BY(acl_mutex_);
};

class LinkNode final : public Node {
 public:
  LinkNode(Volume& volume, uint32_t number, uint32_t mode, UserId uid, GroupId gid, vfs::DeviceNumber device, Vector<std::byte> record)
      : Node(volume, number, mode, uid, gid, device, std::move(record)) {}
  Result<String> read_link() override;
  bool has_block_map() override;
  /// Puts the target into the record, or into a block. With the map mutex free; the node is new.
  Result<void> set_target(Journal::Handle& handle, std::string_view target);
  static constexpr size_t kInlineLimit = InodeRecord::kBlockMapSize;
};

class PlainNode final : public Node {
 public:
  PlainNode(Volume& volume, uint32_t number, uint32_t mode, UserId uid, GroupId gid, vfs::DeviceNumber device, Vector<std::byte> record)
      : Node(volume, number, mode, uid, gid, device, std::move(record)) {}
};

}  // namespace umk::ext4

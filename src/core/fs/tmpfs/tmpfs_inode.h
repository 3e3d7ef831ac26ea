// The inodes of tmpfs: directories, regular files, symlinks, and nodes of devices, FIFOs and sockets.
#pragma once

#include "core/fs/tmpfs/tmpfs.h"
#include "core/kernel/mm/page_source.h"
#include "core/kernel/vfs/caller.h"
#include "core/kernel/vfs/inode.h"

namespace umk::fs {

struct TmpfsNameTag;
struct TmpfsCookieTag;

/// What all of them share: accounting, extended attributes, link counts.
class TmpfsInode : public vfs::Inode {
 public:
  TmpfsSuperblock& filesystem() const { return static_cast<TmpfsSuperblock&>(superblock_); }

  Result<String> get_attribute(std::string_view name) override;
  Result<void> set_attribute(std::string_view name, std::string_view value, int flags) override;
  Result<void> remove_attribute(std::string_view name) override;
  Result<String> list_attributes() override;

  void add_link() { links_.fetch_add(1, std::memory_order_relaxed); }
  void drop_link() { links_.fetch_sub(1, std::memory_order_relaxed); }
  void set_links(uint32_t links) { links_.store(links, std::memory_order_relaxed); }
  /// For an inode whose mutex the VFS holds already.
  void stamp_locked(bool modified) NO_THREAD_SAFETY_ANALYSIS { stamp_change_locked(modified); }

 protected:
  /// The inode was charged to the superblock by the caller; the destructor gives it back.
  TmpfsInode(TmpfsSuperblock& superblock, uint32_t mode, UserId uid, GroupId gid, vfs::DeviceNumber device = {});
  ~TmpfsInode() override;

 private:
  static constexpr size_t kMaximumAttributeBytes = 128 * 1024;  // names and values of one inode
  struct Attribute {
    String name, value;
  };
  size_t find_attribute(std::string_view name) const;
  Vector<Attribute> attributes_;  // guarded by mutex()
  size_t attribute_bytes_ = 0;
};

class TmpfsDirectory final : public TmpfsInode {
 public:
  TmpfsDirectory(TmpfsSuperblock& superblock, uint32_t mode, UserId uid, GroupId gid);

  Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
  Result<RefPtr<vfs::Inode>> create(const vfs::Caller& caller, std::string_view name, uint32_t mode) override;
  Result<RefPtr<vfs::Inode>> make_directory(const vfs::Caller& caller, std::string_view name, uint32_t mode) override;
  Result<RefPtr<vfs::Inode>> make_node(const vfs::Caller& caller, std::string_view name, uint32_t mode, vfs::DeviceNumber device) override;
  Result<RefPtr<vfs::Inode>> make_symlink(const vfs::Caller& caller, std::string_view name, std::string_view target) override;
  Result<RefPtr<vfs::Inode>> create_temporary(const vfs::Caller& caller, uint32_t mode, bool linkable) override;
  Result<void> link(std::string_view name, vfs::Inode& target) override;
  Result<void> unlink(std::string_view name, vfs::Inode& victim) override;
  Result<void> remove_directory(std::string_view name, vfs::Inode& victim) override;
  Result<void> rename(std::string_view name, vfs::Inode& moved, vfs::Inode& new_parent, std::string_view new_name, vfs::Inode* replaced, bool exchange) override;
  Result<uint64_t> list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) override;

  /// Adds an entry without a caller: devtmpfs. The directory is locked, or nobody else knows it.
  Result<void> insert(std::string_view name, RefPtr<TmpfsInode> inode);
  /// Takes out a device node that was inserted so, if the name still is that node's. The directory is locked.
  void withdraw(std::string_view name, vfs::FileType type, vfs::DeviceNumber device);
  /// Entries are inserted and withdrawn while others look: what the dentry cache remembers is checked. Before anybody knows the directory.
  void expect_changes() { changes_by_itself_ = true; }
  bool names_are_stable() const override { return !changes_by_itself_; }
  bool revalidate(std::string_view, vfs::Inode* child) override { return child && child->links() != 0; }
  bool is_empty() const { return by_name_.empty(); }
  /// Empties a whole tree without recursion, when its filesystem goes.
  static void tear_down(RefPtr<TmpfsDirectory> top);

 protected:
  ~TmpfsDirectory() override;

 private:
  /// Sizes as Linux shows them: each entry counts 20 bytes.
  static constexpr uint64_t kEntryBytes = 20;

  struct Entry : TreeHook<TmpfsNameTag>, TreeHook<TmpfsCookieTag> {
    std::string_view name;  // lies behind the object
    uint64_t cookie = 0;
    RefPtr<TmpfsInode> inode;

    static Result<Entry*> make(std::string_view name, RefPtr<TmpfsInode> inode);
    static void destroy(Entry* entry);
  };
  struct NameOf {
    using type = std::string_view;
    const std::string_view& operator()(const Entry& entry) const { return entry.name; }
  };
  struct CookieOf {
    using type = uint64_t;
    const uint64_t& operator()(const Entry& entry) const { return entry.cookie; }
  };

  Entry* find(std::string_view name);
  void add_entry(Entry& entry);
  /// Takes an entry out; the caller destroys it.
  void take_entry(Entry& entry);

  Tree<Entry, NameOf, TmpfsNameTag> by_name_;
  Tree<Entry, CookieOf, TmpfsCookieTag> by_cookie_;
  bool changes_by_itself_ = false;
  uint64_t next_cookie_ = 2;  // 0 and 1 are the positions of `.` and `..`
  RefPtr<TmpfsDirectory> tear_down_next_;
};

class TmpfsFile final : public TmpfsInode, public mm::PageSource {
 public:
  TmpfsFile(TmpfsSuperblock& superblock, uint32_t mode, UserId uid, GroupId gid);

  Result<vfs::Metadata> metadata() override;
  Result<void> change(const vfs::MetadataChange& wanted) override;
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append) override;
  Result<void> allocate(uint32_t fallocate_mode, uint64_t offset, uint64_t length) override;
  Result<uint64_t> seek_data_or_hole(uint64_t offset, bool hole) override;
  Result<uint32_t> seals() override { return seals_.load(std::memory_order_acquire); }
  Result<void> add_seals(uint32_t seals) override;
  mm::PageSource* page_source() override { return this; }
  bool may_be_linked() const override { return linkable_; }

  // mm::PageSource
  Kind source_kind() const override { return Kind::Store; }
  mm::PageStore* store() override { return &store_; }
  uint64_t mappable_bytes() const override { return size_bytes(); }
  Result<size_t> read_for_text(uint64_t offset, std::span<std::byte> into) override;
  void add_mapping_reference() override { add_reference(); }
  void drop_mapping_reference() override { drop_reference(); }
  void on_shared_write() override { touch_modify_and_change_time(); }

  void set_seals(uint32_t seals) { seals_.store(seals, std::memory_order_release); }
  void set_linkable(bool linkable) { linkable_ = linkable; }

 protected:
  ~TmpfsFile() override;

 private:
  Result<void> resize_locked(uint64_t size) REQUIRES(data_mutex_);
  Result<size_t> write_within_limit_locked(uint64_t offset, UserInBuffer& buffer) REQUIRES(data_mutex_);
  void account_locked() REQUIRES(data_mutex_);
  void contents_changed() {
    if (has_text_copies()) [[unlikely]] drop_text_copies();
  }

  mm::PageStore store_;
  Mutex data_mutex_{LockRank::FileData};
  uint64_t accounted_bytes_ GUARDED_BY(data_mutex_) = 0;
  std::atomic<uint32_t> seals_{vfs::seals::kSeal};
  std::atomic<bool> linkable_{false};
};

class TmpfsSymlink final : public TmpfsInode {
 public:
  TmpfsSymlink(TmpfsSuperblock& superblock, UserId uid, GroupId gid, String target);
  Result<String> read_link() override { return target_.clone(); }
  std::string_view link_in_memory() const override { return target_.view(); }

 private:
  String target_;
};

/// Devices, FIFOs and sockets: what they do is done elsewhere.
class TmpfsNode final : public TmpfsInode {
 public:
  TmpfsNode(TmpfsSuperblock& superblock, uint32_t mode, UserId uid, GroupId gid, vfs::DeviceNumber device)
      : TmpfsInode(superblock, mode, uid, gid, device) {}
};

/// A new inode of type T, charged to the filesystem: ENOSPC, ENOMEM.
template <typename T, typename... Arguments>
Result<RefPtr<T>> make_tmpfs_inode(TmpfsSuperblock& superblock, Arguments&&... arguments) {
  TRY(superblock.charge_inode());
  Result<RefPtr<T>> inode = make_ref<T>(superblock, std::forward<Arguments>(arguments)...);
  if (!inode.ok()) superblock.release_inode();
  return inode;
}

}  // namespace umk::fs

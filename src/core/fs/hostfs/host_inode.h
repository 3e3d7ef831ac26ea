// HostInode: a file of the host as the guest's VFS sees it.
//
// Life: made by the first lookup that finds the host file; hard links share one. It knows one name of itself and its parent, by which it opens the file again when
// the cache took its descriptor (descriptor.h); an open, mapped or unlinked file keeps it. The host may be changed by others at any time: attributes are asked for
// at each use, except right after a name was checked, which is what stat(2) and open(2) do; that a directory or a symlink still has its name is believed for a tenth
// of a second.
//
// Locks: `file_mutex_` (rank HostFile) guards descriptors, name and what is remembered of attributes; no two are held at once, and nothing is asked of the host
// under it. The inode's own mutex guards directory entries, as the VFS says.
#pragma once

#include "core/base/list.h"
#include "core/fs/hostfs/owner_record.h"
#include "core/host/file_calls.h"
#include "core/kernel/mm/page_source.h"
#include "core/kernel/vfs/open_file.h"
#include "core/kernel/vfs/superblock.h"

namespace umk {
struct KernelStackHead;
}

namespace umk::hostfs {

class HostSuperblock;
struct IdentityTag;

/// Which file of the host. The birth time tells a file from an earlier one whose number it got.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t number = 0;
  int64_t birth_seconds = 0;
  uint32_t birth_nanoseconds = 0;
  uint32_t type = 0;
  friend auto operator<=>(const FileIdentity&, const FileIdentity&) = default;
  static FileIdentity of(const host::FileStatus& status);
};

/// A component as the host's calls take it.
class HostName {
 public:
  explicit HostName(std::string_view name);
  const char* c_str() const { return text_; }

 private:
  char text_[256];
};

class HostInode final : public vfs::Inode, public TreeHook<IdentityTag>, public DescriptorHolder, private mm::PageSource {
 public:
  HostInode(HostSuperblock& superblock, const host::FileStatus& status, const OwnerRecord& record, unsigned filesystem, bool is_covered);

  const FileIdentity& identity() const { return identity_; }
  /// A descriptor with at least `access` (HostDescriptor::kRead, kWrite). ENXIO for what is no file or directory.
  Result<RefPtr<HostDescriptor>> descriptor(unsigned access = 0);
  void offer_descriptor(RefPtr<HostDescriptor> descriptor);
  /// For the cache: lets go of the descriptor unless it is needed.
  void give_descriptor_back();
  /// Remembers where the file was found.
  Result<void> set_place(HostInode* parent, std::string_view name);
  /// Path from the top of the tree.
  Result<String> path_from_top();

  /// Takes over what the host said; reads the owner record again when the file changed.
  Result<void> absorb(const host::FileStatus& status);
  /// As absorb, when the record is known.
  void absorb(const host::FileStatus& status, const OwnerRecord& record);

  // vfs::Inode
  Result<vfs::Metadata> metadata() override;
  Result<void> change(const vfs::MetadataChange& wanted) override;
  Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
  bool names_are_stable() const override { return false; }
  bool revalidate(std::string_view name, vfs::Inode* child) override;
  Result<uint64_t> list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) override;
  Result<RefPtr<vfs::Inode>> create(const vfs::Caller& caller, std::string_view name, uint32_t mode) override;
  Result<RefPtr<vfs::Inode>> make_directory(const vfs::Caller& caller, std::string_view name, uint32_t mode) override;
  Result<RefPtr<vfs::Inode>> make_node(const vfs::Caller& caller, std::string_view name, uint32_t mode, vfs::DeviceNumber device) override;
  Result<RefPtr<vfs::Inode>> make_symlink(const vfs::Caller& caller, std::string_view name, std::string_view target) override;
  Result<RefPtr<vfs::Inode>> create_temporary(const vfs::Caller& caller, uint32_t mode, bool linkable) override;
  bool may_be_linked() const override { return is_nameless_.load(std::memory_order_relaxed); }
  Result<void> link(std::string_view name, vfs::Inode& target) override;
  Result<void> unlink(std::string_view name, vfs::Inode& victim) override;
  Result<void> remove_directory(std::string_view name, vfs::Inode& victim) override;
  Result<void> rename(std::string_view name, vfs::Inode& moved, vfs::Inode& new_parent, std::string_view new_name, vfs::Inode* replaced, bool exchange) override;
  Result<String> read_link() override;
  std::string_view link_in_memory() const override;
  Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, uint32_t flags) override;
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append) override;
  Result<void> allocate(uint32_t fallocate_mode, uint64_t offset, uint64_t length) override;
  Result<void> sync(bool data_only) override;
  Result<uint64_t> seek_data_or_hole(uint64_t offset, bool hole) override;
  mm::PageSource* page_source() override;
  Result<String> get_attribute(std::string_view name) override;
  Result<void> set_attribute(std::string_view name, std::string_view value, int flags) override;
  Result<void> remove_attribute(std::string_view name) override;
  Result<String> list_attributes() override;

  // For open files (host_data.cpp).
  Result<size_t> read_from(const HostDescriptor& file, uint64_t offset, UserOutBuffer& buffer);
  Result<size_t> write_to(const HostDescriptor& file, uint64_t& offset, UserInBuffer& buffer, bool append);
  void note_opened(unsigned access);
  void note_closed(unsigned access);
  mm::PageSource* page_source_of(const RefPtr<HostDescriptor>& file);

 protected:
  ~HostInode() override;
  void last_reference_dropped() override;

 private:
  friend class HostSuperblock;

  // mm::PageSource
  Kind source_kind() const override { return Kind::HostFile; }
  int host_fd() const override;
  uint64_t mappable_bytes() const override;
  Result<size_t> read_for_text(uint64_t offset, std::span<std::byte> into) override;
  void add_mapping_reference() override;
  void drop_mapping_reference() override;

  HostSuperblock& host() const;
  RefPtr<HostDescriptor> known_descriptor(unsigned access);
  Result<RefPtr<HostDescriptor>> open_by_name(unsigned access);
  Result<RefPtr<HostDescriptor>> open_again(const HostDescriptor& known, unsigned access);
  Result<RefPtr<HostDescriptor>> open_as(unsigned access);
  Result<host::FileStatus> current_status();
  bool contents_differ(const host::FileStatus& status);
  /// Before each change: EACCES for what only stands for a directory of the host; what was asked before it does not stand any more.
  Result<void> check_changeable();
  bool is_hidden(std::string_view name) const;
  void keep_descriptor();
  void drop_write_access_if_unused();
  void release_mapping_locked() REQUIRES(file_mutex_);
  void mark_fresh();
  bool take_fresh();
  /// We changed the file: what was asked before does not stand.
  void forget_fresh() { fresh_for_.store(nullptr, std::memory_order_relaxed); }

  struct NewFile {
    vfs::FileType type;
    UserId uid;
    GroupId gid;
    uint32_t permissions;
    vfs::DeviceNumber device;
  };
  Result<RefPtr<vfs::Inode>> adopt_new(RefPtr<HostDescriptor> file, std::string_view name, const NewFile& wanted);
  Result<host::FileStatus> record_new(HostDescriptor& file, std::string_view name, const NewFile& wanted);
  /// Makes the file show `uid`, `gid` and `permissions`: through the host's mode where that can say it, else through the record. Returns the new record.
  Result<OwnerRecord> show_as(const HostDescriptor& file, const host::FileStatus& status, const OwnerRecord& old, UserId uid, GroupId gid, uint32_t permissions,
                              std::string_view path);
  Result<void> change_on_host(const vfs::MetadataChange& wanted, const host::FileStatus& status);
  Result<void> change_record(const vfs::MetadataChange& wanted, const host::FileStatus& status);
  Result<vfs::FileType> type_of_entry(std::string_view name, uint8_t host_type);

  const FileIdentity identity_;
  const vfs::FileType host_type_;
  const unsigned filesystem_;
  const bool is_covered_;

  mutable Mutex file_mutex_{LockRank::HostFile};
  /// Not for writing: an open writer of ours would forbid the host to run the file (ETXTBSY), so that is kept apart and goes with the last guest's.
  RefPtr<HostDescriptor> descriptor_ GUARDED_BY(file_mutex_);
  RefPtr<HostDescriptor> writer_ GUARDED_BY(file_mutex_);
  RefPtr<HostDescriptor> mapped_[2] GUARDED_BY(file_mutex_);  // for reading, for writing
  uint32_t mappings_ GUARDED_BY(file_mutex_) = 0;
  uint32_t open_files_ GUARDED_BY(file_mutex_) = 0;
  uint32_t open_writers_ GUARDED_BY(file_mutex_) = 0;
  bool is_kept_ GUARDED_BY(file_mutex_) = false;  // unlinked: no name to find it by
  RefPtr<HostInode> parent_ GUARDED_BY(file_mutex_);
  String name_ GUARDED_BY(file_mutex_);
  host::FileStatus status_ GUARDED_BY(file_mutex_){};
  OwnerRecord record_ GUARDED_BY(file_mutex_);
  bool record_is_settled_ GUARDED_BY(file_mutex_) = false;
  String link_text_ GUARDED_BY(file_mutex_);  // never changes once read
  std::atomic<bool> link_is_read_{false};
  std::atomic<bool> is_nameless_{false};

  /// Right after a name was checked: by whom, and when.
  std::atomic<const KernelStackHead*> fresh_for_{nullptr};
  std::atomic<uint64_t> fresh_at_ns_{0};
  std::atomic<uint64_t> name_checked_ns_{0};

  // Directories, under mutex().
  uint64_t list_position_ = UINT64_MAX;
  const HostDescriptor* listed_ = nullptr;

  Mutex append_mutex_{LockRank::FileData};
};

struct KeyOfInode {
  using type = FileIdentity;
  const FileIdentity& operator()(const HostInode& inode) const { return inode.identity(); }
};

/// An open regular file or directory.
class HostFile final : public vfs::InodeFile {
 public:
  HostFile(RefPtr<HostInode> inode, RefPtr<HostDescriptor> descriptor, unsigned access, uint32_t flags);
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append) override;
  Result<uint64_t> seek(int64_t offset, int whence) override;
  Result<uint64_t> readable_bytes() override;
  Result<void> sync(bool data_only) override;
  mm::PageSource* page_source() override;

 protected:
  ~HostFile() override;

 private:
  HostInode& host_inode() { return static_cast<HostInode&>(inode()); }
  Result<void> refresh_size();

  RefPtr<HostDescriptor> descriptor_;
  unsigned access_;
};

}  // namespace umk::hostfs

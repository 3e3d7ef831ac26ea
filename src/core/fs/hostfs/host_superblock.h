// HostSuperblock: one mounted directory of the host: its inodes, found by the host's identity of the file, and how owners are shown.
//
// Lock: `table_mutex_` guards the tree of inodes, which holds no references; an inode takes itself out when its last reference goes.
#pragma once

#include "core/fs/hostfs/host_inode.h"
#include "core/fs/hostfs/owner_file.h"

namespace umk::hostfs {

enum class Owners { Map, Host };

class HostSuperblock final : public vfs::Superblock {
 public:
  static Result<RefPtr<HostSuperblock>> create(DescriptorCache& descriptors, vfs::DeviceNumber device, RefPtr<HostDescriptor> top, String directory, Owners owners,
                                               bool read_only);

  RefPtr<vfs::Inode> root() override { return root_; }
  Result<vfs::FilesystemStatistics> statistics() override;
  Result<void> sync() override;
  Result<void> remount(std::string_view options, bool read_only) override;
  void show_options(TextSink& sink) override;

  DescriptorCache& descriptors() { return descriptors_; }
  OwnerFile& owner_file() { return owner_file_; }
  bool maps_owners() const { return owners_ == Owners::Map; }
  /// Owner and group as a guest sees them where no record says otherwise: the user of umk is the guest's superuser.
  UserId shown_user(uint32_t host_uid) const { return maps_owners() && host_uid == host_user_ ? 0 : host_uid; }
  GroupId shown_group(uint32_t host_gid) const { return maps_owners() && host_gid == host_group_ ? 0 : host_gid; }
  /// True when the host lets us change the file's permissions.
  bool is_host_owner(uint32_t host_uid) const { return host_user_ == 0 || host_uid == host_user_; }

  /// The one inode of a host file, `file` being a descriptor of it and `status` what the host said of that. It was found as `name` in `parent`.
  Result<RefPtr<HostInode>> inode_of(RefPtr<HostDescriptor> file, const host::FileStatus& status, HostInode* parent, std::string_view name);
  /// The number shown for a file of the host filesystem that `sibling` is on.
  static vfs::InodeNumber number_on(unsigned filesystem, uint64_t host_number) { return host_number ^ static_cast<uint64_t>(filesystem) << 48; }
  void forget(HostInode& inode);
  /// What is recorded of a file that was found as `name` in `parent`.
  Result<OwnerRecord> record_of(const HostDescriptor& file, const host::FileStatus& status, HostInode* parent, std::string_view name);
  bool is_top(const HostInode& inode) const { return root_ == &inode; }

  HostSuperblock(DescriptorCache& descriptors, vfs::DeviceNumber device, RefPtr<HostDescriptor> top, String directory, Owners owners);

 protected:
  ~HostSuperblock() override;

 private:
  struct KnownFilesystem {
    uint64_t device;
    bool is_ordinary;
  };
  /// Which of the host's filesystems a file is on, and whether files of it may be opened.
  Result<unsigned> filesystem_of(const HostDescriptor& file, uint64_t device, bool* is_ordinary);
  RefPtr<HostInode> find_locked(const FileIdentity& identity) REQUIRES(table_mutex_);

  DescriptorCache& descriptors_;
  const RefPtr<HostDescriptor> top_;
  const String directory_;
  const Owners owners_;
  const uint32_t host_user_;
  const uint32_t host_group_;
  OwnerFile owner_file_;
  Mutex table_mutex_{LockRank::HostFile};
  Tree<HostInode, KeyOfInode, IdentityTag> inodes_ GUARDED_BY(table_mutex_);
  Vector<KnownFilesystem> filesystems_ GUARDED_BY(table_mutex_);
  RefPtr<HostInode> root_;
};

}  // namespace umk::hostfs

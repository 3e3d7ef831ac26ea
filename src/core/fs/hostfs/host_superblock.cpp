#include "core/fs/hostfs/host_superblock.h"

#include "core/host/calls.h"
#include "core/kernel/vfs/caller.h"
#include "core/fs/hostfs/hostfs.h"

namespace umk::hostfs {

namespace {

// Magic numbers of statfs(2): filesystems that hold files and nothing that acts on the host when it is read or written.
constexpr uint32_t kOrdinaryFilesystems[] = {
    0x0000ef53,  // ext2, ext3, ext4
    0x58465342,  // xfs
    0x9123683e,  // btrfs
    0xca451a4e,  // bcachefs
    0xf2f52010,  // f2fs
    0x2fc12fc1,  // zfs
    0x01021994,  // tmpfs, devtmpfs
    0x858458f6,  // ramfs
    0x794c7630,  // overlayfs
    0x61756673,  // aufs
    0x6969,      // nfs
    0xff534d42,  // cifs
    0xfe534d42,  // smb3
    0x01021997,  // 9p
    0x65735546,  // fuse, virtiofs
    0x00c36400,  // ceph
    0x5346414f,  // afs
    0x01161970,  // gfs2
    0x7461636f,  // ocfs2
    0x4d44,      // vfat
    0x2011bab0,  // exfat
    0x7366746e,  // ntfs3
    0x5346544e,  // ntfs
    0x9660,      // iso9660
    0x15013346,  // udf
    0x73717368,  // squashfs
    0xe0f5e1e2,  // erofs
    0x52654973,  // reiserfs
    0x3153464a,  // jfs
    0x3434,      // nilfs2
    0x24051905,  // ubifs
    0xf15f,      // ecryptfs
    0x786f4256,  // vboxsf
};

bool is_ordinary_type(int64_t magic) {
  for (uint32_t ordinary : kOrdinaryFilesystems)
    if (static_cast<uint32_t>(magic) == ordinary) return true;
  return false;
}

constexpr int kOpenTop = host::file_flags::kPath | host::file_flags::kDirectory | host::file_flags::kCloseOnExec;

struct Options {
  std::string_view directory = "/";
  Owners owners = Owners::Map;
};

Result<Options> parse_options(std::string_view text) {
  Options options;
  while (!text.empty()) {
    const std::string_view option = split_first(text, ',');
    if (option.empty()) continue;
    if (option.front() == '/') {
      options.directory = option;
    } else if (option == "owners=map") {
      options.owners = Owners::Map;
    } else if (option == "owners=host") {
      options.owners = Owners::Host;
    } else {
      return error(EINVAL);
    }
  }
  return options;
}

}  // namespace

Type::Type() : descriptors_(0) {
  const uint64_t limit = host::descriptor_limit() / 4;
  descriptors_.set_limit(limit < 64 ? 64 : limit > (1 << 18) ? 1 << 18 : limit);
}

Result<void> Type::confine(std::string_view directory) {
  const String path = TRY(String::from(directory));
  top_ = TRY(HostDescriptor::adopt(descriptors_, TRY(host::openat(host::kWorkingDirectory, path.c_str(), kOpenTop, 0)), 0));
  return {};
}

Result<RefPtr<vfs::Superblock>> Type::mount(const vfs::MountRequest& request) {
  const Options options = TRY(parse_options(request.options));
  String directory = TRY(String::from(options.directory));
  const int fd = top_ ? TRY(host::open_resolved(top_->fd(), directory.c_str(), kOpenTop, host::resolve_flags::kInRoot | host::resolve_flags::kNoMagicLinks))
                      : TRY(host::openat(host::kWorkingDirectory, directory.c_str(), kOpenTop, 0));
  RefPtr<HostDescriptor> top = TRY(HostDescriptor::adopt(descriptors_, fd, 0));
  return RefPtr<vfs::Superblock>(
      TRY(HostSuperblock::create(descriptors_, request.anonymous_device, std::move(top), std::move(directory), options.owners, request.read_only)));
}

HostSuperblock::HostSuperblock(DescriptorCache& descriptors, vfs::DeviceNumber device, RefPtr<HostDescriptor> top, String directory, Owners owners)
    : Superblock("hostfs", device),
      descriptors_(descriptors),
      top_(std::move(top)),
      directory_(std::move(directory)),
      owners_(owners),
      host_user_(host::effective_user()),
      host_group_(host::effective_group()) {}

HostSuperblock::~HostSuperblock() { root_ = nullptr; }

Result<RefPtr<HostSuperblock>> HostSuperblock::create(DescriptorCache& descriptors, vfs::DeviceNumber device, RefPtr<HostDescriptor> top, String directory,
                                                      Owners owners, bool read_only) {
  RefPtr<HostSuperblock> superblock = TRY(make_ref<HostSuperblock>(descriptors, device, top, std::move(directory), owners));
  const host::FileStatus status = TRY(host::status_of(top->fd()));
  if (owners == Owners::Map) TRY(superblock->owner_file_.load(top, read_only));
  RefPtr<HostInode> root = TRY(superblock->inode_of(std::move(top), status, nullptr, {}));
  if (root->is_covered_) return error(EACCES);
  superblock->root_ = std::move(root);
  return superblock;
}

Result<vfs::FilesystemStatistics> HostSuperblock::statistics() {
  const host::FilesystemStatus status = TRY(host::filesystem_of(top_->fd()));
  vfs::FilesystemStatistics statistics;
  statistics.type_magic = 0x00c0ffee;  // HOSTFS_SUPER_MAGIC
  statistics.block_size = static_cast<uint64_t>(status.block_size);
  statistics.blocks = status.blocks;
  statistics.blocks_free = status.blocks_free;
  statistics.blocks_available = status.blocks_available;
  statistics.files = status.files;
  statistics.files_free = status.files_free;
  statistics.name_length_limit = static_cast<uint64_t>(status.name_length);
  return statistics;
}

Result<void> HostSuperblock::sync() {
  if (is_read_only()) return {};
  RefPtr<HostDescriptor> directory = TRY(root_->descriptor(HostDescriptor::kRead));
  return host::sync_filesystem(directory->fd());
}

Result<void> HostSuperblock::remount(std::string_view text, bool) {
  const Options options = TRY(parse_options(text));
  // The tree and its owners are chosen once.
  const bool names_directory = text.find('/') != std::string_view::npos;
  const bool names_owners = text.find("owners=") != std::string_view::npos;
  if ((names_directory && options.directory != directory_.view()) || (names_owners && options.owners != owners_)) return error(EINVAL);
  return {};
}

void HostSuperblock::show_options(TextSink& sink) {
  format(sink, ",{}", directory_.view());
  if (owners_ == Owners::Host) sink.put(",owners=host");
}

Result<unsigned> HostSuperblock::filesystem_of(const HostDescriptor& file, uint64_t device, bool* is_ordinary) {
  constexpr size_t kMaximum = 1 << 15;  // they share the upper bits of an inode number
  const auto find = [&]() REQUIRES(table_mutex_) -> std::optional<unsigned> {
    for (unsigned i = 0; i < filesystems_.size(); ++i)
      if (filesystems_[i].device == device) {
        *is_ordinary = filesystems_[i].is_ordinary;
        return i;
      }
    return std::nullopt;
  };
  {
    MutexLock lock(table_mutex_);
    if (std::optional<unsigned> known = find()) return *known;
  }
  const bool ordinary = is_ordinary_type(TRY(host::filesystem_of(file.fd())).type);
  MutexLock lock(table_mutex_);
  if (std::optional<unsigned> known = find()) return *known;
  if (filesystems_.size() == kMaximum) return error(ENFILE);
  TRY(filesystems_.push_back({device, ordinary}));
  *is_ordinary = ordinary;
  return static_cast<unsigned>(filesystems_.size() - 1);
}

Result<OwnerRecord> HostSuperblock::record_of(const HostDescriptor& file, const host::FileStatus& status, HostInode* parent, std::string_view name) {
  if (!maps_owners()) return OwnerRecord{};
  const auto type = static_cast<vfs::FileType>(status.mode & vfs::kFileTypeMask);
  if (type == vfs::FileType::Regular || type == vfs::FileType::Directory) {
    OwnerRecord record = TRY(read_record(file));
    // A device attribute is believed on an empty file only: a program that stores data there makes it a file again.
    if (record.type && (type == vfs::FileType::Directory || status.size != 0)) record.type.reset();
    if (!record.is_empty() || record.has_nodes || owner_file_.is_empty()) return record;
  }
  if (owner_file_.is_empty() || !parent) return OwnerRecord{};
  const String path = TRY([&]() -> Result<String> {
    const String directory = TRY(parent->path_from_top());
    if (directory.empty()) return String::from(name);
    return format_string("{}/{}", directory, name);
  }());
  OwnerRecord record = owner_file_.find(path.view()).value_or(OwnerRecord{});
  if (type == vfs::FileType::Symlink) record.permissions.reset();
  if (record.type && (type != vfs::FileType::Regular || status.size != 0)) record.type.reset();
  return record;
}

RefPtr<HostInode> HostSuperblock::find_locked(const FileIdentity& identity) {
  const auto found = inodes_.find(identity);
  if (found == inodes_.end() || !found->try_add_reference()) return nullptr;
  return adopt_ref(&*found);
}

Result<RefPtr<HostInode>> HostSuperblock::inode_of(RefPtr<HostDescriptor> file, const host::FileStatus& status, HostInode* parent, std::string_view name) {
  const FileIdentity identity = FileIdentity::of(status);
  RefPtr<HostInode> inode;
  {
    MutexLock lock(table_mutex_);
    inode = find_locked(identity);
  }
  if (inode) {
    inode->offer_descriptor(std::move(file));
    if (parent) TRY(inode->set_place(parent, name));
    TRY(inode->absorb(status));
    return inode;
  }

  bool is_ordinary = false;
  const unsigned filesystem = TRY(filesystem_of(*file, identity.device, &is_ordinary));
  const OwnerRecord record = is_ordinary ? TRY(record_of(*file, status, parent, name)) : OwnerRecord{};
  RefPtr<HostInode> fresh = TRY(make_ref<HostInode>(*this, status, record, filesystem, !is_ordinary));
  if (parent) TRY(fresh->set_place(parent, name));
  {
    MutexLock lock(table_mutex_);
    inode = find_locked(identity);
    if (!inode) {
      // What stands there is on its way out.
      if (const auto stale = inodes_.find(identity); stale != inodes_.end()) inodes_.erase(stale);
      inodes_.insert(*fresh);
      inode = std::move(fresh);
    }
  }
  inode->offer_descriptor(std::move(file));
  descriptors_.trim();
  return inode;
}

void HostSuperblock::forget(HostInode& inode) {
  MutexLock lock(table_mutex_);
  if (inode.TreeHook<IdentityTag>::is_linked()) inode.TreeHook<IdentityTag>::unlink();
}

}  // namespace umk::hostfs

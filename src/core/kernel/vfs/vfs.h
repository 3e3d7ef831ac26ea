// Vfs: the filesystem verbs, each as the call of the same name documents it, on behalf of a Caller.
//
// It owns the dentry cache, the mount tree, the file locks, the pseudo filesystems for files without names, and the list of filesystem types. One per
// kernel. Source files: vfs.cpp (types, roots, texts of paths), open.cpp, names.cpp (making and removing names), rename.cpp, attributes.cpp,
// extended_attributes.cpp, mount_calls.cpp.
//
// Locks: verbs that change names hold the directory inodes' mutexes; rename of directories between directories also the rename mutex, which keeps the tree
// in shape. Nothing is copied from or to guests here, so verbs may be called with texts in kernel memory only.
#pragma once

#include "core/kernel/vfs/anonymous_inode.h"
#include "core/kernel/vfs/device_opener.h"
#include "core/kernel/vfs/file_locks.h"
#include "core/kernel/vfs/leases.h"
#include "core/kernel/vfs/mount.h"
#include "core/kernel/vfs/path_walk.h"

namespace umk::block {
class BlockDevices;
}

namespace umk::vfs {

class MemoryFiles;

inline constexpr size_t kPathLimit = 4096;  // PATH_MAX, the NUL included

/// A path as the *at calls give it: relative to `base`, or to the working directory when that is null.
struct At {
  const Path* base = nullptr;
  std::string_view path;
};

/// What open is asked: flags of open(2), permissions for a new file, and walk flags of openat2's resolve.
struct OpenRequest {
  uint32_t flags = 0;
  uint32_t mode = 0;
  unsigned resolve = 0;
};

/// A file that an attribute call works on, with its mount and name as far as it has them (files without names do not).
struct Target {
  Inode& inode;
  const Mount* mount;
  Dentry* dentry;

  explicit Target(const Path& path) : inode(*path.dentry->inode()), mount(path.mount.get()), dentry(path.dentry.get()) {}
  explicit Target(const OpenFile& file) : inode(file.inode()), mount(file.path().mount.get()), dentry(file.path().dentry.get()) {}
};

/// One of the two times of utimensat(2).
struct TimeChange {
  enum class Kind { Omit, Now, Set } kind = Kind::Omit;
  Timestamp time;
};

namespace rename_flags {
inline constexpr unsigned kNoReplace = 1, kExchange = 2, kWhiteout = 4;
}

/// The sysctls fs.protected_*, proc(5). The defaults are the kernel's, with the one that all distributions have long switched on.
struct Protections {
  std::atomic<int> symlinks{0}, hardlinks{1}, regular{0}, fifos{0};
};

class Vfs {
 public:
  /// `dentry_limit`: names kept although nobody uses them.
  static Result<std::unique_ptr<Vfs>> create(size_t dentry_limit = 32768);
  ~Vfs();

  DentryCache& dentries() { return *dentries_; }
  MountTree& mounts() { return *mounts_; }
  FileLockManager& locks() { return locks_; }
  AnonymousSuperblock& anonymous(AnonymousKind kind) { return *anonymous_[static_cast<unsigned>(kind)]; }
  /// A place for a file without a name, so that links of /proc can lead to it.
  Result<Path> anonymous_path(RefPtr<Inode> inode);
  DeviceNumber next_anonymous_device() { return {0, next_device_.fetch_add(1, std::memory_order_relaxed)}; }
  void set_device_opener(DeviceOpener& opener) { device_opener_ = &opener; }
  /// The disks that filesystems are mounted from; null until set.
  block::BlockDevices* block_devices() { return block_devices_; }
  void set_block_devices(block::BlockDevices& devices) { block_devices_ = &devices; }
  /// Who makes the files of memfd_create; null until set.
  MemoryFiles* memory_files() { return memory_files_; }
  void set_memory_files(MemoryFiles& maker);
  /// How many inodes and open files there are; dentries() and mounts() count their own.
  const ObjectCounts& object_counts() const { return *object_counts_; }

  Protections protections;
  LeaseSettings leases;

  // --- filesystem types (not locked: all are registered at boot)
  Result<void> register_type(FilesystemType& type);
  FilesystemType* find_type(std::string_view name);
  std::span<FilesystemType* const> types() const { return types_; }
  /// Mounts the top of the tree, once, at boot; returns the place.
  Result<Path> mount_root(const Credentials& credentials, std::string_view type, std::string_view source, uint64_t flags, std::string_view options);

  // --- finding
  Result<Path> lookup(const Caller& caller, At at, unsigned flags = walk::kFollow);
  /// The dentry of a name in a directory, which may be negative. EAGAIN when `cached_only` and the filesystem had to be asked.
  Result<RefPtr<Dentry>> child_of(Dentry& parent, std::string_view name, bool cached_only = false);
  /// The path as text, seen from `root`, for /proc and messages: with " (deleted)" after the name of a file that is gone.
  Result<std::string_view> path_text(const Path& path, const Path& root, std::span<char> buffer);
  /// getcwd(2): ENOENT when the directory was removed; "(unreachable)" before a path outside the root.
  Result<std::string_view> working_directory_text(FsContext& fs, std::span<char> buffer);

  // --- open.cpp
  Result<RefPtr<OpenFile>> open(const Caller& caller, At at, const OpenRequest& request);
  /// Opens a place that was found already; creates nothing.
  Result<RefPtr<OpenFile>> open_place(const Caller& caller, Path place, uint32_t flags);

  // --- names.cpp, rename.cpp
  Result<void> make_directory(const Caller& caller, At at, uint32_t permissions);
  /// mknod(2); also how AF_UNIX sockets get their node (`mode` with FileType::Socket): the new place is left in `made` when it is not null.
  Result<void> make_node(const Caller& caller, At at, uint32_t mode, DeviceNumber device, Path* made = nullptr);
  Result<void> make_symlink(const Caller& caller, std::string_view target, At at);
  /// `flags` are walk flags for the existing file (kFollow, kEmptyPath).
  Result<void> link(const Caller& caller, At existing, unsigned flags, At at);
  /// Gives a further name to an open file, which may have none (O_TMPFILE with AT_EMPTY_PATH).
  Result<void> link_file(const Caller& caller, const Path& existing, At at);
  Result<void> unlink(const Caller& caller, At at);
  Result<void> remove_directory(const Caller& caller, At at);
  Result<void> rename(const Caller& caller, At from, At to, unsigned flags);

  // --- attributes.cpp
  Result<void> change_mode(const Caller& caller, const Target& target, uint32_t permissions);
  /// UINT32_MAX leaves an id as it is.
  Result<void> change_owner(const Caller& caller, const Target& target, UserId uid, GroupId gid);
  /// `both_now`: utime(2) with a null pointer, which needs write permission only.
  Result<void> change_times(const Caller& caller, const Target& target, const TimeChange& access, const TimeChange& modify);
  /// `check_permission` is off for ftruncate, whose descriptor was opened for writing.
  Result<void> truncate(const Caller& caller, const Target& target, uint64_t size_bytes, bool check_permission);
  /// access(2): `want` of 4, 2, 1 or 0.
  Result<void> check_access(const Caller& caller, const Target& target, unsigned want);
  /// Drops set-user-id and set-group-id after a write or truncate by somebody without privilege.
  void clear_privileges(const Caller& caller, const Target& target);

  // --- extended_attributes.cpp: xattr(7)
  Result<String> get_attribute(const Caller& caller, const Target& target, std::string_view name);
  Result<void> set_attribute(const Caller& caller, const Target& target, std::string_view name, std::string_view value, int flags);
  Result<void> remove_attribute(const Caller& caller, const Target& target, std::string_view name);
  Result<String> list_attributes(const Caller& caller, const Target& target);

  // --- mount_calls.cpp
  Result<void> mount(const Caller& caller, std::string_view source, At target, std::string_view type, uint64_t flags, std::string_view options);
  Result<void> unmount(const Caller& caller, At target, int flags);
  /// Both changed places, for the tasks whose root or working directory was the old root.
  struct Pivot {
    Path old_root, new_root;
  };
  Result<Pivot> pivot_root(const Caller& caller, At new_root, At put_old);
  Result<void> sync_all();

 private:
  friend class NameChange;
  explicit Vfs(std::unique_ptr<DentryCache> dentries) : dentries_(std::move(dentries)) {}

  Result<RefPtr<Dentry>> child_of_locked(Dentry& parent, std::string_view name, uint32_t hash);
  Result<RefPtr<OpenFile>> open_temporary(const Caller& caller, Path directory, const OpenRequest& request);
  Result<RefPtr<OpenFile>> make_open_file(const Caller& caller, Path place, uint32_t flags);
  Result<RefPtr<Superblock>> make_superblock(const Caller& caller, FilesystemType& type, std::string_view source, bool read_only, std::string_view options);
  Result<RefPtr<Superblock>> make_superblock_on_device(const Caller& caller, FilesystemType& type, std::string_view source, bool read_only, std::string_view options);
  Result<RefPtr<Dentry>> create_file(const Caller& caller, PathWalk& walk, uint32_t mode, bool* created);

  RefPtr<ObjectCounts> object_counts_;
  std::unique_ptr<DentryCache> dentries_;
  std::unique_ptr<MountTree> mounts_;
  FileLockManager locks_;
  RefPtr<AnonymousSuperblock> anonymous_[kAnonymousKinds];
  RefPtr<Mount> anonymous_mounts_[kAnonymousKinds];
  std::atomic<uint32_t> next_device_{1};
  DeviceOpener* device_opener_ = nullptr;
  block::BlockDevices* block_devices_ = nullptr;
  MemoryFiles* memory_files_ = nullptr;
  Vector<FilesystemType*> types_;
  Mutex rename_mutex_{LockRank::Rename};
};

/// True when the caller owns the file or may act as if: EPERM else, in most verbs.
bool owns_or_may(const Caller& caller, const Inode& inode);
/// EROFS when a file cannot be changed through this mount.
Result<void> check_writable(const Mount* mount);

}  // namespace umk::vfs

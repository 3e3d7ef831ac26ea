// Mount: a filesystem (or a part of it: bind mounts) attached at a place. MountTree: all mounts and how they hang together. mount(2).
//
// Life: attached by mount(2); it holds its place (parent mount and dentry) and is found by it. Paths hold references. umount(2) detaches it; the last reference
// then lets go of the superblock. A count of one means that nothing but the tree uses the mount, which is what EBUSY asks for.
// Propagation: every mount is private. MS_PRIVATE and MS_SLAVE therefore succeed and change nothing, MS_SHARED is refused.
//
// Locks: the tree's mutex (rank Mounts) guards parents, places, children and the list; flags are atomic.
#pragma once

#include "core/base/list.h"
#include "core/kernel/vfs/dentry.h"
#include "core/kernel/vfs/path.h"
#include "core/kernel/vfs/superblock.h"

namespace umk::vfs {

/// Flags of mount(2), and of umount2(2).
namespace mount_flags {
inline constexpr uint64_t kReadOnly = 1, kNoSetUid = 2, kNoDevices = 4, kNoExec = 8, kSynchronous = 16, kRemount = 32, kMandatoryLock = 64, kDirSync = 128;
inline constexpr uint64_t kNoSymFollow = 256, kNoAccessTime = 1024, kNoDirectoryAccessTime = 2048, kBind = 4096, kMove = 8192, kRecursive = 16384, kSilent = 32768;
inline constexpr uint64_t kPosixAcl = 1 << 16, kUnbindable = 1 << 17, kPrivate = 1 << 18, kSlave = 1 << 19, kShared = 1 << 20, kRelativeTime = 1 << 21;
inline constexpr uint64_t kStrictAccessTime = 1 << 24, kLazyTime = 1 << 25;
/// What belongs to a mount rather than to its filesystem.
inline constexpr uint64_t kPerMount = kReadOnly | kNoSetUid | kNoDevices | kNoExec | kNoAccessTime | kNoDirectoryAccessTime | kRelativeTime | kNoSymFollow;
inline constexpr uint64_t kMagic = 0xc0ed0000, kMagicMask = 0xffff0000;  // of very old programs
}  // namespace mount_flags
namespace umount_flags {
inline constexpr int kForce = 1, kDetach = 2, kExpire = 4, kNoFollow = 8;
}

class MountTree;
struct MountPlaceTag;
struct MountListTag;
struct MountChildTag;

class Mount final : public RefCounted, public ListHook<MountPlaceTag>, public ListHook<MountListTag>, public ListHook<MountChildTag> {
 public:
  Superblock& superblock() const { return *superblock_; }
  Dentry& root() const { return *root_; }
  RefPtr<Dentry> root_ref() const { return root_; }
  /// The number shown in mountinfo and fdinfo.
  int id() const { return id_; }
  uint64_t flags() const { return flags_.load(std::memory_order_relaxed); }
  /// EROFS is due: the mount or the whole filesystem is read-only.
  bool is_read_only() const { return (flags() & mount_flags::kReadOnly) || superblock_->is_read_only(); }
  std::string_view source() const { return source_.view(); }

  /// Files open for writing through this mount: remounting it read-only fails with EBUSY while there are any.
  std::atomic<uint32_t> writers{0};

  Mount(MountTree& tree, RefPtr<Superblock> superblock, RefPtr<Dentry> root, String source, uint64_t flags, int id);

 protected:
  ~Mount() override;

 private:
  friend class MountTree;
  MountTree& tree_;
  RefPtr<Superblock> superblock_;
  RefPtr<Dentry> root_;
  String source_;
  int id_;
  std::atomic<uint64_t> flags_;
  // Guarded by the tree's mutex:
  RefPtr<Mount> parent_;         // null for the root mount and for detached ones
  RefPtr<Dentry> mountpoint_;
  List<Mount, MountChildTag> children_;
  bool attached_ = false;
  bool unbindable_ = false;
  bool expiring_ = false;        // marked by umount2(MNT_EXPIRE)
  Mount* copy_ = nullptr;        // during a recursive bind: its copy
};

/// What /proc/PID/mounts and mountinfo show of one mount.
struct MountDescription {
  int id, parent_id;
  Mount& mount;
  std::string_view root;   // path of the mount's root within its filesystem
  std::string_view place;  // where it is, seen from the reader's root
};

class MountTree {
 public:
  explicit MountTree(DentryCache& dentries) : dentries_(dentries) {}
  ~MountTree();

  /// A mount of a filesystem's root that is attached nowhere.
  Result<RefPtr<Mount>> make(RefPtr<Superblock> superblock, std::string_view source, uint64_t flags);
  /// Makes `mount` the top of the tree; once, at boot.
  void set_root(RefPtr<Mount> mount);
  RefPtr<Mount> root();

  /// Puts a fresh mount on `place`. ENOTDIR/EINVAL when kinds differ or the place is not in the tree; EBUSY for the same filesystem twice at one place.
  Result<void> attach(RefPtr<Mount> mount, const Path& place);
  /// MS_BIND of `source`, with everything mounted below it when `recursive`.
  Result<void> bind(const Path& source, const Path& place, bool recursive);
  Result<void> move(const Path& source, const Path& place);
  /// MS_REMOUNT|MS_BIND: changes the per-mount flags. EBUSY when going read-only with files open for writing.
  Result<void> change_flags(const Path& place, uint64_t flags);
  /// MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE; EINVAL for MS_SHARED.
  Result<void> change_propagation(const Path& place, uint64_t flags);
  /// `place` must be the root of a mount (EINVAL). Takes the path over, as its reference would make the mount busy.
  Result<void> unmount(Path place, int flags);
  Result<void> pivot_root(const Path& new_root, const Path& put_old, const Path& current_root);
  /// True when a file on the filesystem is open for writing.
  bool has_writers(const Superblock& superblock);

  /// The topmost mount on a place, or null.
  RefPtr<Mount> mounted_on(const Mount& mount, const Dentry& dentry);
  /// Replaces a path by what is mounted over it, as deep as it goes.
  /// `counts_as_use`: a mount that umount2(MNT_EXPIRE) marked is in use again.
  void descend(RefPtr<Mount>& mount, RefPtr<Dentry>& dentry, bool counts_as_use = true) {
    while (dentry->mounted_here.load(std::memory_order_acquire) != 0)
      if (!descend_once(mount, dentry, counts_as_use)) return;
  }
  /// From the root of a mount to the place that it is on; false at the top.
  bool ascend(RefPtr<Mount>& mount, RefPtr<Dentry>& dentry);

  /// The text of a path seen from `root`. `reachable` becomes false when `root` is not above it, in which case the text begins at the top of the mount (tree).
  /// ENAMETOOLONG when it does not fit.
  Result<std::string_view> path_text(const Path& path, const Path& root, std::span<char> buffer, bool* reachable);
  /// True when `ancestor` is `path` or above it, over mounts.
  bool is_at_or_below(const Path& path, const Path& ancestor);

  /// Calls `body(const MountDescription&)` for the mounts that are visible from `root`, in the order they were made. `scratch` holds two paths.
  template <typename Body>
  void for_each_visible(const Path& root, std::span<char> scratch, Body&& body) {
    MutexLock lock(mutex_);
    for (Mount& mount : list_) {
      std::string_view top, place;
      if (describe_locked(mount, root, scratch, &top, &place)) body(MountDescription{mount.id_, mount.parent_ ? mount.parent_->id_ : mount.id_, mount, top, place});
    }
  }
  /// Calls `body(Superblock&)` for each mounted filesystem, with no lock held (sync).
  Result<void> superblocks(Vector<RefPtr<Superblock>>& into);
  /// Mounts that are alive, also those that are in use although detached.
  int64_t count() const { return count_.load(std::memory_order_relaxed); }
  /// Changes when the list of mounts does, for poll of /proc/mounts.
  uint64_t generation() const { return generation_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kPlaceBuckets = 64;
  friend class Mount;

  List<Mount, MountPlaceTag>& places_of(const Mount& parent, const Dentry& dentry) {
    const uint64_t mixed = (reinterpret_cast<uintptr_t>(&parent) >> 6) * 31 + (reinterpret_cast<uintptr_t>(&dentry) >> 6);
    return places_[(mixed ^ mixed >> 12) % kPlaceBuckets];
  }
  bool descend_once(RefPtr<Mount>& mount, RefPtr<Dentry>& dentry, bool counts_as_use);
  Mount* find_locked(const Mount& parent, const Dentry& dentry) REQUIRES(mutex_);
  void attach_locked(Mount& mount, RefPtr<Mount> parent, RefPtr<Dentry> mountpoint) REQUIRES(mutex_);
  /// Undoes attach_locked. The tree's reference on the mount is the caller's now, to be given to release() without the lock.
  void detach_locked(Mount& mount) REQUIRES(mutex_);
  static void release(Mount& mount);
  Result<void> check_place_locked(const Path& place, bool is_directory) REQUIRES(mutex_);
  Result<RefPtr<Mount>> copy(const Mount& original, RefPtr<Dentry> root);
  Result<void> copy_children_locked(const Path& source) REQUIRES(mutex_);
  bool is_below_locked(const Mount& mount, const Mount& ancestor) REQUIRES(mutex_);
  Result<std::string_view> path_text_locked(const Path& path, const Path& root, std::span<char> buffer, bool* reachable) REQUIRES(mutex_);
  bool describe_locked(Mount& mount, const Path& root, std::span<char> scratch, std::string_view* top, std::string_view* place) REQUIRES(mutex_);
  void shut_down(RefPtr<Superblock> superblock);

  DentryCache& dentries_;
  Mutex mutex_{LockRank::Mounts};
  List<Mount, MountPlaceTag> places_[kPlaceBuckets] GUARDED_BY(mutex_);
  List<Mount, MountListTag> list_ GUARDED_BY(mutex_);
  RefPtr<Mount> root_ GUARDED_BY(mutex_);
  std::atomic<int> next_id_{1};
  std::atomic<uint64_t> generation_{0};
  std::atomic<int64_t> count_{0};
};

}  // namespace umk::vfs

// Anonymous inodes: what stands behind pipes, sockets, eventfds and other open files that have no name in any directory.
//
// Three pseudo filesystems exist once a kernel (Vfs owns them): their device numbers and magic numbers are what fstat(2) and fstatfs(2) show. Nothing
// in them can be looked up, and they are never mounted where a guest sees them. An inode lives as long as the open files that refer to it.
// The inode's mutex may be used by the owner of the inode for its metadata only; pipes and sockets have locks of their own.
#pragma once

#include "core/base/make.h"
#include "core/kernel/vfs/superblock.h"

namespace umk::vfs {

/// Which pseudo filesystem an anonymous inode belongs to.
enum class AnonymousKind : unsigned { Pipe, Socket, Event };
inline constexpr unsigned kAnonymousKinds = 3;

class AnonymousSuperblock final : public Superblock {
 public:
  /// Use `Vfs::anonymous(kind)`; tests may make their own.
  static Result<RefPtr<AnonymousSuperblock>> create(AnonymousKind kind, DeviceNumber device);

  RefPtr<Inode> root() override { return nullptr; }
  Result<FilesystemStatistics> statistics() override;

  /// A number that no other inode here has had.
  InodeNumber next_number() { return next_number_.fetch_add(1, std::memory_order_relaxed); }

  /// Held while an epoll instance is put into another, so that no two such calls close a loop together (epoll.h).
  Mutex epoll_nesting_mutex{LockRank::None};
  /// Marks epoll instances as visited by one search for loops; guarded by the mutex.
  uint64_t epoll_search_stamp = 0;

  AnonymousSuperblock(AnonymousKind kind, DeviceNumber device);

 private:
  AnonymousKind kind_;
  std::atomic<InodeNumber> next_number_{1};
};

/// An inode without a name. Derive from it to add state, or use it as it is: `mode` holds the type (FileType) and the permissions, for
/// example FileType::Fifo and 0600 for pipe(2), FileType::Socket and 0777 for socket(2), 0600 without a type for eventfd(2).
class AnonymousInode : public Inode {
 public:
  static Result<RefPtr<AnonymousInode>> create(AnonymousSuperblock& superblock, uint32_t mode, UserId uid, GroupId gid);

  AnonymousInode(AnonymousSuperblock& superblock, uint32_t mode, UserId uid, GroupId gid)
      : Inode(superblock, superblock.next_number(), mode, uid, gid) {}
};

}  // namespace umk::vfs

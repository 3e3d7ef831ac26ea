// File change notification: where the VFS tells what happened, and inotify(7) hears it.
//
// The VFS calls the functions below after an operation succeeded, holding no lock but (for notify_entry) none of the two inodes'. They cost one load
// while nothing on the filesystem is watched: `Superblock::watched_inodes` counts the inodes that have marks, kept by notify.cpp.
//
// Who reports what (masks of inotify(7)):
//   OpenFile           kOpen after open; kAccess after a read that moved bytes and after getdents; kModify after a write that moved bytes;
//                      kCloseWrite or kCloseNoWrite when the last reference to the open file goes
//   Vfs names          kCreate for open(O_CREAT), mkdir, mknod, symlink, link, bind of a socket (kernel/socket reports its own);
//                      kDelete for unlink and rmdir, and kDeleteSelf when the last link went and nobody has it open (notify_inode_gone);
//                      kMovedFrom and kMovedTo with one cookie, and kMoveSelf, for rename
//   Vfs attributes     kAttributes for chmod, chown, utimes, setxattr, and for the file whose link count changed; kModify for truncate
//   umount             kUnmount, then kIgnored, for the watches of that filesystem (notify_unmount)
#pragma once

#include <cstdint>
#include <string_view>

#include "core/kernel/vfs/inode.h"
#include "core/kernel/vfs/superblock.h"

namespace umk::vfs {

class Dentry;

namespace notify_bits {
inline constexpr uint32_t kAccess = 0x1, kModify = 0x2, kAttributes = 0x4, kCloseWrite = 0x8, kCloseNoWrite = 0x10, kOpen = 0x20;
inline constexpr uint32_t kMovedFrom = 0x40, kMovedTo = 0x80, kCreate = 0x100, kDelete = 0x200, kDeleteSelf = 0x400, kMoveSelf = 0x800;
inline constexpr uint32_t kUnmount = 0x2000, kIgnored = 0x8000, kIsDirectory = 0x40000000;
}  // namespace notify_bits

/// The slow halves, in notify.cpp. They take a snapshot of the marks under the mark's own lock; callers hold no spinning or bucket lock.
void deliver_file_event(Dentry& dentry, uint32_t mask);
void deliver_entry_event(Inode& directory, uint32_t mask, std::string_view name, uint32_t cookie);
void deliver_inode_event(Inode& inode, uint32_t mask);
/// Frees `inode.notify_marks` when the inode goes; sends kDeleteSelf (when it has no links any more) and kIgnored.
void release_notify_marks(Inode& inode);
/// A number that joins kMovedFrom with kMovedTo.
uint32_t next_notify_cookie(Superblock& superblock);

inline bool is_watched(const Inode& inode) { return inode.superblock().watched_inodes.load(std::memory_order_relaxed) != 0; }

/// Something happened to the file that `dentry` names: watches on the file, and with the name those on its directory, hear of it.
/// kIsDirectory is added by the callee for directories.
inline void notify_file(Inode& inode, Dentry& dentry, uint32_t mask) {
  if (is_watched(inode)) deliver_file_event(dentry, mask);
}
/// Something happened to the entry `name` of `directory`; `mask` has kIsDirectory when the entry is one.
inline void notify_entry(Inode& directory, uint32_t mask, std::string_view name, uint32_t cookie = 0) {
  if (is_watched(directory)) deliver_entry_event(directory, mask, name, cookie);
}
/// Something happened to the file itself, whatever its name.
inline void notify_inode(Inode& inode, uint32_t mask) {
  if (is_watched(inode)) deliver_inode_event(inode, mask);
}

}  // namespace umk::vfs

// Leases: who wants to hear before a file is opened or truncated by others. fcntl(2), F_SETLEASE.
//
// A lease is an open file's. A read lease may be had while nobody has the file open for writing, a write lease while nobody else has it open at all.
// Who opens the file in a way that conflicts breaks the lease: its holder is told by a signal (SIGIO, or that of F_SETSIG) and may put its files in
// order; the opener waits until the lease is given up, or down to one that does not conflict, or until the time of /proc/sys/fs/lease-break-time is
// up and it is taken away.
//
// The leases of an inode are in its LeaseList, made with the first and freed with the inode. An open counts itself as reader or writer before it looks for leases,
// and a lease is in the list before the counts are looked at: one of the two sees the other.
#pragma once

#include "core/base/make.h"
#include "core/kernel/vfs/async_io.h"
#include "core/kernel/vfs/inode.h"
#include "core/sync/wait_queue.h"

namespace umk::vfs {

class OpenFile;

/// Numbers as in fcntl(2): F_RDLCK, F_WRLCK, F_UNLCK.
enum class LeaseKind : uint8_t { Read = 0, Write = 1, None = 2 };

/// The sysctls fs.leases-enable and fs.lease-break-time, proc(5).
struct LeaseSettings {
  std::atomic<int> enable{1}, break_seconds{45};
};

/// Who is told of a break when F_SETOWN named nobody, and the descriptor that the signal names.
struct LeaseHolder {
  AsyncSender& sender;
  AsyncOwner owner;
  int fd;
};

/// F_SETLEASE: EAGAIN when others have the file open, EINVAL when leases are switched off, ENOMEM. Permission was checked.
Result<void> set_lease(OpenFile& file, LeaseKind kind, const LeaseHolder& holder, const LeaseSettings& settings);
/// F_GETLEASE: what the holder still has, or is about to have.
LeaseKind lease_of(OpenFile& file);
/// Drops what an open file holds, when it goes.
void release_lease_of_file(Inode& inode, OpenFile& file);
void delete_leases(LeaseList* leases);

/// The slow half of break_leases.
Result<void> break_present_leases(Inode& inode, bool writes, bool wait, const LeaseSettings& settings);

/// Breaks the leases that opening the file, for writing or not, conflicts with. EAGAIN (EWOULDBLOCK) when that takes time and `wait` is false,
/// ERESTARTSYS. No lock held that comes after LockRank::AsyncIo.
inline Result<void> break_leases(Inode& inode, bool writes, bool wait, const LeaseSettings& settings) {
  if (!inode.leases.load()) [[likely]] return {};
  return break_present_leases(inode, writes, wait, settings);
}

}  // namespace umk::vfs

// What calls that make open files without a name have in common: pipe, socket, eventfd and their kin.
#pragma once

#include "core/kernel/task/kernel.h"
#include "core/kernel/task/task.h"
#include "core/kernel/vfs/anonymous_inode.h"
#include "core/kernel/vfs/vfs.h"

namespace umk {

/// An inode of the given pseudo filesystem that belongs to the caller.
inline Result<RefPtr<vfs::AnonymousInode>> make_anonymous_inode(Task& task, vfs::AnonymousKind kind, uint32_t mode) {
  const Credentials& credentials = task.credentials();
  return vfs::AnonymousInode::create(task.kernel().vfs->anonymous(kind), mode, credentials.fsuid, credentials.fsgid);
}

/// The lowest free descriptor for `file`; EMFILE.
inline Result<Fd> add_descriptor(Task& task, RefPtr<vfs::OpenFile> file, bool close_on_exec) {
  return task.fds().add(std::move(file), close_on_exec, task.process().limits.soft(Resource::OpenFiles));
}

}  // namespace umk

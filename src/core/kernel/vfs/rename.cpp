// rename(2), renameat2(2).
#include "core/kernel/vfs/name_change.h"
#include "core/kernel/vfs/notify.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::vfs {

namespace {

/// Locks two directories, which may be one, in an order that all renames share: the one above the other first, else by address.
/// The rename mutex is held when they differ, so their places do not change meanwhile.
class DirectoryPairLock {
 public:
  DirectoryPairLock(DentryCache& cache, Dentry& a, Dentry& b) NO_THREAD_SAFETY_ANALYSIS : first_(a.inode()), second_(b.inode()) {
    if (first_ == second_) {
      second_ = nullptr;
    } else if (cache.is_at_or_below(a, b) || (!cache.is_at_or_below(b, a) && second_ < first_)) {
      std::swap(first_, second_);
    }
    first_->mutex().lock();
    if (second_) second_->mutex().lock();
  }
  ~DirectoryPairLock() NO_THREAD_SAFETY_ANALYSIS {
    if (second_) second_->mutex().unlock();
    first_->mutex().unlock();
  }
  DirectoryPairLock(const DirectoryPairLock&) = delete;
  DirectoryPairLock& operator=(const DirectoryPairLock&) = delete;

 private:
  Inode* first_;
  Inode* second_;
};

class OptionalLock {
 public:
  OptionalLock(Mutex& mutex, bool wanted) NO_THREAD_SAFETY_ANALYSIS : mutex_(wanted ? &mutex : nullptr) {
    if (mutex_) mutex_->lock();
  }
  ~OptionalLock() NO_THREAD_SAFETY_ANALYSIS {
    if (mutex_) mutex_->unlock();
  }
  OptionalLock(const OptionalLock&) = delete;
  OptionalLock& operator=(const OptionalLock&) = delete;

 private:
  Mutex* mutex_;
};

/// What may stand in the way of replacing `replaced` by `moved`.
Result<void> check_kinds(const Inode& moved, const Inode& replaced) {
  if (moved.is_directory()) return replaced.is_directory() ? Result<void>{} : error(ENOTDIR);
  return replaced.is_directory() ? error(EISDIR) : Result<void>{};
}

Result<void> reach_directory(PathWalk& walk) {
  TRY(walk.to_parent());
  Inode& directory = *walk.dentry().inode();
  if (walk.last_kind() != PathWalk::Last::Root && !directory.is_directory()) return error(ENOTDIR);
  return {};
}

}  // namespace

Result<void> Vfs::rename(const Caller& caller, At from, At to, unsigned flags) {
  const bool exchange = flags & rename_flags::kExchange;
  const bool no_replace = flags & rename_flags::kNoReplace;
  if ((flags & ~(rename_flags::kNoReplace | rename_flags::kExchange)) || (exchange && no_replace)) return error(EINVAL);

  PathWalk source(*this, caller, from.base, from.path, 0);
  PathWalk target(*this, caller, to.base, to.path, 0);
  TRY(reach_directory(source));
  TRY(reach_directory(target));
  if (&source.mount() != &target.mount()) return error(EXDEV);
  if (source.last_kind() != PathWalk::Last::Name) return error(EBUSY);
  if (target.last_kind() != PathWalk::Last::Name) return error(no_replace ? EEXIST : EBUSY);
  Dentry& old_parent = source.dentry();
  Dentry& new_parent = target.dentry();
  Inode& old_directory = *old_parent.inode();
  Inode& new_directory = *new_parent.inode();
  TRY(old_directory.check_access(caller.credentials, 1));
  TRY(new_directory.check_access(caller.credentials, 1));

  RefPtr<Dentry> moved, replaced;
  {
    OptionalLock tree_lock(rename_mutex_, &old_parent != &new_parent);
    DirectoryPairLock directories_lock(*dentries_, old_parent, new_parent);
    TRY(check_writable(&source.mount()));
    moved = TRY(child_of_locked(old_parent, source.last(), hash_name(source.last())));
    if (moved->is_negative()) return error(ENOENT);
    replaced = TRY(child_of_locked(new_parent, target.last(), hash_name(target.last())));
    Inode& moved_inode = *moved->inode();
    Inode* replaced_inode = replaced->inode();
    if (no_replace && replaced_inode) return error(EEXIST);
    if (exchange) {
      if (!replaced_inode) return error(ENOENT);
      if (!replaced_inode->is_directory() && target.has_trailing_slash()) return error(ENOTDIR);
    }
    if (!moved_inode.is_directory()) {
      if (source.has_trailing_slash()) return error(ENOTDIR);
      if (!exchange && target.has_trailing_slash()) return error(ENOTDIR);
    }
    // A directory cannot become part of itself.
    if (moved_inode.is_directory() && dentries_->is_at_or_below(new_parent, *moved)) return error(EINVAL);
    if (replaced_inode && dentries_->is_at_or_below(old_parent, *replaced)) return error(exchange ? EINVAL : ENOTEMPTY);
    // Two names of one file: rename(2) does nothing, and says so.
    if (replaced_inode == &moved_inode) return {};

    TRY(check_removable(caller, old_directory, moved_inode));
    if (replaced_inode) {
      TRY(check_removable(caller, new_directory, *replaced_inode));
      if (!exchange) TRY(check_kinds(moved_inode, *replaced_inode));
    } else {
      if (new_directory.is_removed()) return error(ENOENT);
      TRY(new_directory.check_access(caller.credentials, 3));
    }
    // `..` of a directory that changes its parent is written.
    if (&old_parent != &new_parent) {
      if (moved_inode.is_directory()) TRY(moved_inode.check_access(caller.credentials, 2));
      if (exchange && replaced_inode->is_directory()) TRY(replaced_inode->check_access(caller.credentials, 2));
    }
    if (moved->mounted_here.load() != 0 || (replaced_inode && replaced->mounted_here.load() != 0)) return error(EBUSY);

    {
      OptionalLock victim_lock(replaced_inode ? replaced_inode->mutex() : moved_inode.mutex(), replaced_inode && !exchange && replaced_inode->is_directory());
      TRY(old_directory.rename(source.last(), moved_inode, new_directory, target.last(), replaced_inode, exchange));
      if (replaced_inode && !exchange && replaced_inode->is_directory()) replaced_inode->mark_removed();
    }
    if (exchange) {
      dentries_->exchange(*moved, *replaced);
    } else {
      dentries_->remove(*replaced);
      if (replaced_inode && replaced_inode->is_directory()) dentries_->remove_children(*replaced);
      if (!dentries_->move(*moved, new_parent, target.last()).ok()) {
        // No memory for the new name: forget the old one, the next lookup asks the filesystem.
        dentries_->remove(*moved);
      }
    }
  }

  if (!is_watched(*moved->inode())) return {};
  const uint32_t kind = moved->inode()->is_directory() ? notify_bits::kIsDirectory : 0;
  const uint32_t cookie = next_notify_cookie(moved->superblock());
  notify_entry(old_directory, notify_bits::kMovedFrom | kind, source.last(), cookie);
  notify_entry(new_directory, notify_bits::kMovedTo | kind, target.last(), cookie);
  notify_inode(*moved->inode(), notify_bits::kMoveSelf);
  if (exchange) {
    const uint32_t other_kind = replaced->inode()->is_directory() ? notify_bits::kIsDirectory : 0;
    const uint32_t other_cookie = next_notify_cookie(moved->superblock());
    notify_entry(new_directory, notify_bits::kMovedFrom | other_kind, target.last(), other_cookie);
    notify_entry(old_directory, notify_bits::kMovedTo | other_kind, source.last(), other_cookie);
  } else if (replaced->inode()) {
    notify_inode(*replaced->inode(), notify_bits::kAttributes);
  }
  return {};
}

}  // namespace umk::vfs

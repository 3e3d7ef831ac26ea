#include "core/kernel/vfs/mount.h"

namespace umk::vfs {

Mount::Mount(MountTree& tree, RefPtr<Superblock> superblock, RefPtr<Dentry> root, String source, uint64_t flags, int id)
    : tree_(tree), superblock_(std::move(superblock)), root_(std::move(root)), source_(std::move(source)), id_(id), flags_(flags) {
  superblock_->active_mounts.fetch_add(1);
  tree_.count_.fetch_add(1, std::memory_order_relaxed);
}

Mount::~Mount() {
  tree_.count_.fetch_sub(1, std::memory_order_relaxed);
  root_ = nullptr;
  if (superblock_->active_mounts.fetch_sub(1) == 1) tree_.shut_down(std::move(superblock_));
}

MountTree::~MountTree() {
  // Kernels end only in tests. Children go before their parents, which hold nothing.
  for (;;) {
    Mount* leaf = nullptr;
    {
      MutexLock lock(mutex_);
      root_ = nullptr;
      for (Mount& mount : list_)
        if (mount.children_.empty()) leaf = &mount;
      if (leaf) detach_locked(*leaf);
    }
    if (!leaf) return;
    release(*leaf);
  }
}

/// The last mount of a filesystem is gone.
void MountTree::shut_down(RefPtr<Superblock> superblock) {
  RefPtr<Dentry> root;
  {
    MutexLock lock(mutex_);
    // It may have been mounted again meanwhile.
    if (superblock->active_mounts.load() != 0) return;
    root = std::move(superblock->root_dentry);
  }
  dentries_.purge(superblock.get());
  root = nullptr;
  superblock->unmounted();
}

Result<RefPtr<Mount>> MountTree::make(RefPtr<Superblock> superblock, std::string_view source, uint64_t flags) {
  String source_copy = TRY(String::from(source));
  RefPtr<Dentry> root;
  {
    MutexLock lock(mutex_);
    if (!superblock->root_dentry) {
      RefPtr<Inode> inode = superblock->root();
      // Pseudo filesystems for anonymous inodes have no root; their mount is never attached.
      if (inode) superblock->root_dentry = TRY(dentries_.make_root(*superblock, std::move(inode)));
    }
    root = superblock->root_dentry;
  }
  return make_ref<Mount>(*this, std::move(superblock), std::move(root), std::move(source_copy), flags & mount_flags::kPerMount, next_id_.fetch_add(1));
}

void MountTree::set_root(RefPtr<Mount> mount) {
  MutexLock lock(mutex_);
  CHECK(!root_, "the root is mounted once");
  root_ = mount;
  mount->attached_ = true;
  list_.push_back(*mount.leak());
  generation_.fetch_add(1);
}

RefPtr<Mount> MountTree::root() {
  MutexLock lock(mutex_);
  return root_;
}

Mount* MountTree::find_locked(const Mount& parent, const Dentry& dentry) {
  for (Mount& mount : places_of(parent, dentry))
    if (mount.parent_.get() == &parent && mount.mountpoint_.get() == &dentry) return &mount;
  return nullptr;
}

RefPtr<Mount> MountTree::mounted_on(const Mount& mount, const Dentry& dentry) {
  MutexLock lock(mutex_);
  return RefPtr<Mount>(find_locked(mount, dentry));
}

bool MountTree::descend_once(RefPtr<Mount>& mount, RefPtr<Dentry>& dentry, bool counts_as_use) {
  RefPtr<Mount> next;
  {
    MutexLock lock(mutex_);
    Mount* found = find_locked(*mount, *dentry);
    if (!found) return false;
    if (counts_as_use) found->expiring_ = false;
    next = RefPtr<Mount>(found);
  }
  dentry = next->root_ref();
  mount = std::move(next);
  return true;
}

bool MountTree::ascend(RefPtr<Mount>& mount, RefPtr<Dentry>& dentry) {
  RefPtr<Mount> parent;
  RefPtr<Dentry> place;
  {
    MutexLock lock(mutex_);
    if (!mount->attached_ || !mount->parent_) return false;
    parent = mount->parent_;
    place = mount->mountpoint_;
  }
  mount = std::move(parent);
  dentry = std::move(place);
  return true;
}

/// Takes a reference on the mount, which the tree owns from now on.
void MountTree::attach_locked(Mount& mount, RefPtr<Mount> parent, RefPtr<Dentry> mountpoint) {
  // What was the top of this place is now mounted on us, not beside us: a place leads to one mount.
  mount.add_reference();
  mount.attached_ = true;
  mountpoint->mounted_here.fetch_add(1);
  places_of(*parent, *mountpoint).push_front(mount);
  parent->children_.push_back(mount);
  list_.push_back(mount);
  mount.parent_ = std::move(parent);
  mount.mountpoint_ = std::move(mountpoint);
  generation_.fetch_add(1);
}

void MountTree::detach_locked(Mount& mount) {
  CHECK(mount.attached_, "only an attached mount can be detached");
  mount.attached_ = false;
  mount.ListHook<MountListTag>::unlink();
  if (mount.parent_) {
    mount.ListHook<MountPlaceTag>::unlink();
    mount.ListHook<MountChildTag>::unlink();
    mount.mountpoint_->mounted_here.fetch_sub(1);
  }
  generation_.fetch_add(1);
}

void MountTree::release(Mount& mount) {
  // Nobody looks at the place of a mount that is not attached.
  RefPtr<Mount> parent = std::move(mount.parent_);
  RefPtr<Dentry> mountpoint = std::move(mount.mountpoint_);
  mount.drop_reference();
}

Result<void> MountTree::check_place_locked(const Path& place, bool is_directory) {
  if (!place.mount->attached_) return error(EINVAL);
  if (place.dentry->is_unhashed() && !place.dentry->is_root()) return error(ENOENT);
  if (place.dentry->inode()->is_directory() != is_directory) return error(ENOTDIR);
  return {};
}

Result<void> MountTree::attach(RefPtr<Mount> mount, const Path& place) {
  MutexLock lock(mutex_);
  TRY(check_place_locked(place, mount->root().inode()->is_directory()));
  if (place.mount->superblock_ == mount->superblock_ && place.mount->root_ == place.dentry) return error(EBUSY);
  // Somebody may have mounted here since the place was looked up; the newer mount goes on top.
  RefPtr<Mount> parent = place.mount;
  RefPtr<Dentry> mountpoint = place.dentry;
  while (Mount* top = find_locked(*parent, *mountpoint)) {
    parent = RefPtr<Mount>(top);
    mountpoint = top->root_;
  }
  attach_locked(*mount, std::move(parent), std::move(mountpoint));
  return {};
}

Result<RefPtr<Mount>> MountTree::copy(const Mount& original, RefPtr<Dentry> root) {
  return make_ref<Mount>(*this, original.superblock_, std::move(root), TRY(original.source_.clone()), original.flags(), next_id_.fetch_add(1));
}

/// Copies what is mounted below `source`, whose mount has its copy already. Goes over the list until nothing new is found, so that the depth of the
/// tree costs no stack.
Result<void> MountTree::copy_children_locked(const Path& source) {
  bool progress = true;
  while (progress) {
    progress = false;
    for (Mount& mount : list_) {
      if (mount.copy_ || mount.unbindable_ || !mount.parent_ || !mount.parent_->copy_) continue;
      if (mount.parent_ == source.mount && !dentries_.is_at_or_below(*mount.mountpoint_, *source.dentry)) continue;
      RefPtr<Mount> copied = TRY(copy(mount, mount.root_));
      attach_locked(*copied, RefPtr<Mount>(mount.parent_->copy_), mount.mountpoint_);
      mount.copy_ = copied.get();
      progress = true;
    }
  }
  return {};
}

Result<void> MountTree::bind(const Path& source, const Path& place, bool recursive) {
  RefPtr<Mount> copied;
  List<Mount, MountChildTag> abandoned;
  Result<void> outcome;
  {
    MutexLock lock(mutex_);
    if (!source.mount->attached_ || source.mount->unbindable_) return error(EINVAL);
    TRY(check_place_locked(place, source.dentry->inode()->is_directory()));
    copied = TRY(copy(*source.mount, source.dentry));
    if (recursive) {
      source.mount->copy_ = copied.get();
      outcome = copy_children_locked(source);
      if (!outcome.ok()) {
        for (Mount& mount : list_) {
          if (!mount.copy_ || mount.copy_ == copied.get()) continue;
          detach_locked(*mount.copy_);
          abandoned.push_back(*mount.copy_);
        }
      }
      source.mount->copy_ = nullptr;
      for (Mount& mount : list_) mount.copy_ = nullptr;
    }
    if (outcome.ok()) {
      RefPtr<Mount> parent = place.mount;
      RefPtr<Dentry> mountpoint = place.dentry;
      while (Mount* top = find_locked(*parent, *mountpoint)) {
        parent = RefPtr<Mount>(top);
        mountpoint = top->root_;
      }
      attach_locked(*copied, std::move(parent), std::move(mountpoint));
    }
  }
  while (!abandoned.empty()) {
    Mount& mount = abandoned.front();
    abandoned.pop_front();
    release(mount);
  }
  return outcome;
}

bool MountTree::is_below_locked(const Mount& mount, const Mount& ancestor) {
  for (const Mount* place = &mount; place; place = place->parent_.get())
    if (place == &ancestor) return true;
  return false;
}

Result<void> MountTree::move(const Path& source, const Path& place) {
  RefPtr<Mount> old_parent;
  RefPtr<Dentry> old_place;
  {
    MutexLock lock(mutex_);
    Mount& mount = *source.mount;
    if (!mount.attached_ || !mount.parent_ || source.dentry != mount.root_) return error(EINVAL);
    TRY(check_place_locked(place, mount.root_->inode()->is_directory()));
    if (is_below_locked(*place.mount, mount)) return error(ELOOP);
    detach_locked(mount);
    old_parent = std::move(mount.parent_);
    old_place = std::move(mount.mountpoint_);
    attach_locked(mount, place.mount, place.dentry);
  }
  source.mount->drop_reference();  // the tree's of before; attach took a new one, and `source` has its own
  return {};
}

Result<void> MountTree::change_flags(const Path& place, uint64_t flags) {
  MutexLock lock(mutex_);
  if (!place.mount->attached_ || place.dentry != place.mount->root_) return error(EINVAL);
  if ((flags & mount_flags::kReadOnly) && !(place.mount->flags() & mount_flags::kReadOnly) && place.mount->writers.load() != 0) return error(EBUSY);
  place.mount->flags_.store(flags & mount_flags::kPerMount);
  generation_.fetch_add(1);
  return {};
}

Result<void> MountTree::change_propagation(const Path& place, uint64_t flags) {
  using namespace mount_flags;
  const uint64_t kind = flags & (kShared | kPrivate | kSlave | kUnbindable);
  if ((kind & (kind - 1)) != 0 || (flags & ~(kind | kRecursive | kSilent)) != 0 || kind == kShared) return error(EINVAL);
  MutexLock lock(mutex_);
  if (!place.mount->attached_ || place.dentry != place.mount->root_) return error(EINVAL);
  for (Mount& mount : list_)
    if (&mount == place.mount.get() || ((flags & kRecursive) && is_below_locked(mount, *place.mount))) mount.unbindable_ = kind == kUnbindable;
  return {};
}

Result<void> MountTree::unmount(Path place, int flags) {
  List<Mount, MountChildTag> detached;
  {
    MutexLock lock(mutex_);
    Mount& mount = *place.mount;
    if (!mount.attached_ || !mount.parent_ || place.dentry != mount.root_) return error(EINVAL);
    // The tree's reference and ours; whatever is more than that uses it.
    const bool busy = !mount.children_.empty() || mount.reference_count() > 2;
    if (flags & umount_flags::kExpire) {
      if (busy) return error(EBUSY);
      if (!mount.expiring_) {
        mount.expiring_ = true;
        return error(EAGAIN);
      }
    }
    if (!(flags & umount_flags::kDetach) && busy) return error(EBUSY);
    for (;;) {
      Mount* leaf = &mount;
      while (!leaf->children_.empty()) leaf = &leaf->children_.front();
      detach_locked(*leaf);
      detached.push_back(*leaf);
      if (leaf == &mount) break;
    }
  }
  while (!detached.empty()) {
    Mount& mount = detached.front();
    detached.pop_front();
    release(mount);
  }
  return {};
}

Result<void> MountTree::pivot_root(const Path& new_root, const Path& put_old, const Path& current_root) {
  RefPtr<Mount> old_parent, parent;
  RefPtr<Dentry> old_place, place;
  {
    MutexLock lock(mutex_);
    Mount& root_mount = *current_root.mount;
    Mount& new_mount = *new_root.mount;
    if (!root_mount.attached_ || !new_mount.attached_ || !put_old.mount->attached_) return error(EINVAL);
    if (new_root.dentry->is_unhashed() && !new_root.dentry->is_root()) return error(ENOENT);
    if (&new_mount == &root_mount || put_old.mount.get() == &root_mount) return error(EBUSY);
    if (current_root.dentry != root_mount.root_ || !root_mount.parent_) return error(EINVAL);
    if (new_root.dentry != new_mount.root_ || !new_mount.parent_) return error(EINVAL);
    // put_old must be reachable from new_root, and new_root from the present root.
    if (!is_below_locked(*put_old.mount, new_mount) || !is_below_locked(new_mount, root_mount)) return error(EINVAL);
    detach_locked(new_mount);
    old_parent = std::move(new_mount.parent_);
    old_place = std::move(new_mount.mountpoint_);
    detach_locked(root_mount);
    parent = std::move(root_mount.parent_);
    place = std::move(root_mount.mountpoint_);
    attach_locked(root_mount, put_old.mount, put_old.dentry);
    attach_locked(new_mount, parent, place);
  }
  new_root.mount->drop_reference();
  current_root.mount->drop_reference();
  return {};
}

bool MountTree::has_writers(const Superblock& superblock) {
  MutexLock lock(mutex_);
  for (Mount& mount : list_)
    if (mount.superblock_.get() == &superblock && mount.writers.load() != 0) return true;
  return false;
}

Result<std::string_view> MountTree::path_text(const Path& path, const Path& root, std::span<char> buffer, bool* reachable) {
  MutexLock lock(mutex_);
  return path_text_locked(path, root, buffer, reachable);
}

Result<std::string_view> MountTree::path_text_locked(const Path& path, const Path& root, std::span<char> buffer, bool* reachable) {
  char* const limit = buffer.data();
  char* const end = limit + buffer.size();
  char* begin = end;
  const Mount* mount = path.mount.get();
  const Dentry* dentry = path.dentry.get();
  *reachable = false;
  for (;;) {
    const Dentry* wanted = mount == root.mount.get() ? root.dentry.get() : nullptr;
    const Dentry* stopped = nullptr;
    begin = dentries_.prepend_path(*dentry, wanted, mount ? mount->root_.get() : nullptr, limit, begin, &stopped);
    if (!begin) return error(ENAMETOOLONG);
    if (wanted && stopped == wanted) {
      *reachable = true;
      break;
    }
    if (!mount || stopped != mount->root_.get() || !mount->attached_ || !mount->parent_) break;
    dentry = mount->mountpoint_.get();
    mount = mount->parent_.get();
  }
  if (begin == end) {
    if (begin == limit) return error(ENAMETOOLONG);
    *--begin = '/';
  }
  return std::string_view(begin, static_cast<size_t>(end - begin));
}

bool MountTree::describe_locked(Mount& mount, const Path& root, std::span<char> scratch, std::string_view* top, std::string_view* place) {
  const size_t half = scratch.size() / 2;
  bool reachable = false;
  const Path at(RefPtr<Mount>(mount), mount.root_);
  // The place of a mount's root: seen through the mount itself.
  Result<std::string_view> text = path_text_locked(at, root, scratch.first(half), &reachable);
  if (!text.ok() || !reachable) return false;
  *place = text.take();
  char* const begin = scratch.data() + half;
  char* const end = scratch.data() + scratch.size();
  const Dentry* stopped;
  char* first = dentries_.prepend_path(*mount.root_, nullptr, nullptr, begin, end, &stopped);
  if (!first) return false;
  if (first == end) *--first = '/';
  *top = {first, static_cast<size_t>(end - first)};
  return true;
}

bool MountTree::is_at_or_below(const Path& path, const Path& ancestor) {
  MutexLock lock(mutex_);
  const Mount* mount = path.mount.get();
  const Dentry* dentry = path.dentry.get();
  while (mount != ancestor.mount.get()) {
    if (!mount->attached_ || !mount->parent_) return false;
    dentry = mount->mountpoint_.get();
    mount = mount->parent_.get();
  }
  return dentries_.is_at_or_below(*dentry, *ancestor.dentry);
}

Result<void> MountTree::superblocks(Vector<RefPtr<Superblock>>& into) {
  MutexLock lock(mutex_);
  for (Mount& mount : list_) {
    bool seen = false;
    for (const RefPtr<Superblock>& known : into) seen |= known == mount.superblock_;
    if (!seen) TRY(into.push_back(mount.superblock_));
  }
  return {};
}

}  // namespace umk::vfs

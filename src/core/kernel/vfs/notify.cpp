// The marks of watched inodes: where events come in.
#include "core/kernel/vfs/notify.h"

#include <array>

#include "core/abi/inotify.h"
#include "core/kernel/vfs/dentry.h"
#include "core/kernel/vfs/inotify.h"

namespace umk::vfs {

using namespace notify_bits;

Watch::Watch(RefPtr<InotifyQueue> queue, RefPtr<NotifyMarks> marks, int32_t number, uint32_t mask)
    : queue(std::move(queue)), marks(std::move(marks)), number(number), mask(mask) {}

Watch::~Watch() = default;

RefPtr<Watch> NotifyMarks::find(const InotifyQueue& queue) {
  MutexLock lock(mutex_);
  for (Watch& watch : watches_)
    if (watch.queue == &queue) return RefPtr<Watch>(watch);
  return nullptr;
}

void NotifyMarks::add(Watch& watch) {
  MutexLock lock(mutex_);
  if (watches_.empty()) superblock_.watched_inodes.fetch_add(1, std::memory_order_relaxed);
  watch.add_reference();
  watches_.push_back(watch);
}

void NotifyMarks::unlink_locked(Watch& watch) {
  watches_.erase(watches_.iterator_to(watch));
  if (watches_.empty()) superblock_.watched_inodes.fetch_sub(1, std::memory_order_relaxed);
}

void NotifyMarks::remove(Watch& watch) {
  RefPtr<Watch> last;
  MutexLock lock(mutex_);
  if (!watch.ListHook<WatchInodeTag>::is_linked()) return;
  unlink_locked(watch);
  last = RefPtr<Watch>::adopt(&watch);
}

void NotifyMarks::deliver_locked(uint32_t mask, std::string_view name, uint32_t cookie, bool is_unlinked) {
  for (auto next = watches_.begin(); next != watches_.end();) {
    Watch& watch = *next++;
    const uint32_t wanted = watch.mask.load(std::memory_order_relaxed);
    if (!(mask & wanted & inotify_flags::kAllEvents)) continue;
    if (is_unlinked && (wanted & inotify_flags::kExcludeUnlinked)) continue;
    watch.queue->push(watch.number, mask, cookie, name);
    if (!(wanted & inotify_flags::kOneShot)) continue;
    // The watch is used up. The queue's reference goes with forget; the list's is ours.
    RefPtr<Watch> used = RefPtr<Watch>::adopt(&watch);
    unlink_locked(watch);
    used->queue->forget(*used);
  }
}

void NotifyMarks::deliver(uint32_t mask, std::string_view name, uint32_t cookie, bool is_unlinked) {
  MutexLock lock(mutex_);
  deliver_locked(mask, name, cookie, is_unlinked);
}

void NotifyMarks::end(uint32_t mask) {
  MutexLock lock(mutex_);
  if (mask) deliver_locked(mask, {}, 0, false);
  while (!watches_.empty()) {
    RefPtr<Watch> watch = RefPtr<Watch>::adopt(&watches_.front());
    unlink_locked(*watch);
    if (mask & kUnmount) watch->queue->push(watch->number, kUnmount, 0, {});
    watch->queue->forget(*watch);
  }
}

// --- what the VFS calls

namespace {

// An event on the file itself, without a name. Whoever watches a directory is not told that it is one when it moves or goes.
void deliver_to_self(Inode& inode, uint32_t mask) {
  NotifyMarks* marks = inode.notify_marks.load(std::memory_order_acquire);
  if (!marks) return;
  if (inode.is_directory() && !(mask & (kMoveSelf | kDeleteSelf))) mask |= kIsDirectory;
  marks->deliver(mask, {}, 0, false);
}

}  // namespace

void deliver_file_event(Dentry& dentry, uint32_t mask) {
  Inode& inode = *dentry.inode();
  RefPtr<Dentry> parent = dentry.cache().parent_of(dentry);
  if (parent && parent != &dentry && parent->inode()) {
    if (NotifyMarks* marks = parent->inode()->notify_marks.load(std::memory_order_acquire)) {
      std::array<char, Dentry::kNameLimit> buffer;
      const std::string_view name = dentry.cache().copy_name(dentry, buffer);
      marks->deliver(mask | (inode.is_directory() ? kIsDirectory : 0), name, 0, dentry.is_unhashed());
    }
  }
  deliver_to_self(inode, mask);
}

void deliver_entry_event(Inode& directory, uint32_t mask, std::string_view name, uint32_t cookie) {
  if (NotifyMarks* marks = directory.notify_marks.load(std::memory_order_acquire)) marks->deliver(mask, name, cookie, false);
}

void deliver_inode_event(Inode& inode, uint32_t mask) { deliver_to_self(inode, mask); }

void release_notify_marks(Inode& inode) {
  RefPtr<NotifyMarks> marks = RefPtr<NotifyMarks>::adopt(inode.notify_marks.exchange(nullptr, std::memory_order_acq_rel));
  if (!marks) return;
  const bool is_deleted = inode.links() == 0 || inode.is_removed();
  const bool is_unmounted = inode.superblock().active_mounts.load(std::memory_order_relaxed) == 0;
  marks->end(is_deleted ? kDeleteSelf : is_unmounted ? kUnmount : 0);
}

uint32_t next_notify_cookie(Superblock& superblock) { return superblock.last_notify_cookie.fetch_add(1, std::memory_order_relaxed) + 1; }

}  // namespace umk::vfs

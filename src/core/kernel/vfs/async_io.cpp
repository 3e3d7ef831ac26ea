#include "core/kernel/vfs/async_io.h"

namespace umk::vfs {

void AsyncList::notify_members(AsyncEvent event) {
  MutexLock lock(mutex_);
  for (Member& member : members_) member.io->tell(event);
}

void AsyncList::add(Member& member) {
  MutexLock lock(mutex_);
  if (member.is_linked()) return;
  members_.push_front(member);  // who came last is told first, as on Linux
  count_.fetch_add(1, std::memory_order_relaxed);
}

void AsyncList::remove(Member& member) {
  MutexLock lock(mutex_);
  if (!member.is_linked()) return;
  member.unlink();
  count_.fetch_sub(1, std::memory_order_relaxed);
}

void AsyncList::clear() {
  MutexLock lock(mutex_);
  members_.clear();
  count_.store(0, std::memory_order_relaxed);
}

AsyncOwner AsyncIo::owner() {
  MutexLock lock(owner_mutex_);
  return owner_;
}

void AsyncIo::set_owner(const AsyncOwner& owner) {
  MutexLock lock(owner_mutex_);
  owner_ = owner;
}

void AsyncIo::set_first_owner(const AsyncOwner& owner) {
  MutexLock lock(owner_mutex_);
  if (owner_.kind == AsyncOwner::Kind::Nobody) owner_ = owner;
}

void AsyncIo::enter(const AsyncLists& lists, int fd) {
  fd_.store(fd, std::memory_order_relaxed);
  if (lists.input) lists.input->add(places_[0]);
  if (lists.output) lists.output->add(places_[1]);
}

void AsyncIo::leave(const AsyncLists& lists) {
  if (lists.input) lists.input->remove(places_[0]);
  if (lists.output) lists.output->remove(places_[1]);
}

void AsyncIo::tell(AsyncEvent event) {
  const AsyncOwner to = owner();
  if (to.kind != AsyncOwner::Kind::Nobody) sender_.send(to, signal(), fd_.load(std::memory_order_relaxed), event);
}

}  // namespace umk::vfs

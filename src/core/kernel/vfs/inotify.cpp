#include "core/kernel/vfs/inotify.h"

#include <algorithm>

#include "core/abi/inotify.h"

namespace umk::vfs {

using namespace notify_bits;
namespace flags = inotify_flags;

// --- the queue

size_t InotifyQueue::Event::bytes() const {
  return sizeof(KernelInotifyEvent) + (name.empty() ? 0 : round_up(name.size() + 1, sizeof(KernelInotifyEvent)));
}

InotifyQueue::~InotifyQueue() {
  while (!events_.empty()) {
    Event& event = events_.front();
    events_.pop_front();
    delete &event;
  }
}

void InotifyQueue::push(int32_t watch, uint32_t mask, uint32_t cookie, std::string_view name) {
  {
    MutexLock lock(mutex_);
    // inotify(7): an event that equals the one before it, which was not read yet, is not queued again.
    if (!events_.empty()) {
      const Event& last = events_.back();
      if (last.watch == watch && last.mask == mask && last.cookie == cookie && last.name == name) return;
    }
    const bool overflows = event_count_ >= kMaximumEvents;
    if (overflows && overflowed_) return;
    Event* event = new (std::nothrow) Event;
    // Without memory the event is lost, as in a full queue; its reader is told when there is memory again.
    if (!event) return;
    event->watch = overflows ? -1 : watch;
    event->mask = overflows ? flags::kQueueOverflow : mask;
    event->cookie = overflows ? 0 : cookie;
    if (!overflows)
      if (Result<String> copy = String::from(name); copy.ok()) event->name = copy.take();
    overflowed_ = overflows;
    events_.push_back(*event);
    ++event_count_;
  }
  readable_.wake(poll_bits::kIn | poll_bits::kReadNormal);
  told_.notify(AsyncEvent::Input);
}

Result<void> InotifyQueue::put(const Event& event, UserOutBuffer& buffer) {
  const KernelInotifyEvent header{event.watch, event.mask, event.cookie, static_cast<uint32_t>(event.bytes() - sizeof(KernelInotifyEvent))};
  if (TRY(buffer.put(std::as_bytes(std::span(&header, 1)))) < sizeof header) return error(EFAULT);
  if (header.name_length == 0) return {};
  if (TRY(buffer.put(std::as_bytes(std::span(event.name.view().data(), event.name.size())))) < event.name.size()) return error(EFAULT);
  const size_t padding = header.name_length - event.name.size();
  if (TRY(buffer.put_zeroes(padding)) < padding) return error(EFAULT);
  return {};
}

Result<size_t> InotifyQueue::read(UserOutBuffer& buffer, bool nonblocking) {
  MutexLock lock(mutex_);
  while (events_.empty()) {
    if (nonblocking) return error(EAGAIN);
    TRY(readable_.wait(mutex_));
  }
  size_t total = 0;
  while (!events_.empty()) {
    Event& event = events_.front();
    const size_t bytes = event.bytes();
    if (bytes > buffer.remaining()) {
      if (total == 0) return error(EINVAL);
      break;
    }
    if (Result<void> written = put(event, buffer); !written.ok()) {
      if (total == 0) return written.failure();
      break;
    }
    total += bytes;
    events_.pop_front();
    --event_count_;
    if (event.mask == flags::kQueueOverflow) overflowed_ = false;
    delete &event;
  }
  return total;
}

uint32_t InotifyQueue::poll(PollTable* table) {
  if (table) table->watch(readable_);
  MutexLock lock(mutex_);
  return events_.empty() ? 0 : poll_bits::kIn | poll_bits::kReadNormal;
}

uint64_t InotifyQueue::readable_bytes() {
  MutexLock lock(mutex_);
  uint64_t bytes = 0;
  for (const Event& event : events_) bytes += event.bytes();
  return bytes;
}

// --- its watches

Result<RefPtr<Watch>> InotifyQueue::make_watch(RefPtr<NotifyMarks> marks, uint32_t mask) {
  MutexLock lock(mutex_);
  if (watch_count_ >= kMaximumWatches || last_number_ == INT32_MAX) return error(ENOSPC);
  RefPtr<Watch> watch = TRY(make_ref<Watch>(RefPtr<InotifyQueue>(this), std::move(marks), last_number_ + 1, mask));
  ++last_number_;
  watch->add_reference();
  watches_.insert(*watch);
  ++watch_count_;
  return watch;
}

RefPtr<Watch> InotifyQueue::find(int32_t number) {
  MutexLock lock(mutex_);
  auto found = watches_.find(number);
  return found == watches_.end() ? nullptr : RefPtr<Watch>(*found);
}

bool InotifyQueue::forget(Watch& watch) {
  // The caller has a reference of its own, so the table's goes without danger here.
  {
    MutexLock lock(mutex_);
    if (!watch.TreeHook<WatchNumberTag>::is_linked()) return false;
    watches_.erase(watches_.iterator_to(watch));
    --watch_count_;
  }
  watch.drop_reference();
  push(watch.number, kIgnored, 0, {});
  return true;
}

void InotifyQueue::close() {
  for (;;) {
    RefPtr<Watch> watch;
    {
      MutexLock lock(mutex_);
      if (watches_.empty()) return;
      watch = RefPtr<Watch>::adopt(&*watches_.begin());
      watches_.erase(watches_.begin());
      --watch_count_;
    }
    watch->marks->remove(*watch);
  }
}

void InotifyQueue::describe(TextSink& sink) {
  MutexLock lock(mutex_);
  for (const Watch& watch : watches_) format(sink, "inotify wd:{:x} mask:{:x}\n", watch.number, watch.mask.load(std::memory_order_relaxed) & flags::kAllEvents);
}

// --- the file

Result<RefPtr<InotifyFile>> InotifyFile::create(RefPtr<Inode> inode, uint32_t file_flags) {
  return make_ref<InotifyFile>(std::move(inode), TRY(make_ref<InotifyQueue>()), file_flags);
}

void InotifyFile::last_reference_dropped() {
  queue_->close();
  OpenFile::last_reference_dropped();
}

namespace {

// The marks of an inode, made on first use. The inode keeps one reference.
Result<RefPtr<NotifyMarks>> marks_of(Inode& inode) {
  NotifyMarks* marks = inode.notify_marks.load(std::memory_order_acquire);
  if (marks) return RefPtr<NotifyMarks>(marks);
  RefPtr<NotifyMarks> made = TRY(make_ref<NotifyMarks>(inode.superblock()));
  if (!inode.notify_marks.compare_exchange_strong(marks, made.get(), std::memory_order_acq_rel)) return RefPtr<NotifyMarks>(marks);
  made->add_reference();
  return made;
}

}  // namespace

Result<int32_t> InotifyFile::add_watch(Inode& watched, uint32_t mask) {
  constexpr uint32_t kKept = flags::kAllEvents | flags::kExcludeUnlinked | flags::kOneShot;
  MutexLock lock(changing_);
  RefPtr<NotifyMarks> marks = TRY(marks_of(watched));
  if (RefPtr<Watch> known = marks->find(*queue_)) {
    if (mask & flags::kMaskCreate) return error(EEXIST);
    const uint32_t old = (mask & flags::kMaskAdd) ? known->mask.load(std::memory_order_relaxed) : 0;
    known->mask.store(old | (mask & kKept), std::memory_order_relaxed);
    return known->number;
  }
  RefPtr<Watch> watch = TRY(queue_->make_watch(marks, mask & kKept));
  marks->add(*watch);
  return watch->number;
}

Result<void> InotifyFile::remove_watch(int32_t number) {
  MutexLock lock(changing_);
  RefPtr<Watch> watch = queue_->find(number);
  if (!watch || !queue_->forget(*watch)) return error(EINVAL);
  watch->marks->remove(*watch);
  return {};
}

}  // namespace umk::vfs

#include "core/kernel/vfs/epoll.h"

#include "core/base/make.h"
#include "core/kernel/vfs/epoll_item.h"
#include "core/kernel/vfs/leases.h"

namespace umk::vfs {

using namespace poll_bits;
using namespace epoll_bits;

// --- items

bool EpollItem::Hook::on_wake(uint32_t events, sync::WakeBatch& batch) {
  const uint32_t interest = item.wanted.load(std::memory_order_relaxed) & ~kPrivate;
  if (!(events & interest)) return false;
  EpollFile& epoll = item.epoll;
  epoll.mark_ready(item, false);
  const bool somebody_sleeps = epoll.sleepers_.has_waiters();
  epoll.sleepers_.wake(kIn, batch);
  epoll.pollers_.wake(kIn | kReadNormal, batch);
  // An exclusive wake-up is used up only when it reached a thread.
  return somebody_sleeps;
}

void EpollItem::Registration::watch(WaitQueue& queue) {
  Result<std::unique_ptr<Hook>> hook = make_unique<Hook>(item_, queue);
  if (!hook.ok()) {
    out_of_memory = true;
    return;
  }
  Hook& hung = *hook.value();
  if (!item_.hooks_.push_back(hook.take()).ok()) {
    out_of_memory = true;
    return;
  }
  queue.add(hung);
}

void EpollItem::leave_queues() {
  for (std::unique_ptr<Hook>& hook : hooks_) hook->queue.remove(*hook);
  hooks_.clear();
}

// --- the ready list

bool EpollFile::mark_ready(EpollItem& item, bool in_front) {
  MutexLock lock(ready_mutex_);
  if (item.is_ready) return false;
  item.is_ready = true;
  ++ready_count_;
  if (in_front) {
    ready_.push_front(item);
  } else {
    ready_.push_back(item);
  }
  return true;
}

EpollItem* EpollFile::take_ready() {
  MutexLock lock(ready_mutex_);
  if (ready_.empty()) return nullptr;
  EpollItem& item = ready_.front();
  ready_.pop_front();
  item.is_ready = false;
  --ready_count_;
  return &item;
}

void EpollFile::make_ready(EpollItem& item) {
  if (!mark_ready(item, false)) return;
  sleepers_.wake(kIn);
  pollers_.wake(kIn | kReadNormal);
}

Result<size_t> EpollFile::collect(EpollSink& sink, size_t limit) {
  size_t candidates;
  {
    MutexLock lock(ready_mutex_);
    candidates = ready_count_;
  }
  size_t reported = 0;
  // Items that come back to the list during the walk are not looked at again.
  for (; candidates > 0 && reported < limit; --candidates) {
    EpollItem* item = take_ready();
    if (!item) break;
    const uint32_t wanted = item->wanted.load(std::memory_order_relaxed);
    const uint32_t events = item->file().poll(nullptr) & wanted & ~kPrivate;
    if (events == 0) continue;
    if (Result<void> put = sink.put(events, item->data); !put.ok()) {
      mark_ready(*item, true);
      if (reported > 0) break;
      return put.failure();
    }
    ++reported;
    if (wanted & kOneShot) {
      item->wanted.store(wanted & kPrivate, std::memory_order_relaxed);
    } else if (!(wanted & kEdge)) {
      mark_ready(*item, false);
    }
  }
  return reported;
}

Result<size_t> EpollFile::wait(EpollSink& sink, size_t limit, Deadline deadline) {
  bool timed_out = deadline.monotonic_ns == 0;
  for (;;) {
    {
      MutexLock lock(mutex_);
      const size_t reported = TRY(collect(sink, limit));
      if (reported > 0) {
        bool more_ready;
        {
          MutexLock ready_lock(ready_mutex_);
          more_ready = ready_count_ > 0;
        }
        // Sleepers are woken one at a time: pass it on when something is left.
        if (more_ready) sleepers_.wake(kIn);
        return reported;
      }
    }
    if (timed_out) return size_t{0};

    sync::ContextWaiter waiter(true);
    sync::prepare_to_park();
    sleepers_.add(waiter);
    bool has_ready;
    {
      MutexLock lock(ready_mutex_);
      has_ready = ready_count_ > 0;
    }
    Result<void> woken;
    if (!has_ready) woken = sync::park(Sleep::Interruptible, deadline);
    sleepers_.remove(waiter);
    if (woken.ok()) continue;
    if (waiter.was_woken()) sleepers_.wake(kIn);
    if (woken.code() != ETIMEDOUT) return woken.failure();
    timed_out = true;
  }
}

uint32_t EpollFile::poll(PollTable* table) {
  if (table) table->watch(pollers_);
  MutexLock lock(mutex_);
  // Items on the list may be stale; the first that is not answers the question.
  size_t candidates;
  {
    MutexLock ready_lock(ready_mutex_);
    candidates = ready_count_;
  }
  for (; candidates > 0; --candidates) {
    EpollItem* item = take_ready();
    if (!item) break;
    const uint32_t wanted = item->wanted.load(std::memory_order_relaxed) & ~kPrivate;
    if (item->file().poll(nullptr) & wanted) {
      mark_ready(*item, true);
      return kIn | kReadNormal;
    }
  }
  return 0;
}

// --- changing the set

EpollFile::EpollFile(RefPtr<AnonymousInode> inode, AnonymousSuperblock& superblock)
    : OpenFile(std::move(inode), open_flags::kReadWrite), superblock_(superblock) {}

EpollFile::~EpollFile() = default;

Result<RefPtr<EpollFile>> EpollFile::create(RefPtr<AnonymousInode> inode) {
  auto& superblock = static_cast<AnonymousSuperblock&>(inode->superblock());
  return make_ref<EpollFile>(std::move(inode), superblock);
}

EpollItem* EpollFile::find(int fd, OpenFile& file) {
  auto found = items_.find(Key{&file, fd});
  return found == items_.end() ? nullptr : &*found;
}

Result<void> EpollFile::insert(int fd, OpenFile& file, uint32_t events, uint64_t data) {
  EpollWatchers* watchers = file.epoll_watchers.load(std::memory_order_acquire);
  if (!watchers) {
    std::unique_ptr<EpollWatchers> made = TRY(make_unique<EpollWatchers>());
    if (file.epoll_watchers.compare_exchange_strong(watchers, made.get(), std::memory_order_acq_rel)) watchers = made.release();
  }

  MutexLock lock(mutex_);
  if (find(fd, file)) return error(EEXIST);
  EpollItem* item = TRY(make_unique<EpollItem>(*this, file, fd, events, data)).release();
  items_.insert(*item);
  {
    MutexLock watchers_lock(watchers->mutex);
    watchers->items.push_back(*item);
  }
  EpollItem::Registration registration(*item);
  const uint32_t bits = file.poll(&registration);
  if (registration.out_of_memory) {
    remove_item(*item);
    return error(ENOMEM);
  }
  if (bits & events & ~kPrivate) make_ready(*item);
  return {};
}

Result<void> EpollFile::modify(int fd, OpenFile& file, uint32_t events, uint64_t data) {
  if (&file == this) return error(EINVAL);
  if (!file.is_pollable()) return error(EPERM);
  if (events & kExclusive) return error(EINVAL);
  events = (events & ~kWakeUp) | kError | kHangUp;
  MutexLock lock(mutex_);
  EpollItem* item = find(fd, file);
  if (!item) return error(ENOENT);
  if (item->is_exclusive) return error(EINVAL);
  item->data = data;
  // A wake-up that comes now sees either interest; one that was missed shows in the poll below.
  item->wanted.store(events, std::memory_order_seq_cst);
  if (file.poll(nullptr) & events & ~kPrivate) make_ready(*item);
  return {};
}

Result<void> EpollFile::remove(int fd, OpenFile& file) {
  if (&file == this) return error(EINVAL);
  if (!file.is_pollable()) return error(EPERM);
  MutexLock lock(mutex_);
  EpollItem* item = find(fd, file);
  if (!item) return error(ENOENT);
  remove_item(*item);
  return {};
}

void EpollFile::remove_item(EpollItem& item) {
  item.leave_queues();
  {
    MutexLock lock(ready_mutex_);
    if (item.is_ready) {
      ready_.erase(ready_.iterator_to(item));
      --ready_count_;
    }
  }
  items_.erase(items_.iterator_to(item));
  EpollWatchers& watchers = *item.file().epoll_watchers.load(std::memory_order_acquire);
  {
    // From the unlock on the file may die: its last reference waits for an empty list.
    MutexLock lock(watchers.mutex);
    watchers.items.erase(watchers.items.iterator_to(item));
    watchers.changed.wake_all();
  }
  delete &item;
}

void EpollFile::remove_items_of(OpenFile& file) {
  MutexLock lock(mutex_);
  for (;;) {
    auto item = items_.lower_bound(Key{&file, INT32_MIN});
    if (item == items_.end() || item->key.file != &file) return;
    remove_item(*item);
  }
}

void EpollFile::last_reference_dropped() {
  {
    MutexLock lock(mutex_);
    while (!items_.empty()) remove_item(*items_.begin());
  }
  OpenFile::last_reference_dropped();
}

void leave_epolls(OpenFile& file, EpollWatchers& watchers) {
  for (;;) {
    RefPtr<EpollFile> epoll;
    {
      MutexLock lock(watchers.mutex);
      if (watchers.items.empty()) return;
      EpollFile& first = watchers.items.front().epoll;
      if (first.try_add_reference()) {
        epoll = RefPtr<EpollFile>::adopt(&first);
      } else {
        // Its own last reference is taking the item off. This cannot be interrupted, and it comes soon.
        (void)watchers.changed.wait(watchers.mutex, Sleep::Uninterruptible);
        continue;
      }
    }
    epoll->remove_items_of(file);
  }
}

void OpenFile::last_reference_dropped() {
  if (EpollWatchers* watchers = epoll_watchers.load(std::memory_order_acquire)) {
    leave_epolls(*this, *watchers);
    delete watchers;
  }
  if (inode_->leases.load()) release_lease_of_file(*inode_, *this);
  if (AsyncIo* io = async()) {
    io->leave(async_lists());
    delete io;
  }
  delete this;
}

void EpollFile::describe_details(TextSink& sink) {
  MutexLock lock(mutex_);
  for (const EpollItem& item : items_) {
    Inode& inode = item.file().inode();
    format(sink, "tfd: {:8} events: {:8x} data: {:16x}  pos:{} ino:{:x} sdev:{:x}\n", item.key.fd, item.wanted.load(std::memory_order_relaxed), item.data,
           item.file().position(), inode.number(), inode.superblock().device().encoded());
  }
}

}  // namespace umk::vfs

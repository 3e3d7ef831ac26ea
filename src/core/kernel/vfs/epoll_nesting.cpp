// Epoll instances in epoll instances: what may be added, and the search for loops and for chains that are too long.
#include "core/base/make.h"
#include "core/kernel/vfs/epoll.h"
#include "core/kernel/vfs/epoll_item.h"

namespace umk::vfs {

using namespace poll_bits;
using namespace epoll_bits;

Result<void> EpollFile::add(int fd, OpenFile& file, uint32_t events, uint64_t data) {
  if (&file == this) return error(EINVAL);
  if (!file.is_pollable()) return error(EPERM);
  const bool is_epoll = file.kind() == FileKind::Epoll;
  if (events & kExclusive) {
    // epoll_ctl(2): exclusive wake-ups go with few other flags, and not with nesting.
    constexpr uint32_t kAllowed = kIn | kOut | kError | kHangUp | kWakeUp | kEdge | kExclusive;
    if (is_epoll || (events & ~kAllowed)) return error(EINVAL);
  }
  // Without power management there is nothing to keep awake: the flag is dropped, as for callers without CAP_BLOCK_SUSPEND.
  events = (events & ~kWakeUp) | kError | kHangUp;
  if (!is_epoll) return insert(fd, file, events, data);

  MutexLock nesting(superblock_.epoll_nesting_mutex);
  const int below = TRY(static_cast<EpollFile&>(file).depth_below(*this, ++superblock_.epoll_search_stamp));
  const int above = TRY(height_above(++superblock_.epoll_search_stamp));
  if (below + above > kMaximumNesting) return error(ELOOP);
  return insert(fd, file, events, data);
}

// How many instances the longest chain downwards from here has, this one included. Each is visited once a search.
Result<int> EpollFile::depth_below(const EpollFile& forbidden, uint64_t stamp) {
  if (this == &forbidden) return error(ELOOP);
  if (search_stamp_ == stamp) return search_result_;
  int deepest = 0;
  {
    MutexLock lock(mutex_);
    for (EpollItem& item : items_) {
      if (item.file().kind() != FileKind::Epoll) continue;
      const int depth = TRY(static_cast<EpollFile&>(item.file()).depth_below(forbidden, stamp));
      if (depth > deepest) deepest = depth;
    }
  }
  search_stamp_ = stamp;
  search_result_ = deepest + 1;
  return search_result_;
}

// How many instances the longest chain upwards from here has, this one included.
Result<int> EpollFile::height_above(uint64_t stamp) {
  if (search_stamp_ == stamp) return search_result_;
  int highest = 0;
  if (EpollWatchers* watchers = epoll_watchers.load(std::memory_order_acquire)) {
    Vector<RefPtr<EpollFile>> parents;
    {
      MutexLock lock(watchers->mutex);
      for (EpollItem& item : watchers->items)
        if (item.epoll.try_add_reference()) TRY(parents.push_back(RefPtr<EpollFile>::adopt(&item.epoll)));
    }
    for (RefPtr<EpollFile>& parent : parents) {
      const int height = TRY(parent->height_above(stamp));
      if (height > highest) highest = height;
    }
  }
  search_stamp_ = stamp;
  search_result_ = highest + 1;
  return search_result_;
}

}  // namespace umk::vfs

// Epoll: a set of files and those of them that are ready. epoll(7).
//
// An item watches one (descriptor, open file) pair. It hangs waiters on the file's queues; a wake-up puts the item on the ready list, and epoll_wait polls the
// items of that list only. A level-triggered item stays on the list until a look finds it not ready.
//
// Life: items hold no reference to their file. The last reference of a file takes it out of all instances first (OpenFile::epoll_watchers); the last reference of
// an instance takes its items off their files.
//
// Locks, in order: the nesting mutex of the pseudo filesystem (only to put one instance into another), `mutex_` of an instance (parents before children; held
// while files are polled), EpollWatchers::mutex of a file; `ready_mutex_` is innermost, taken by wake-ups.
#pragma once

#include <atomic>

#include "core/base/list.h"
#include "core/kernel/vfs/anonymous_inode.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::vfs {

namespace epoll_bits {
inline constexpr uint32_t kExclusive = 1u << 28, kWakeUp = 1u << 29, kOneShot = 1u << 30, kEdge = 1u << 31;
inline constexpr uint32_t kPrivate = kExclusive | kWakeUp | kOneShot | kEdge;
}  // namespace epoll_bits

/// Receives what epoll_wait reports; a failure (EFAULT) ends the report and leaves the item ready.
class EpollSink {
 public:
  virtual Result<void> put(uint32_t events, uint64_t data) = 0;

 protected:
  ~EpollSink() = default;
};

class EpollItem;
struct EpollTreeTag;
struct EpollReadyTag;
struct EpollWatchTag;

/// The items that watch one file; made by the first.
class EpollWatchers {
 public:
  Mutex mutex{LockRank::None};
  List<EpollItem, EpollWatchTag> items GUARDED_BY(mutex);
  /// An instance that is being destroyed took its items off.
  WaitQueue changed;
};

class EpollFile final : public OpenFile {
 public:
  /// `inode` belongs to the pseudo filesystem of event files.
  static Result<RefPtr<EpollFile>> create(RefPtr<AnonymousInode> inode);

  /// epoll_ctl(2). EEXIST, ENOENT, EINVAL, ELOOP, EPERM, ENOMEM.
  Result<void> add(int fd, OpenFile& file, uint32_t events, uint64_t data);
  Result<void> modify(int fd, OpenFile& file, uint32_t events, uint64_t data);
  Result<void> remove(int fd, OpenFile& file);
  /// epoll_wait(2): reports up to `limit` items; 0 at the deadline. ERESTARTSYS.
  Result<size_t> wait(EpollSink& sink, size_t limit, Deadline deadline);

  FileKind kind() const override { return FileKind::Epoll; }
  uint32_t poll(PollTable* table) override;
  Result<String> describe() override { return String::from("anon_inode:[eventpoll]"); }
  void describe_details(TextSink& sink) override;

  EpollFile(RefPtr<AnonymousInode> inode, AnonymousSuperblock& superblock);
  ~EpollFile() override;

 protected:
  void last_reference_dropped() override;

 private:
  friend class EpollItem;
  friend void leave_epolls(OpenFile& file, EpollWatchers& watchers);

  struct Key {
    OpenFile* file;
    int fd;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct KeyOfItem {
    using type = Key;
    const Key& operator()(const EpollItem& item) const;
  };

  EpollItem* find(int fd, OpenFile& file) REQUIRES(mutex_);
  Result<void> insert(int fd, OpenFile& file, uint32_t events, uint64_t data);
  void remove_item(EpollItem& item) REQUIRES(mutex_);
  void remove_items_of(OpenFile& file);
  /// Puts an item that was found ready on the list and tells who waits.
  void make_ready(EpollItem& item);
  bool mark_ready(EpollItem& item, bool in_front);
  EpollItem* take_ready();
  Result<size_t> collect(EpollSink& sink, size_t limit) REQUIRES(mutex_);

  // Loops and depth of nesting; under the nesting mutex.
  static constexpr int kMaximumNesting = 5;
  Result<int> depth_below(const EpollFile& forbidden, uint64_t stamp);
  Result<int> height_above(uint64_t stamp);

  AnonymousSuperblock& superblock_;
  Mutex mutex_{LockRank::Epoll};
  Tree<EpollItem, KeyOfItem, EpollTreeTag> items_ GUARDED_BY(mutex_);

  Mutex ready_mutex_{LockRank::EpollReady};
  List<EpollItem, EpollReadyTag> ready_ GUARDED_BY(ready_mutex_);
  size_t ready_count_ GUARDED_BY(ready_mutex_) = 0;

  WaitQueue sleepers_;  // epoll_wait
  WaitQueue pollers_;   // poll and other instances

  uint64_t search_stamp_ = 0;  // of the last search that came by, and what it found; under the nesting mutex
  int search_result_ = 0;
};

/// Takes a file that goes away out of all instances.
void leave_epolls(OpenFile& file, EpollWatchers& watchers);

}  // namespace umk::vfs

// Inotify: watches on inodes, and the queue in which their owner reads what happened. inotify(7); notify.h says who reports what.
//
// Four objects: an InotifyFile is what a process holds; its InotifyQueue holds the events and the watches by number; a Watch joins a queue to the NotifyMarks of
// an inode. Queue, watch and marks are counted and refer to each other, so that the file can be closed while an inode dies: whoever takes a watch out of its
// queue's table ends it, and reports kIgnored.
//
// A watch does not keep its inode: it ends with it. A filesystem that lets go of inodes in use by nobody but watches (hostfs, under pressure) ends these too.
//
// Locks: marks, then queue.
#pragma once

#include "core/base/list.h"
#include "core/base/make.h"
#include "core/kernel/vfs/notify.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::vfs {

class InotifyQueue;
struct WatchInodeTag;
struct WatchNumberTag;

class Watch final : public RefCounted, public ListHook<WatchInodeTag>, public TreeHook<WatchNumberTag> {
 public:
  Watch(RefPtr<InotifyQueue> queue, RefPtr<NotifyMarks> marks, int32_t number, uint32_t mask);
  ~Watch() override;

  const RefPtr<InotifyQueue> queue;
  const RefPtr<NotifyMarks> marks;
  const int32_t number;
  std::atomic<uint32_t> mask;  // events and flags of inotify_add_watch
};

/// All watches on one inode; made by the first, and kept until the inode dies.
class NotifyMarks final : public RefCounted {
 public:
  explicit NotifyMarks(Superblock& superblock) : superblock_(superblock) {}

  /// The watch of `queue`, or null.
  RefPtr<Watch> find(const InotifyQueue& queue);
  void add(Watch& watch);
  void remove(Watch& watch);
  void deliver(uint32_t mask, std::string_view name, uint32_t cookie, bool is_unlinked);
  /// The inode dies: ends all watches, after the events in `mask`.
  void end(uint32_t mask);

 private:
  void deliver_locked(uint32_t mask, std::string_view name, uint32_t cookie, bool is_unlinked) REQUIRES(mutex_);
  void unlink_locked(Watch& watch) REQUIRES(mutex_);

  Superblock& superblock_;
  Mutex mutex_{LockRank::None};
  List<Watch, WatchInodeTag> watches_ GUARDED_BY(mutex_);  // each held by a reference
};

class InotifyQueue final : public RefCounted {
 public:
  static constexpr size_t kMaximumEvents = 16384;   // fs.inotify.max_queued_events
  static constexpr size_t kMaximumWatches = 65536;  // fs.inotify.max_user_watches, but for each instance

  ~InotifyQueue() override;

  Result<size_t> read(UserOutBuffer& buffer, bool nonblocking);
  uint32_t poll(PollTable* table);
  uint64_t readable_bytes();
  AsyncLists async_lists() { return {&told_, nullptr}; }
  void push(int32_t watch, uint32_t mask, uint32_t cookie, std::string_view name);

  /// Makes a watch with a new number. ENOSPC.
  Result<RefPtr<Watch>> make_watch(RefPtr<NotifyMarks> marks, uint32_t mask);
  RefPtr<Watch> find(int32_t number);
  /// Takes a watch out of the table and reports kIgnored; false when somebody else did.
  bool forget(Watch& watch);
  /// Ends all watches, without reports: the file is closed.
  void close();
  void describe(TextSink& sink);

 private:
  struct Event : ListHook<> {
    int32_t watch;
    uint32_t mask;
    uint32_t cookie;
    String name;
    size_t bytes() const;
  };
  struct NumberOf {
    using type = int32_t;
    const int32_t& operator()(const Watch& watch) const { return watch.number; }
  };
  static Result<void> put(const Event& event, UserOutBuffer& buffer);

  Mutex mutex_{LockRank::Pipe};
  List<Event> events_ GUARDED_BY(mutex_);
  size_t event_count_ GUARDED_BY(mutex_) = 0;
  bool overflowed_ GUARDED_BY(mutex_) = false;
  Tree<Watch, NumberOf, WatchNumberTag> watches_ GUARDED_BY(mutex_);  // each held by a reference
  size_t watch_count_ GUARDED_BY(mutex_) = 0;
  int32_t last_number_ GUARDED_BY(mutex_) = 0;
  WaitQueue readable_;
  AsyncList told_;
};

class InotifyFile final : public OpenFile {
 public:
  static Result<RefPtr<InotifyFile>> create(RefPtr<Inode> inode, uint32_t flags);

  /// inotify_add_watch(2) on an inode that the caller may read: the number of the new or changed watch. EINVAL, EEXIST, ENOSPC.
  Result<int32_t> add_watch(Inode& watched, uint32_t mask);
  /// inotify_rm_watch(2). EINVAL.
  Result<void> remove_watch(int32_t number);

  FileKind kind() const override { return FileKind::Inotify; }
  Result<size_t> read_at(uint64_t, UserOutBuffer& buffer) override { return queue_->read(buffer, is_nonblocking()); }
  uint32_t poll(PollTable* table) override { return queue_->poll(table); }
  Result<uint64_t> readable_bytes() override { return queue_->readable_bytes(); }
  AsyncLists async_lists() override { return queue_->async_lists(); }
  Result<String> describe() override { return String::from("anon_inode:inotify"); }
  void describe_details(TextSink& sink) override { queue_->describe(sink); }

  InotifyFile(RefPtr<Inode> inode, RefPtr<InotifyQueue> queue, uint32_t flags)
      : OpenFile(std::move(inode), open_flags::kReadOnly | (flags & open_flags::kNonBlock)), queue_(std::move(queue)) {}

 protected:
  void last_reference_dropped() override;

 private:
  RefPtr<InotifyQueue> queue_;
  Mutex changing_{LockRank::None};  // watches are added and removed one at a time
};

}  // namespace umk::vfs

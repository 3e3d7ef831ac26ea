// EpollItem: one watched file of one epoll instance. Private to epoll.
#pragma once

#include <memory>

#include "core/base/vector.h"
#include "core/kernel/vfs/epoll.h"

namespace umk::vfs {

class EpollItem final : public TreeHook<EpollTreeTag>, public ListHook<EpollReadyTag>, public ListHook<EpollWatchTag> {
 public:
  EpollItem(EpollFile& owner, OpenFile& watched, int fd, uint32_t events, uint64_t user_data)
      : epoll(owner), key{&watched, fd}, wanted(events), data(user_data), is_exclusive((events & epoll_bits::kExclusive) != 0) {}

  /// Hangs a waiter on each queue that announces changes of the file.
  class Registration final : public PollTable {
   public:
    explicit Registration(EpollItem& item) : item_(item) {}
    void watch(WaitQueue& queue) override;
    bool out_of_memory = false;

   private:
    EpollItem& item_;
  };

  void leave_queues();
  OpenFile& file() const { return *key.file; }

  EpollFile& epoll;
  const EpollFile::Key key;
  /// Bits of interest and private ones; only private ones are left after a one-shot report. Wake-ups read it.
  std::atomic<uint32_t> wanted;
  uint64_t data;
  const bool is_exclusive;
  bool is_ready = false;  // on the ready list; guarded by its mutex

 private:
  struct Hook final : sync::Waiter {
    Hook(EpollItem& owner, WaitQueue& watched) : Waiter(owner.is_exclusive), item(owner), queue(watched) {}
    bool on_wake(uint32_t events, sync::WakeBatch& batch) override;
    EpollItem& item;
    WaitQueue& queue;
  };

  Vector<std::unique_ptr<Hook>> hooks_;
};

inline const EpollFile::Key& EpollFile::KeyOfItem::operator()(const EpollItem& item) const { return item.key; }

}  // namespace umk::vfs

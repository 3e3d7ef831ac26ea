// TimerFile: a timer that is read. timerfd_create(2).
//
// An interval timer that ran out is not armed again before somebody asks: the number of expirations follows from the time that has passed, so an unread
// timer causes no further wake-ups.
//
// Locks: its mutex; the timer queue's is taken under it.
#pragma once

#include "core/abi/time.h"
#include "core/kernel/time/timer_queue.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::vfs {

class TimerFile final : public OpenFile, private time::Timer {
 public:
  struct Setting {
    uint64_t value_ns = 0;     // until the next expiration; 0: disarmed
    uint64_t interval_ns = 0;  // between expirations; 0: only one
  };

  TimerFile(RefPtr<Inode> inode, time::TimerQueue& queue, int clock_id, uint32_t flags)
      : OpenFile(std::move(inode), open_flags::kReadWrite | (flags & open_flags::kNonBlock)), queue_(queue), clock_id_(clock_id) {}

  /// timerfd_settime(2): returns what was set before. An absolute value is a moment of the file's clock.
  Result<Setting> set(Setting setting, bool is_absolute);
  /// timerfd_gettime(2).
  Setting get();

  FileKind kind() const override { return FileKind::Timer; }
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  uint32_t poll(PollTable* table) override;
  Result<String> describe() override { return String::from("anon_inode:[timerfd]"); }
  void describe_details(TextSink& sink) override;

 protected:
  void last_reference_dropped() override;

 private:
  void on_expired() override;
  /// Counts the expirations up to now and arms an interval timer again.
  void catch_up_locked() REQUIRES(mutex_);
  Setting get_locked() REQUIRES(mutex_);

  time::TimerQueue& queue_;
  const int clock_id_;
  Mutex mutex_{LockRank::Pipe};
  uint64_t next_ns_ GUARDED_BY(mutex_) = 0;  // of the monotonic clock; 0: disarmed
  uint64_t interval_ns_ GUARDED_BY(mutex_) = 0;
  uint64_t expirations_ GUARDED_BY(mutex_) = 0;  // not yet read
  bool has_expired_ GUARDED_BY(mutex_) = false;  // since the last catch-up
  WaitQueue expired_;
};

}  // namespace umk::vfs

// TtyLog: puts what happens on terminals into a ring, as records of tty_log_format, for the monitor to write on the host.
//
// Who uses a terminal waits when the ring is full, so that no record is lost to a burst; but not for a reader who takes nothing at all: after some
// seconds without progress records are dropped and counted until half of the ring is free. The kernel's log tells of that, and so does the record
// that comes next: a write to terminal 0, which is none, with the number of those that are missing.
//
// Life: made at boot when a log was asked for, and stays. Locks: a leaf of rank Log; nobody sleeps with it.
#pragma once

#include "core/drivers/console/console_ring.h"
#include "core/kernel/task/tty_recorder.h"
#include "core/sync/mutex.h"

namespace umk::console {

/// What core and monitor share. The monitor takes from `records`, and abandons it when it cannot write any more.
struct TtyLogBoard {
  TtyLogBoard() {}  // NOLINT: as that of ConsoleRing

  ConsoleRing records;
  /// The eventfd that wakes the monitor; -1: it looks by itself.
  std::atomic<int32_t> monitor_event{-1};
};

class TtyLog final : public TtyRecorder {
 public:
  static constexpr uint64_t kPatienceNs = 5'000'000'000;

  TtyLog(int monitor_event, uint64_t patience_ns) : patience_ns_(patience_ns) { board_.monitor_event.store(monitor_event); }
  virtual ~TtyLog() = default;
  TtyLogBoard& board() { return board_; }

  void wait_for_room() override { (void)wait_for(kQuickBytes); }
  void record_open(DeviceNumber terminal, DeviceNumber opener) override;
  void record_close(DeviceNumber terminal) override;
  void record_data(DeviceNumber terminal, Direction direction, std::span<const uint8_t> bytes) override;
  void record_exec(DeviceNumber terminal, const StringList& arguments) override;

 private:
  /// Data of one record; longer command lines are cut, and say so.
  static constexpr size_t kMostData = 16 * 1024;
  /// Room for some records of those that do not wait.
  static constexpr size_t kQuickBytes = 512;

  struct Record;
  void record(const Record& record, bool may_wait);
  bool try_put(const Record& record) EXCLUDES(mutex_);
  void put_locked(const Record& record) REQUIRES(mutex_);
  bool wait_for(size_t bytes);
  void lose();

  TtyLogBoard board_;
  const uint64_t patience_ns_;
  Mutex mutex_{LockRank::Log};
  uint64_t lost_ GUARDED_BY(mutex_) = 0;
  std::atomic<bool> is_stuck_{false};
};

}  // namespace umk::console

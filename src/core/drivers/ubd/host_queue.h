// HostQueue: transfers that are done beside each other while their submitters go on, by a thread of the monitor: what is read ahead, and big writes, which
// the host's disk is told to begin with as soon as they are done.
//
// The thread hands them to a ring of the host (host/io_ring.h). Where the host refuses one, or umk was told to do without, it does them by plain calls,
// one after the other. Until the thread runs nothing is queued (`is_running`), and submitters do their own transfers.
//
// Locks: `mutex_` (LockRank::Block) guards the queue. The ends of transfers are told with no lock held.
#pragma once

#include "core/base/list.h"
#include "core/drivers/ubd/transfer.h"
#include "core/host/io_ring.h"
#include "core/sync/wait_queue.h"

namespace umk::ubd {

class QueuedTransfer : public Transfer, public ListHook<> {
 public:
  explicit QueuedTransfer(const Transfer& transfer) : Transfer(transfer) {}
  /// Nothing is moved: the host's disk is to begin with what was written to these bytes of the file.
  bool is_write_out = false;
  /// It is over; 0 or an errno. May free the transfer. Must not wait for another one.
  virtual void on_done(int error_code) = 0;

 protected:
  ~QueuedTransfer() = default;
};

class HostQueue {
 public:
  enum class Ring { Allowed, Forbidden };
  explicit HostQueue(Ring ring) : ring_(ring) {}
  HostQueue(const HostQueue&) = delete;
  HostQueue& operator=(const HostQueue&) = delete;

  /// Body of the thread; returns after stop(), when nothing is left.
  void run();
  void stop();
  bool is_running() const { return is_running_.load(std::memory_order_acquire); }

  /// Only while it is running. The transfer is its owner's again with on_done, which may come before this returns.
  void submit(QueuedTransfer& transfer);

  struct Counters {
    std::atomic<uint64_t> by_ring{0}, by_calls{0};  // transfers
    std::atomic<uint64_t> write_outs{0};            // begun on the host's disk
  };
  Counters counters;

 private:
  static constexpr uint32_t kEntries = 64;

  void serve_by_ring(host::IoRing& ring, int event);
  void serve_by_calls();
  /// The next transfer; null when there is none and `may_sleep` is false, or when the queue was stopped.
  QueuedTransfer* take(bool may_sleep);
  static void complete(QueuedTransfer& transfer, int32_t result);

  const Ring ring_;
  std::atomic<bool> is_running_{false};
  Mutex mutex_{LockRank::Block};
  WaitQueue thread_;
  List<QueuedTransfer> waiting_ GUARDED_BY(mutex_);
  bool sleeps_in_ring_ GUARDED_BY(mutex_) = false;
  bool is_stopping_ GUARDED_BY(mutex_) = false;
  int event_ = -1;
};

}  // namespace umk::ubd

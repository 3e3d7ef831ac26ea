// Request: one transfer between memory and a block device, or a command to it. Batch: several that are waited for together.
//
// Life: the owner fills in a Request, hands it to BlockDevice::submit, and must keep it and its memory until `on_done` has been called, exactly once. That may
// happen before submit returns or later, in another context of the kernel. Requests that are under way at the same time may be done in any order; order is made
// by waiting, and durability by Operation::Flush: what was *done* before a flush was submitted is on the host's disk when the flush is done.
//
// Usual use, a write-back of many pages with one barrier at the end:
//
//   block::Batch batch;
//   for (...) { requests[i].segments = ...; batch.submit(device, requests[i]); }
//   TRY(batch.wait());       // the first error of any
//   TRY(device.flush());
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/list.h"
#include "core/base/result.h"
#include "core/sync/wait_queue.h"

namespace umk::block {

class BlockDevice;

enum class Operation : uint8_t {
  Read,
  Write,
  Flush,        // what was written is durable when it is done; nothing to do where nothing was written since the last one
  Discard,      // the contents do not matter any more; may read as anything, EOPNOTSUPP where the device cannot
  WriteZeroes,  // reads as zeroes afterwards; every device can
};
inline constexpr size_t kOperations = 5;

/// A piece of kernel memory. Has the layout of the host's struct iovec, so that a list of them can be handed to the host as it is.
struct Segment {
  std::byte* data = nullptr;
  size_t bytes = 0;
};

class Request {
 public:
  /// The most segments of one request: what the host takes at once (IOV_MAX).
  static constexpr size_t kMaximumSegments = 1024;

  Operation operation = Operation::Read;
  /// Write: durable by itself when it is done, as if a flush of this write alone followed.
  bool is_durable = false;
  /// Read: nobody waits for it yet. A driver that can does it later and returns at once.
  bool is_background = false;
  uint64_t offset = 0;                // bytes; of the device that it is submitted to
  uint64_t bytes = 0;                 // Read, Write: the sum of the segments, which submit() stores here
  std::span<const Segment> segments;  // Read, Write. A write leaves the memory alone

  /// 0, or the errno of the failure. Valid once done. A failed transfer may have been made in part.
  int error_code() const { return error_code_; }

  Request() = default;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  /// The transfer is over. Runs in any context of the kernel, with locks of the driver perhaps held: it must not sleep, submit, or take a lock that ranks
  /// before LockRank::Block. The request may be used again or freed from here on.
  virtual void on_done() = 0;

 protected:
  virtual ~Request() = default;

 private:
  friend class BlockDevice;
  int error_code_ = 0;
  // Where it was submitted, as partitions hand a request on to their disk, and when.
  BlockDevice* target_ = nullptr;
  uint64_t started_ns_ = 0;
  uint64_t changes_before_ = 0;  // of a flush: what it makes durable
};

/// Counts requests that are under way and remembers the first failure.
class Batch {
 public:
  /// A request of a batch; may be reused after wait().
  class Item final : public Request {
   public:
    void on_done() override { batch_->item_done(error_code()); }

    /// One piece of memory, for the common case: kept here and named by `segments`.
    void set_memory(std::span<std::byte> memory) {
      single_ = {memory.data(), memory.size()};
      segments = std::span(&single_, 1);
    }

   private:
    friend class Batch;
    Batch* batch_ = nullptr;
    Segment single_;
  };

  Batch() = default;
  ~Batch();
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  void submit(BlockDevice& device, Item& item);
  /// Sleeps until all submitted items are done; the first failure of any, in the order in which they were done.
  Result<void> wait();
  /// How many are under way.
  size_t pending();

 private:
  void item_done(int error_code);

  Mutex mutex_{LockRank::Block};
  WaitQueue done_;
  size_t pending_ GUARDED_BY(mutex_) = 0;
  int first_error_ GUARDED_BY(mutex_) = 0;
};

}  // namespace umk::block

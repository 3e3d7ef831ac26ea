// IoRing: reads and writes of host files that the host does side by side and in any order: io_uring(7).
//
// One thread makes a ring, fills it, waits and takes the outcomes; nobody else touches it. That thread belongs to the monitor: the ring's memory is
// mapped in no vessel, and vessels need none of its calls, which a filter of calls could not look into.
//
//   auto ring = TRY(IoRing::create(64));      // or the host refuses: ENOSYS, EPERM
//   ring->read(fd, vectors, offset, tag);     // there is room
//   ring->submit_and_wait();
//   while (auto completion = ring->next()) ...
//
// The vectors may go when submit_and_wait() has returned, the memory that they name when the operation is done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "core/host/file_calls.h"

namespace umk::host {

class IoRing {
 public:
  /// A ring for that many operations at once, a power of two. What the host says when it has none for us: ENOSYS, EPERM (the sysctl
  /// kernel.io_uring_disabled, a filter of calls), ENOMEM; EOPNOTSUPP when it is too old (before Linux 5.6).
  static Result<std::unique_ptr<IoRing>> create(uint32_t entries);
  ~IoRing();
  IoRing(const IoRing&) = delete;
  IoRing& operator=(const IoRing&) = delete;

  /// Operations that were begun and whose completions were not taken.
  uint32_t in_flight() const { return in_flight_; }
  bool has_room() const { return in_flight_ < entries_; }
  /// Put an operation into the ring; there is room. `tag` comes back with its outcome.
  void read(int fd, std::span<const IoVector> into, uint64_t offset, uint64_t tag) { add(kReadVector, fd, into, offset, tag); }
  void write(int fd, std::span<const IoVector> from, uint64_t offset, uint64_t tag) { add(kWriteVector, fd, from, offset, tag); }
  /// The host's disk is to begin with what was written there: sync_file_range(2). Over when it has begun.
  void start_write_out(int fd, uint64_t offset, uint32_t bytes, uint64_t tag);
  /// Hands what was put in to the host and sleeps until at least one operation is done. May come back early.
  void submit_and_wait();

  struct Completion {
    uint64_t tag;
    int32_t result;  // bytes, or -errno
  };
  std::optional<Completion> next();

 private:
  enum Operation : uint8_t { kReadVector = 1, kWriteVector = 2, kSyncFileRange = 8 };
  struct Submission;
  struct Event;

  IoRing() = default;
  Result<void> open(uint32_t entries);
  void add(Operation operation, int fd, std::span<const IoVector> memory, uint64_t offset, uint64_t tag) {
    add(operation, fd, reinterpret_cast<uint64_t>(memory.data()), static_cast<uint32_t>(memory.size()), offset, 0, tag);
  }
  void add(Operation operation, int fd, uint64_t address, uint32_t length, uint64_t offset, uint32_t flags, uint64_t tag);

  int fd_ = -1;
  std::byte* rings_ = nullptr;  // both queues' heads, tails and entries
  size_t ring_bytes_ = 0;
  Submission* submissions_ = nullptr;
  uint32_t* submission_tail_ = nullptr;
  uint32_t* event_head_ = nullptr;
  uint32_t* event_tail_ = nullptr;
  const Event* events_ = nullptr;
  uint32_t entries_ = 0, event_mask_ = 0;
  uint32_t tail_ = 0, unsubmitted_ = 0, in_flight_ = 0;
};

/// eventfd(2): a read of it is done when something was written to it.
Result<int> make_event();

}  // namespace umk::host

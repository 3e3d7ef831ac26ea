// ErrorSequence: a write-back error that everybody who could have caused it shall hear of once.
//
// Data is written long after write(2) has returned, by somebody else. So a failure is recorded here, and each open file remembers how far it has
// seen: fsync(2) on every file description that was open at the time reports the error exactly once. One that nobody has heard of yet is also
// reported to a file opened later. fsync(2), "Errors"; syncfs(2) does the same with the sequence of a whole filesystem.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/base/result.h"

namespace umk::mm {

class ErrorSequence {
 public:
  /// What an open file remembers.
  using Position = uint32_t;

  void record(int error_number) {
    uint32_t old = value_.load(std::memory_order_relaxed);
    for (;;) {
      // As long as nobody has looked, a further error needs no number of its own.
      const uint32_t counted = (old & kSeen) ? (old & ~kLowBits) + kOne : old & ~kLowBits;
      if (value_.compare_exchange_weak(old, counted | static_cast<uint32_t>(error_number), std::memory_order_release, std::memory_order_relaxed)) return;
    }
  }
  /// For a file that is being opened.
  Position sample() const {
    const uint32_t now = value_.load(std::memory_order_acquire);
    return (now & kSeen) ? now : 0;
  }
  /// Whether something has happened since, without taking it from who asks next.
  Result<void> check(const std::atomic<Position>& since) const {
    const uint32_t now = value_.load(std::memory_order_acquire);
    if ((now | kSeen) == (since.load(std::memory_order_acquire) | kSeen) || (now & kErrorMask) == 0) return {};
    return error(static_cast<int>(now & kErrorMask));
  }
  /// What has happened since `since`, which is moved on: an error is returned once for each position.
  Result<void> check_and_advance(std::atomic<Position>& since) {
    uint32_t now = value_.load(std::memory_order_acquire);
    if (now == since.load(std::memory_order_acquire)) return {};
    // Marked as seen before it is returned: the next error gets a number of its own.
    while (!(now & kSeen) && !value_.compare_exchange_weak(now, now | kSeen, std::memory_order_acq_rel)) {
    }
    now |= kSeen;
    if (since.exchange(now, std::memory_order_acq_rel) == now) return {};
    if ((now & kErrorMask) == 0) return {};
    return error(static_cast<int>(now & kErrorMask));
  }

 private:
  static constexpr uint32_t kErrorMask = 0xfff, kSeen = 0x1000, kLowBits = kErrorMask | kSeen, kOne = 0x2000;
  std::atomic<uint32_t> value_{kSeen};
};

}  // namespace umk::mm

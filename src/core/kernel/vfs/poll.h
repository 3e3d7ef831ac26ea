// Readiness: poll bits and how to wait for them. poll(2), epoll(7).
#pragma once

#include <cstdint>

#include "core/sync/wait_queue.h"

namespace umk::vfs {

/// The bits of poll(2), as guests pass them.
namespace poll_bits {
inline constexpr uint32_t kIn = 0x001, kPriority = 0x002, kOut = 0x004, kError = 0x008, kHangUp = 0x010, kInvalid = 0x020;
inline constexpr uint32_t kReadNormal = 0x040, kReadBand = 0x080, kWriteNormal = 0x100, kWriteBand = 0x200, kMessage = 0x400;
inline constexpr uint32_t kReadHangUp = 0x2000;
/// What a plain file always is.
inline constexpr uint32_t kAlwaysReady = kIn | kOut | kReadNormal | kWriteNormal;
}  // namespace poll_bits

/// Where a poller puts its waiters. An open file calls `watch` for each queue that announces changes of its readiness
/// (a null table: the caller only asks), then returns its present bits; in this order, so no change is lost.
class PollTable {
 public:
  virtual void watch(WaitQueue& queue) = 0;

 protected:
  ~PollTable() = default;
};

}  // namespace umk::vfs

// UserNotices: what programs of the machine say to whoever watches it on the host, by writing to /proc/mconsole. The monitor takes the notices and sends them.
#pragma once

#include <atomic>
#include <span>
#include <string_view>

#include "core/base/string.h"
#include "core/sync/mutex.h"

namespace umk {

class UserNotices {
 public:
  /// What a notification carries at most.
  static constexpr size_t kMaximumBytes = 512;

  /// Somebody listens; `monitor_event` is the eventfd that wakes the monitor. At boot.
  void connect(int monitor_event) { monitor_event_.store(monitor_event); }
  bool is_connected() const { return monitor_event_.load(std::memory_order_relaxed) >= 0; }
  /// Keeps the first 512 bytes for the monitor. EAGAIN when it is far behind.
  Result<void> post(std::string_view bytes) EXCLUDES(mutex_);
  /// The oldest notice, as far as it fits; false when there is none.
  bool take(std::span<char> into, size_t& bytes) EXCLUDES(mutex_);

 private:
  static constexpr size_t kMostWaiting = 64;
  std::atomic<int> monitor_event_{-1};
  Mutex mutex_{LockRank::None};  // a leaf
  Vector<String> waiting_ GUARDED_BY(mutex_);
};

}  // namespace umk

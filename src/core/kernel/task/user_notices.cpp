#include "core/kernel/task/user_notices.h"

#include <algorithm>

#include "core/host/calls.h"

namespace umk {

Result<void> UserNotices::post(std::string_view bytes) {
  {
    String copy = TRY(String::from(bytes.substr(0, kMaximumBytes)));
    MutexLock lock(mutex_);
    if (waiting_.size() >= kMostWaiting) return error(EAGAIN);
    TRY(waiting_.push_back(std::move(copy)));
  }
  const uint64_t one = 1;
  (void)host::write(monitor_event_.load(), std::as_bytes(std::span(&one, 1)));
  return {};
}

bool UserNotices::take(std::span<char> into, size_t& bytes) {
  MutexLock lock(mutex_);
  if (waiting_.empty()) return false;
  const std::string_view text = waiting_[0].view();
  bytes = std::min(text.size(), into.size());
  std::copy_n(text.data(), bytes, into.data());
  waiting_.erase(0);
  return true;
}

}  // namespace umk

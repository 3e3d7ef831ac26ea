#include "core/kernel/time/log_limit.h"

#include <algorithm>
#include <utility>

#include "core/kernel/time/clocks.h"

namespace umk {

namespace {
constinit LogLimitSettings settings;
constexpr uint64_t kSecondNs = 1'000'000'000;
}  // namespace

LogLimitSettings& log_limit_settings() { return settings; }

bool LogLimit::allows_at(uint64_t now_ns, uint32_t interval_seconds, uint32_t burst, uint32_t& missed) {
  missed = 0;
  if (interval_seconds == 0) return true;
  sync::MutexLock lock(mutex_);
  if (begin_ns_ == 0 || now_ns - begin_ns_ > interval_seconds * kSecondNs) {
    begin_ns_ = now_ns;
    used_ = 0;
    missed = std::exchange(missed_, 0);
  }
  if (used_ < std::max(burst, least_burst_)) {
    ++used_;
    return true;
  }
  ++missed_;
  return false;
}

bool LogLimit::allows(std::string_view place) {
  uint32_t missed;
  const bool is_allowed = allows_at(time::monotonic_ns(), settings.interval_seconds.load(std::memory_order_relaxed),
                                    settings.burst.load(std::memory_order_relaxed), missed);
  if (missed != 0) log(LogLevel::Warning, "{}: {} callbacks suppressed", place, missed);
  return is_allowed;
}

}  // namespace umk

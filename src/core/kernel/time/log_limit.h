// LogLimit: how many lines one place of the kernel may bring into the log in a while, so that a guest which can cause them in a loop does not push
// everything else out.
//
// Each place has its own, a constant-initialised static:
//
//   static constinit LogLimit limit;
//   log_limited(limit, "ext4", LogLevel::Error, "ext4: {}: damaged", name);
//
// Of more than `burst` lines within `interval` seconds the rest is left out; the first line after that is preceded by how many they were, as on Linux:
// "ext4: 12 callbacks suppressed". /proc/sys/kernel/printk_ratelimit and printk_ratelimit_burst set both for all places; an interval of 0 lets all through.
#pragma once

#include <atomic>

#include "core/base/log.h"
#include "core/sync/mutex.h"

namespace umk {

struct LogLimitSettings {
  std::atomic<uint32_t> interval_seconds{5};
  std::atomic<uint32_t> burst{10};
};
/// One for the image, like the log itself.
LogLimitSettings& log_limit_settings();

class LogLimit {
 public:
  /// `least_burst`: a place that may say more in one go without anything being wrong.
  explicit constexpr LogLimit(uint32_t least_burst = 0) : least_burst_(least_burst) {}

  /// Whether one more line may come now; also says, in the log, how many could not. May be called with any lock held that the log allows.
  bool allows(std::string_view place) EXCLUDES(mutex_);
  /// The same with the time and the settings given, without a word: `missed` are those that were left out before this one.
  bool allows_at(uint64_t now_ns, uint32_t interval_seconds, uint32_t burst, uint32_t& missed) EXCLUDES(mutex_);

 private:
  const uint32_t least_burst_;
  sync::Mutex mutex_{sync::LockRank::Log};
  uint64_t begin_ns_ GUARDED_BY(mutex_) = 0;
  uint32_t used_ GUARDED_BY(mutex_) = 0;
  uint32_t missed_ GUARDED_BY(mutex_) = 0;
};

template <typename... Arguments>
void log_limited(LogLimit& limit, std::string_view place, LogLevel level, std::string_view pattern, const Arguments&... arguments) {
  if (limit.allows(place)) log(level, pattern, arguments...);
}

}  // namespace umk

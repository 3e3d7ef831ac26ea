// Resource limits of a process: getrlimit(2).
#pragma once

#include <array>
#include <cstdint>

#include "core/sync/mutex.h"

namespace umk {

enum class Resource : unsigned {
  Cpu = 0, FileSize = 1, Data = 2, Stack = 3, Core = 4, ResidentSet = 5, Processes = 6, OpenFiles = 7, LockedMemory = 8, AddressSpace = 9,
  FileLocks = 10, PendingSignals = 11, MessageQueue = 12, Nice = 13, RealtimePriority = 14, RealtimeTime = 15,
};
inline constexpr unsigned kResourceCount = 16;
inline constexpr uint64_t kUnlimited = UINT64_MAX;

struct Limit {
  uint64_t soft = kUnlimited;
  uint64_t hard = kUnlimited;
};

class ResourceLimits {
 public:
  /// Linux's values for init: stack 8 MiB soft, 1024/4096 open files, 0 core and so on.
  ResourceLimits();
  Limit get(Resource resource) {
    MutexLock lock(mutex_);
    return limits_[static_cast<unsigned>(resource)];
  }
  void set(Resource resource, Limit limit) {
    MutexLock lock(mutex_);
    limits_[static_cast<unsigned>(resource)] = limit;
  }
  /// The soft limit, read without the lock: hot paths (open files) can stand a stale value.
  uint64_t soft(Resource resource) const { return __atomic_load_n(&limits_[static_cast<unsigned>(resource)].soft, __ATOMIC_RELAXED); }
  void copy_from(ResourceLimits& other);

 private:
  Mutex mutex_{LockRank::None};
  std::array<Limit, kResourceCount> limits_;
};

}  // namespace umk

// Guarded<T>: small state and its lock as one object, reached through a callback that runs with the lock held.
#pragma once

#include "core/sync/mutex.h"

namespace umk::sync {

template <typename T>
class Guarded {
 public:
  template <typename... Arguments>
  explicit Guarded(LockRank rank, Arguments&&... arguments) : mutex_(rank), value_(std::forward<Arguments>(arguments)...) {}

  /// Runs `body(T&)` with the lock held and returns what it returns.
  template <typename Body>
  decltype(auto) with(Body&& body) {
    MutexLock lock(mutex_);
    return body(value_);
  }

 private:
  Mutex mutex_;
  T value_;
};

}  // namespace umk::sync

// HostName: the names that uname(2) shows and sethostname(2) changes.
#pragma once

#include <array>
#include <string_view>

#include "core/abi/errno.h"
#include "core/base/result.h"
#include "core/sync/mutex.h"

namespace umk {

class HostName {
 public:
  static constexpr size_t kMaximumLength = 64;
  using Name = std::array<char, kMaximumLength + 1>;

  Name host() {
    MutexLock lock(mutex_);
    return host_;
  }
  Name domain() {
    MutexLock lock(mutex_);
    return domain_;
  }
  /// EINVAL when `name` is longer than 64 bytes.
  Result<void> set_host(std::string_view name) { return set(host_, name); }
  Result<void> set_domain(std::string_view name) { return set(domain_, name); }

 private:
  Result<void> set(Name& name, std::string_view text) {
    if (text.size() > kMaximumLength) return error(EINVAL);
    MutexLock lock(mutex_);
    name = {};
    for (size_t i = 0; i < text.size(); ++i) name[i] = text[i];
    return {};
  }

  Mutex mutex_{LockRank::None};
  Name host_{'u', 'm', 'k'};
  Name domain_{'(', 'n', 'o', 'n', 'e', ')'};
};

}  // namespace umk

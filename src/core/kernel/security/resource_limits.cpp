#include "core/kernel/security/resource_limits.h"

namespace umk {

namespace {
constexpr size_t index_of(Resource resource) { return static_cast<size_t>(resource); }
}  // namespace

ResourceLimits::ResourceLimits() {
  limits_[index_of(Resource::Stack)] = {8 << 20, kUnlimited};
  limits_[index_of(Resource::Core)] = {0, kUnlimited};
  limits_[index_of(Resource::Processes)] = {32768, 32768};
  limits_[index_of(Resource::OpenFiles)] = {1024, 1 << 20};
  limits_[index_of(Resource::LockedMemory)] = {8 << 20, 8 << 20};
  limits_[index_of(Resource::PendingSignals)] = {32768, 32768};
  limits_[index_of(Resource::MessageQueue)] = {819200, 819200};
  limits_[index_of(Resource::Nice)] = {0, 0};
  limits_[index_of(Resource::RealtimePriority)] = {0, 0};
}

void ResourceLimits::copy_from(ResourceLimits& other) {
  // Not both locks at once: two processes may copy from each other.
  std::array<Limit, kResourceCount> copy;
  {
    MutexLock lock(other.mutex_);
    copy = other.limits_;
  }
  MutexLock lock(mutex_);
  limits_ = copy;
}

}  // namespace umk

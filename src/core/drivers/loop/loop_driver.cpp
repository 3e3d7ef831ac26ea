#include "core/drivers/loop/loop_driver.h"

namespace umk::loop {

namespace {

constexpr DeviceNumber kControlNumber{10, 237};

class ControlFile final : public vfs::OpenFile {
 public:
  ControlFile(LoopDriver& driver, RefPtr<vfs::Inode> inode, uint32_t flags) : OpenFile(std::move(inode), flags), driver_(driver) {}

  Result<int64_t> ioctl(Task&, uint32_t request, uint64_t argument) override {
    switch (request) {
      case loop_abi::kControlGetFree: return int64_t{TRY(driver_.find_free())};
      case loop_abi::kControlAdd: {
        // A negative number leaves the choice to the driver.
        if (static_cast<int64_t>(argument) < 0) return int64_t{TRY(driver_.find_free())};
        if (argument > UINT32_MAX) return error(EINVAL);
        TRY(driver_.add(static_cast<uint32_t>(argument)));
        return static_cast<int64_t>(argument);
      }
      case loop_abi::kControlRemove:
        if (argument > INT32_MAX) return error(EINVAL);
        TRY(driver_.remove(static_cast<uint32_t>(argument)));
        return static_cast<int64_t>(argument);
      default: return error(ENOSYS);  // as Linux
    }
  }

 private:
  LoopDriver& driver_;
};

}  // namespace

Result<void> LoopDriver::attach(device::DeviceRegistry& registry) {
  TRY(registry.add_driver(vfs::FileType::CharacterDevice, kControlNumber.major, kControlNumber.minor, 1, *this));
  TRY(registry.announce(
      {.name = "loop-control", .type = vfs::FileType::CharacterDevice, .number = kControlNumber, .permissions = 0660, .gid = 6}));
  for (uint32_t number = 0; number < kAtStart; ++number) TRY(add(number));
  return {};
}

Result<RefPtr<vfs::OpenFile>> LoopDriver::open(const vfs::Caller&, RefPtr<vfs::Inode> inode, vfs::DeviceNumber, const vfs::Path&,
                                               uint32_t flags) {
  RefPtr<ControlFile> file = TRY(make_ref<ControlFile>(*this, std::move(inode), flags));
  return RefPtr<vfs::OpenFile>(std::move(file));
}

RefPtr<LoopDevice> LoopDriver::find_locked(uint32_t number) {
  for (const RefPtr<LoopDevice>& loop : loops_)
    if (loop->loop_number() == number) return loop;
  return {};
}

Result<void> LoopDriver::add_locked(uint32_t number) {
  if (number >= kMaximum) return error(EINVAL);
  if (find_locked(number)) return error(EEXIST);
  RefPtr<LoopDevice> loop = TRY(LoopDevice::create(number, devices_));
  TRY(loops_.reserve(loops_.size() + 1));
  TRY(devices_.add(loop, block::BlockDevices::Partitions::None));
  return loops_.push_back(std::move(loop));
}

Result<void> LoopDriver::add(uint32_t number) {
  MutexLock lock(mutex_);
  return add_locked(number);
}

Result<void> LoopDriver::remove(uint32_t number) {
  MutexLock lock(mutex_);
  for (size_t i = 0; i < loops_.size(); ++i) {
    if (loops_[i]->loop_number() != number) continue;
    if (loops_[i]->is_bound()) return error(EBUSY);
    TRY(devices_.remove(*loops_[i]));
    loops_.erase(i);
    return {};
  }
  return error(ENODEV);
}

Result<uint32_t> LoopDriver::find_free() {
  MutexLock lock(mutex_);
  for (uint32_t number = 0; number < kMaximum; ++number) {
    RefPtr<LoopDevice> loop = find_locked(number);
    if (loop && loop->is_bound()) continue;
    if (!loop) TRY(add_locked(number));
    return number;
  }
  return error(ENOSPC);
}

}  // namespace umk::loop

#include "core/drivers/watchdog/watchdog.h"

#include "core/abi/watchdog.h"
#include "core/base/log.h"
#include "core/host/calls.h"
#include "core/kernel/time/log_limit.h"

namespace umk::watchdog {

namespace {
// Whoever writes to a watchdog that is gone may go on doing so.
constinit LogLimit log_limit;
}  // namespace

namespace {

using namespace watchdog_abi;

class WatchdogFile final : public vfs::OpenFile {
 public:
  WatchdogFile(Watchdog& watchdog, RefPtr<vfs::Inode> inode, uint32_t flags) : OpenFile(std::move(inode), flags), watchdog_(watchdog) {}
  ~WatchdogFile() override { watchdog_.close(); }

  Result<size_t> read_at(uint64_t, UserOutBuffer&) override { return error(EINVAL); }
  /// Whatever is written, it is a pet.
  Result<size_t> write_at(uint64_t&, UserInBuffer& buffer, bool) override {
    if (buffer.remaining() == 0) return size_t{0};
    TRY(watchdog_.pet());
    return buffer.remaining();
  }
  Result<int64_t> ioctl(Task&, uint32_t request, uint64_t argument) override {
    switch (request) {
      case kGetSupport:
        TRY(UserPtr<Information>(argument).write({.options = kKeepsAlive, .firmware = 0, .identity = "UML Hardware Watchdog"}));
        break;
      case kGetStatus:
      case kGetBootStatus: TRY(UserPtr<int32_t>(argument).write(0)); break;
      case kKeepAlive: TRY(watchdog_.pet()); break;
      default: return error(ENOTTY);
    }
    return int64_t{0};
  }

 private:
  Watchdog& watchdog_;
};

}  // namespace

Result<void> Watchdog::attach(device::DeviceRegistry& registry) {
  TRY(registry.add_driver(vfs::FileType::CharacterDevice, kNumber.major, kNumber.minor, 1, *this));
  return registry.announce({.name = "watchdog", .type = vfs::FileType::CharacterDevice, .number = kNumber, .permissions = 0600});
}

void Watchdog::wake_monitor() const {
  const uint64_t one = 1;
  (void)host::write(monitor_event_, std::as_bytes(std::span(&one, 1)));
}

Result<RefPtr<vfs::OpenFile>> Watchdog::open(const vfs::Caller&, RefPtr<vfs::Inode> inode, vfs::DeviceNumber, const vfs::Path&,
                                             uint32_t flags) {
  {
    MutexLock lock(mutex_);
    while (state_ == State::Unwanted || state_ == State::Stopping) TRY(changed_.wait(mutex_, Sleep::Interruptible));
    if (state_ != State::Idle) return error(EBUSY);
    state_ = State::Wanted;
    is_given_up_ = false;
  }
  wake_monitor();
  {
    MutexLock lock(mutex_);
    while (state_ == State::Wanted || state_ == State::Starting) {
      const Result<void> woken = changed_.wait(mutex_, Sleep::Interruptible);
      if (woken.ok() || state_ == State::Running) continue;
      if (state_ == State::Wanted) state_ = State::Idle;
      if (state_ == State::Starting) is_given_up_ = true;
      return woken.failure();
    }
    if (state_ != State::Running) return error(EIO);
  }
  Result<RefPtr<WatchdogFile>> file = make_ref<WatchdogFile>(*this, std::move(inode), flags);
  if (!file.ok()) {
    close();
    return file.failure();
  }
  return RefPtr<vfs::OpenFile>(file.take());
}

Order Watchdog::take_order() {
  MutexLock lock(mutex_);
  if (state_ == State::Wanted) {
    state_ = State::Starting;
    return Order::Start;
  }
  if (state_ == State::Unwanted) {
    state_ = State::Stopping;
    return Order::Stop;
  }
  return Order::None;
}

void Watchdog::note_started(int fd) {
  bool must_stop;
  {
    MutexLock lock(mutex_);
    must_stop = fd >= 0 && is_given_up_;
    fd_ = fd;
    state_ = fd < 0 ? State::Idle : must_stop ? State::Unwanted : State::Running;
  }
  if (must_stop) wake_monitor();
  changed_.wake_all();
}

void Watchdog::note_stopped() {
  {
    MutexLock lock(mutex_);
    fd_ = -1;
    state_ = State::Idle;
  }
  changed_.wake_all();
}

Result<void> Watchdog::pet() {
  int fd;
  {
    MutexLock lock(mutex_);
    fd = fd_;
  }
  constexpr char kPet[] = {'\n'};
  if (fd >= 0 && host::write(fd, std::as_bytes(std::span(kPet))).ok()) return {};
  log_limited(log_limit, "watchdog", LogLevel::Warning, "ping_watchdog: the watchdog process is gone");
  return error(EIO);
}

void Watchdog::close() {
  {
    MutexLock lock(mutex_);
    state_ = State::Unwanted;
  }
  wake_monitor();
}

}  // namespace umk::watchdog

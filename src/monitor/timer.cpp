#include "monitor/timer.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace umk::monitor {

Timer::Timer(EventLoop& loop, std::function<void()> callback)
    : loop_(loop), fd_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "timerfd_create");
  loop_.watch(fd_, EPOLLIN, [this, callback = std::move(callback)](uint32_t) {
    uint64_t count;
    // Nothing when it was stopped or started again in the meantime.
    if (read(fd_, &count, sizeof count) > 0) callback();
  });
}

Timer::~Timer() {
  loop_.forget(fd_);
  close(fd_);
}

void Timer::start(std::chrono::milliseconds delay) {
  const auto count = delay.count();
  itimerspec due{};
  due.it_value = {count / 1000, count % 1000 * 1'000'000};
  if (count <= 0) due.it_value = {0, 1};
  timerfd_settime(fd_, 0, &due, nullptr);
}

void Timer::stop() {
  const itimerspec never{};
  timerfd_settime(fd_, 0, &never, nullptr);
}

}  // namespace umk::monitor

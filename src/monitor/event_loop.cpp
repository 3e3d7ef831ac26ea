#include "monitor/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <system_error>

namespace umk::monitor {

namespace {

int checked(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

}  // namespace

EventLoop::EventLoop()
    : epoll_fd_(checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")), wake_fd_(checked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")) {
  sigemptyset(&signals_);
  watch(wake_fd_, EPOLLIN, [this](uint32_t) {
    uint64_t count;
    // Cleared first: what comes while the callback looks wakes the loop again.
    if (read(wake_fd_, &count, sizeof count) < 0) return;
    take_calls();
    if (wake_callback_) wake_callback_();
  });
}

EventLoop::~EventLoop() {
  if (signal_fd_ >= 0) close(signal_fd_);
  close(wake_fd_);
  close(epoll_fd_);
}

bool EventLoop::watch(int fd, uint32_t events, Callback callback) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) < 0) {
    if (errno == EPERM) return false;
    throw std::system_error(errno, std::generic_category(), "epoll_ctl");
  }
  watches_[fd] = std::make_shared<Watch>(Watch{events, std::move(callback)});
  return true;
}

void EventLoop::change(int fd, uint32_t events) {
  const auto found = watches_.find(fd);
  if (found == watches_.end() || found->second->events == events) return;
  found->second->events = events;
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  checked(epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event), "epoll_ctl");
}

void EventLoop::forget(int fd) {
  if (watches_.erase(fd) == 0) return;
  epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
}

void EventLoop::watch_signal(int signal, SignalCallback callback) {
  signal_callbacks_[signal] = std::move(callback);
  sigaddset(&signals_, signal);
  checked(sigprocmask(SIG_BLOCK, &signals_, nullptr), "sigprocmask");
  const bool is_first = signal_fd_ < 0;
  signal_fd_ = checked(signalfd(signal_fd_, &signals_, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd");
  if (is_first) watch(signal_fd_, EPOLLIN, [this](uint32_t) { take_signals(); });
}

void EventLoop::take_signals() {
  signalfd_siginfo info;
  while (read(signal_fd_, &info, sizeof info) == sizeof info) {
    const auto found = signal_callbacks_.find(static_cast<int>(info.ssi_signo));
    if (found == signal_callbacks_.end()) continue;
    const SignalCallback callback = found->second;
    callback(info);
  }
}

void EventLoop::call(std::function<void()> body) {
  std::packaged_task<void()> task(std::move(body));
  std::future<void> outcome = task.get_future();
  {
    const std::lock_guard lock(calls_mutex_);
    calls_.push_back(std::move(task));
  }
  const uint64_t one = 1;
  (void)!write(wake_fd_, &one, sizeof one);
  outcome.get();
}

void EventLoop::take_calls() {
  std::vector<std::packaged_task<void()>> calls;
  {
    const std::lock_guard lock(calls_mutex_);
    calls.swap(calls_);
  }
  for (std::packaged_task<void()>& call : calls) call();
}

void EventLoop::run_once(int timeout_ms) {
  epoll_event events[16];
  const int count = epoll_wait(epoll_fd_, events, 16, timeout_ms);
  if (count < 0 && errno != EINTR) throw std::system_error(errno, std::generic_category(), "epoll_wait");
  for (int i = 0; i < count; ++i) {
    const auto found = watches_.find(events[i].data.fd);
    if (found == watches_.end()) continue;  // forgotten by a callback before
    const std::shared_ptr<Watch> kept = found->second;
    kept->callback(events[i].events);
  }
}

void EventLoop::run() {
  stopped_ = false;
  while (!stopped_) run_once();
}

}  // namespace umk::monitor

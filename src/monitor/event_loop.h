// EventLoop: what the monitor's main thread waits for, by epoll(7): descriptors, signals, and the wake-up of the core.
//
// One thread uses it. Callbacks run on that thread, may add and remove watches (their own too), and must not block. Signals that are watched are
// blocked for the process and taken from a signalfd(2); so watch them before other threads start. call() is for other threads.
#pragma once

#include <sys/signalfd.h>

#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace umk::monitor {

class EventLoop {
 public:
  /// Gets the ready bits (EPOLLIN ...).
  using Callback = std::function<void(uint32_t events)>;
  using SignalCallback = std::function<void(const signalfd_siginfo&)>;

  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Watches `fd` for `events` (0: only errors and hang-up). False for descriptors that cannot be waited for since they are always ready: plain files.
  bool watch(int fd, uint32_t events, Callback callback);
  void change(int fd, uint32_t events);
  void forget(int fd);
  void watch_signal(int signal, SignalCallback callback);

  /// An eventfd that ends a wait when somebody else writes to it: ConsoleBoard::monitor_event.
  int wake_fd() const { return wake_fd_; }
  /// Called after each wake-up through wake_fd().
  void on_wake(std::function<void()> callback) { wake_callback_ = std::move(callback); }

  /// Waits up to `timeout_ms` (-1: for ever) and calls back what is ready.
  void run_once(int timeout_ms = -1);
  /// Until stop().
  void run();
  void stop() { stopped_ = true; }
  /// From another thread: runs `body` in the loop's, and waits until it has run; for ever, when the loop runs no more.
  void call(std::function<void()> body);

 private:
  struct Watch {
    uint32_t events;
    Callback callback;
  };
  void take_signals();
  void take_calls();

  int epoll_fd_;
  int wake_fd_;
  int signal_fd_ = -1;
  sigset_t signals_;
  bool stopped_ = false;
  std::function<void()> wake_callback_;
  std::map<int, std::shared_ptr<Watch>> watches_;
  std::map<int, SignalCallback> signal_callbacks_;
  std::mutex calls_mutex_;
  std::vector<std::packaged_task<void()>> calls_;
};

}  // namespace umk::monitor

// PortListener: a TCP port on which lines of the guest wait for somebody to connect. It listens as soon as a line is configured for it, and lines on
// the same port share it.
//
// Who connects gets the line that has waited longest. When none waits the connection is told so and kept; the next line that is opened gets it.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "monitor/event_loop.h"
#include "monitor/timer.h"

namespace umk::monitor {

/// A line that waits.
class PortWaiter {
 public:
  /// The descriptor of a connection, which does not block and is now the waiter's.
  virtual void on_connection(int fd) = 0;

 protected:
  ~PortWaiter() = default;
};

class PortListener {
 public:
  /// Throws ChannelError when the host does not give the port.
  PortListener(EventLoop& loop, int port, std::function<void(const std::string&)> log);
  ~PortListener();
  PortListener(const PortListener&) = delete;
  PortListener& operator=(const PortListener&) = delete;

  /// A connection that is there already, or -1: the waiter gets the next one, unless it stops waiting.
  int take_or_wait(PortWaiter& waiter);
  void stop_waiting(PortWaiter& waiter);

 private:
  void accept_connections();
  void keep(int fd);
  void drop(int fd);
  void watch_port(bool is_watched);

  EventLoop& loop_;
  const std::function<void(const std::string&)> log_;
  int fd_ = -1;
  bool is_watched_ = false;
  Timer again_;
  std::deque<PortWaiter*> waiters_;
  std::deque<int> pending_;  // connections without a line, the oldest first
};

/// The listeners of a machine, by port. Each lives as long as somebody uses it.
class PortListeners {
 public:
  PortListeners(EventLoop& loop, std::function<void(const std::string&)> log) : loop_(loop), log_(std::move(log)) {}
  /// Throws ChannelError.
  std::shared_ptr<PortListener> get(int port);

 private:
  EventLoop& loop_;
  const std::function<void(const std::string&)> log_;
  std::map<int, std::weak_ptr<PortListener>> listeners_;
};

}  // namespace umk::monitor

// Timer: calls back once in the event loop, some time after start(). timerfd_create(2).
#pragma once

#include <chrono>
#include <functional>

#include "monitor/event_loop.h"

namespace umk::monitor {

class Timer {
 public:
  Timer(EventLoop& loop, std::function<void()> callback);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  /// Again, when it runs already.
  void start(std::chrono::milliseconds delay);
  void stop();

 private:
  EventLoop& loop_;
  int fd_ = -1;
};

}  // namespace umk::monitor

// WatchdogHelper: the dog behind /dev/watchdog, a program of the host by the name of uml_watchdog (package uml-utilities).
//
// It is started when the kernel orders it (drivers/watchdog/watchdog.h), reads a byte now and then on its standard input, and says by a byte on its standard
// output that it is ready. After 60 seconds without a byte it interrupts umk (-pid), or tells the listener of mconsole=notify: (-mconsole). When its input ends it goes.
//
// Everything happens on the event loop's thread.
#pragma once

#include <string>

#include "monitor/event_loop.h"
#include "monitor/machine/machine.h"

namespace umk::monitor {

class WatchdogHelper {
 public:
  /// `notify_socket` may be empty.
  WatchdogHelper(EventLoop& loop, Machine& machine, std::string notify_socket);
  ~WatchdogHelper();
  WatchdogHelper(const WatchdogHelper&) = delete;
  WatchdogHelper& operator=(const WatchdogHelper&) = delete;

  /// Does what the kernel has ordered. After each wake-up.
  void look();

 private:
  void start();
  void hear();
  void stop();
  void close_pipes();

  EventLoop& loop_;
  Machine& machine_;
  const std::string notify_socket_;
  int to_dog_ = -1, from_dog_ = -1;
};

}  // namespace umk::monitor

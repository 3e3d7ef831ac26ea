// HelperProcess: a program of the host that a channel needs, such as xterm(1). It ends with umk, however that ends.
// EndingHelpers: those that are asked to end, until they have.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "monitor/timer.h"

namespace umk::monitor {

class HelperProcess {
 public:
  /// Looks for the program as execvp(3) does. Null with errno when it is not there, or no process can be had. Of umk's descriptors the program gets
  /// standard error alone. Call it on the main thread: the end of the thread that called ends the program.
  static std::unique_ptr<HelperProcess> start(const std::vector<std::string>& words);
  /// For a process that somebody else has started. Null when there is none.
  static std::unique_ptr<HelperProcess> adopt(pid_t pid);
  ~HelperProcess();
  HelperProcess(const HelperProcess&) = delete;
  HelperProcess& operator=(const HelperProcess&) = delete;

  pid_t pid() const { return pid_; }
  /// Readable for epoll(7) when it has ended.
  int end_fd() const { return pidfd_; }
  void signal(int number);

 private:
  HelperProcess(pid_t pid, int pidfd) : pid_(pid), pidfd_(pidfd) {}

  const pid_t pid_;
  const int pidfd_;
};

/// SIGTERM, and SIGKILL for who does not listen. What is left at the end of umk has a moment.
class EndingHelpers {
 public:
  explicit EndingHelpers(EventLoop& loop) : loop_(loop) {}
  ~EndingHelpers();

  void end(std::unique_ptr<HelperProcess> helper, std::chrono::milliseconds patience);

 private:
  struct Ending {
    Ending(EventLoop& loop, std::unique_ptr<HelperProcess> process);
    std::unique_ptr<HelperProcess> helper;
    Timer patience;
  };

  EventLoop& loop_;
  std::list<Ending> endings_;
};

/// The file that execvp(3) would run; empty when there is none.
std::string find_program(const std::string& name);

}  // namespace umk::monitor

// HostTerminal: the terminal that umk was started from, as the line of a console: raw while the guest uses it, and as it was before afterwards.
//
// It is restored when the object dies, on restore(), and by a guardian when the monitor ends in any other way, kill -9 included: a small child
// process that waits for the monitor's end (pidfd_open(2)), puts the settings back and exits. Make the object before the monitor starts
// threads, maps the kernel, or forks others: the guardian is a copy of the process as it is then.
//
// In the background (started with `&`) the terminal is left alone until umk comes to the foreground.
//
// Changes of size: SIGWINCH goes to the session that the terminal belongs to. Of umk's own terminal the monitor hears by itself. One that belongs
// to no session can be given to the guardian: it makes it the terminal of a session of its own and tells the monitor by an eventfd.
#pragma once

#include <sys/types.h>
#include <termios.h>

#include <functional>
#include <memory>

#include "core/abi/termios.h"

namespace umk::monitor {

class HostTerminal {
 public:
  /// Null when `fd` is no terminal. `on_monitor_death` runs in the guardian when the monitor died without restore(): it may remove files and
  /// kill processes of its own.
  static std::unique_ptr<HostTerminal> open(int fd, std::function<void()> on_monitor_death = {});
  /// A terminal besides the one umk was started from, whose size is followed where that can be. May be called while the machine runs: the guardian
  /// uses nothing but system calls.
  static std::unique_ptr<HostTerminal> open_further(int fd, std::function<void()> on_monitor_death = {});
  ~HostTerminal();
  HostTerminal(const HostTerminal&) = delete;
  HostTerminal& operator=(const HostTerminal&) = delete;

  int fd() const { return fd_; }
  /// Makes it raw, when in the foreground. Call it at the start and after SIGCONT.
  void enter_raw_mode();
  /// Puts the old settings back; before a stop (SIGTSTP) and at the end.
  void restore();
  bool is_raw() const { return is_raw_; }
  WindowSize window_size() const;
  /// An eventfd that becomes readable when the size has changed; -1: nobody tells.
  int size_event() const { return size_event_; }

 private:
  HostTerminal(int fd, const ::termios& before) : fd_(fd), before_(before) {}
  void start_guardian(std::function<void()> on_monitor_death);
  [[noreturn]] void guard(int monitor, const std::function<void()>& on_monitor_death);
  void end_guardian();

  int fd_;
  ::termios before_;  // umk::termios is the guest's
  bool is_raw_ = false;
  pid_t guardian_ = -1;
  int size_event_ = -1;
};

}  // namespace umk::monitor

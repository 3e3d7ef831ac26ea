#include "monitor/channels/host_terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace umk::monitor {

namespace {

/// tcsetattr from whatever group we are in: in the background it would stop the process.
void set_attributes(int fd, const ::termios& settings) {
  sigset_t block, before;
  sigemptyset(&block);
  sigaddset(&block, SIGTTOU);
  pthread_sigmask(SIG_BLOCK, &block, &before);
  while (tcsetattr(fd, TCSANOW, &settings) < 0 && errno == EINTR) {
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

std::unique_ptr<HostTerminal> HostTerminal::open(int fd, std::function<void()> on_monitor_death) {
  ::termios settings;
  if (fd < 0 || tcgetattr(fd, &settings) < 0) return nullptr;
  std::unique_ptr<HostTerminal> terminal(new HostTerminal(fd, settings));
  terminal->start_guardian(std::move(on_monitor_death));
  return terminal;
}

HostTerminal::~HostTerminal() {
  restore();
  end_guardian();
}

void HostTerminal::start_guardian(std::function<void()> on_monitor_death) {
  const pid_t monitor = getpid();
  const int watched = static_cast<int>(syscall(SYS_pidfd_open, monitor, 0));
  if (watched < 0) return;  // before Linux 5.3: only orderly ends restore the terminal
  // The guardian is deaf from its first instruction on to what the keyboard, a shell or a hang-up sends to the whole group.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  guardian_ = fork();
  if (guardian_ != 0) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    close(watched);
    return;
  }

  // The guardian: it keeps nothing but the terminal and the monitor's pidfd.
  prctl(PR_SET_NAME, "umk-guardian");
  const int terminal = fcntl(fd_, F_DUPFD, 10);
  const int target = fcntl(watched, F_DUPFD, 10);
  for (int fd = 0; fd < 10; ++fd) close(fd);
  const int low = terminal < target ? terminal : target, high = terminal < target ? target : terminal;
  if (low > 10) syscall(SYS_close_range, 10, low - 1, 0);
  if (high > low + 1) syscall(SYS_close_range, low + 1, high - 1, 0);
  syscall(SYS_close_range, high + 1, ~0u, 0);
  if (chdir("/") < 0) _exit(1);

  pollfd entry{target, POLLIN, 0};
  while (poll(&entry, 1, -1) < 0 && errno == EINTR) {
  }
  // Put back only what is still raw by us: a shell that has taken over the terminal has set it itself.
  ::termios now;
  if (tcgetattr(terminal, &now) == 0 && !(now.c_lflag & (ICANON | ISIG)) && (before_.c_lflag & ICANON)) set_attributes(terminal, before_);
  if (on_monitor_death) on_monitor_death();
  _exit(0);
}

void HostTerminal::end_guardian() {
  if (guardian_ <= 0) return;
  kill(guardian_, SIGKILL);
  while (waitpid(guardian_, nullptr, 0) < 0 && errno == EINTR) {
  }
  guardian_ = -1;
}

void HostTerminal::enter_raw_mode() {
  const pid_t foreground = tcgetpgrp(fd_);
  if (foreground >= 0 && foreground != getpgrp()) {
    is_raw_ = false;
    return;
  }
  ::termios now;
  // What a shell changed while we were stopped is what it wants back.
  if (!is_raw_ && tcgetattr(fd_, &now) == 0) before_ = now;
  ::termios raw = before_;
  cfmakeraw(&raw);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  set_attributes(fd_, raw);
  is_raw_ = true;
}

void HostTerminal::restore() {
  if (!is_raw_) return;
  set_attributes(fd_, before_);
  is_raw_ = false;
}

WindowSize HostTerminal::window_size() const {
  winsize size{};
  if (ioctl(fd_, TIOCGWINSZ, &size) < 0) return {};
  return {size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel};
}

}  // namespace umk::monitor

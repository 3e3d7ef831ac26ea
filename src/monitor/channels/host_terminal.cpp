#include "monitor/channels/host_terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

namespace umk::monitor {

namespace {

/// Above what a process is started with.
constexpr int kFirstKept = 10;

/// Unix98 and BSD pseudo-terminals. Linux, admin-guide/devices.
bool is_pty_slave(dev_t device) { return (gnu_dev_major(device) >= 136 && gnu_dev_major(device) <= 143) || gnu_dev_major(device) == 3; }

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

std::unique_ptr<HostTerminal> HostTerminal::open_further(int fd, std::function<void()> on_monitor_death) {
  ::termios settings;
  if (fd < 0 || tcgetattr(fd, &settings) < 0) return nullptr;
  std::unique_ptr<HostTerminal> terminal(new HostTerminal(fd, settings));
  // Only pseudo-terminals: another kind would be hung up at the end of the session whose terminal it is.
  struct stat status {};
  const bool is_slave = fstat(fd, &status) == 0 && is_pty_slave(status.st_rdev);
  const bool is_ours = tcgetsid(fd) == getsid(0);
  if (is_slave && !is_ours) terminal->size_event_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  terminal->start_guardian(std::move(on_monitor_death));
  return terminal;
}

HostTerminal::~HostTerminal() {
  restore();
  end_guardian();
  if (size_event_ >= 0) close(size_event_);
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
  if (guardian_ == 0) guard(watched, on_monitor_death);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  close(watched);
}

/// The guardian's whole life. It keeps nothing but the terminal, the monitor's pidfd and the event to tell of.
void HostTerminal::guard(int monitor, const std::function<void()>& on_monitor_death) {
  prctl(PR_SET_NAME, "umk-guardian");
  const int terminal = fcntl(fd_, F_DUPFD, kFirstKept);
  const int target = fcntl(monitor, F_DUPFD, kFirstKept);
  const int event = size_event_ >= 0 ? fcntl(size_event_, F_DUPFD, kFirstKept) : -1;
  int kept[] = {event, terminal, target};
  std::sort(std::begin(kept), std::end(kept));
  unsigned next = 0;
  for (const int fd : kept) {
    if (fd < 0) continue;
    if (static_cast<unsigned>(fd) > next) syscall(SYS_close_range, next, fd - 1, 0);
    next = static_cast<unsigned>(fd) + 1;
  }
  syscall(SYS_close_range, next, ~0u, 0);
  if (chdir("/") < 0) _exit(1);

  int signals = -1;
  if (event >= 0 && setsid() >= 0 && ioctl(terminal, TIOCSCTTY, 0) == 0) {
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGWINCH);
    signals = signalfd(-1, &wanted, SFD_NONBLOCK);
    // It may have changed before anybody was told.
    const uint64_t one = 1;
    (void)!write(event, &one, sizeof one);
  }
  pollfd entries[] = {{target, POLLIN, 0}, {signals, POLLIN, 0}};
  while (entries[0].revents == 0) {
    if (poll(entries, 2, -1) < 0) continue;
    if (entries[1].revents == 0) continue;
    signalfd_siginfo info;
    while (read(signals, &info, sizeof info) > 0) {
    }
    const uint64_t one = 1;
    (void)!write(event, &one, sizeof one);
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

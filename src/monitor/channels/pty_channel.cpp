#include "monitor/channels/pty_channel.h"

#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace umk::monitor {

namespace {

constexpr int kFlags = O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;

/// A free BSD pseudo-terminal's master, whose slave we may open too; -1 with errno.
int open_bsd_master(std::string& device) {
  for (const char bank : std::string_view("pqrstuvwxyzabcde")) {
    for (const char unit : std::string_view("0123456789abcdef")) {
      const std::string master = std::string("/dev/pty") + bank + unit;
      const int fd = ::open(master.c_str(), kFlags);
      if (fd < 0 && errno == ENOENT) break;
      if (fd < 0) continue;
      const std::string slave = std::string("/dev/tty") + bank + unit;
      if (access(slave.c_str(), R_OK | W_OK) == 0) {
        device = master;
        return fd;
      }
      ::close(fd);
    }
  }
  errno = ENOENT;
  return -1;
}

int open_unix98_master(std::string& device) {
  const int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return -1;
  char name[64];
  if (grantpt(fd) == 0 && unlockpt(fd) == 0 && ptsname_r(fd, name, sizeof name) == 0 && fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) == 0) {
    device = name;
    return fd;
  }
  const int error = errno;
  ::close(fd);
  errno = error;
  return -1;
}

}  // namespace

int PtyChannel::open_master() { return kind_ == Kind::Bsd ? open_bsd_master(device_) : open_unix98_master(device_); }

int PtyChannel::open(ChannelUser&) {
  fd_ = open_master();
  if (fd_ < 0) {
    const int error = errno;
    if (kind_ == Kind::Bsd) {
      context_.log(use_.line.announced() + ": the host has no free BSD pseudo-terminal (/dev/ptyp0 ...); pts is the other kind");
    } else {
      context_.log(use_.line.announced() + ": the host gives no pseudo-terminal: " + std::strerror(error));
    }
    return kind_ == Kind::Bsd ? ENODEV : error;
  }
  if (use_.is_raw) {
    // The other side's settings: without echo, or all that the guest writes before somebody comes would return as its input.
    ::termios settings;  // umk::termios is the guest's
    if (tcgetattr(fd_, &settings) == 0) {
      cfmakeraw(&settings);
      tcsetattr(fd_, TCSANOW, &settings);
    }
  }
  context_.log(use_.line.announced() + " assigned device '" + device_ + "'");
  return 0;
}

void PtyChannel::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  device_.clear();
}

ssize_t PtyChannel::read(std::span<uint8_t> into) { return ::read(fd_, into.data(), into.size()); }
ssize_t PtyChannel::write(std::span<const uint8_t> from) { return ::write(fd_, from.data(), from.size()); }

std::string PtyChannel::describe() const {
  const std::string kind = kind_ == Kind::Bsd ? "pty" : "pts";
  return device_.empty() ? kind : kind + ":" + device_;
}

}  // namespace umk::monitor

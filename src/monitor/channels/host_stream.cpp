#include "monitor/channels/host_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace umk::monitor {

namespace {
/// What a terminal or pipe that is ready takes without blocking, in practice.
constexpr size_t kSmallPiece = 256;
}  // namespace

HostStream::HostStream(int inherited_fd, Direction direction) : fd_(-1), is_terminal_(isatty(inherited_fd) == 1) {
  struct stat status {};
  if (fstat(inherited_fd, &status) == 0) {
    if (S_ISSOCK(status.st_mode)) kind_ = Kind::Socket;
    const bool can_block = S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode);
    if (can_block) {
      const int access = direction == Direction::Input ? O_RDONLY : direction == Direction::Output ? O_WRONLY : O_RDWR;
      const std::string path = "/proc/self/fd/" + std::to_string(inherited_fd);
      fd_ = open(path.c_str(), access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
      if (fd_ >= 0) kind_ = Kind::NonBlocking;
    } else if (S_ISREG(status.st_mode)) {
      kind_ = Kind::NonBlocking;
    }
  }
  if (fd_ < 0) fd_ = fcntl(inherited_fd, F_DUPFD_CLOEXEC, 3);
}

HostStream::HostStream(Owned owned) : fd_(owned.fd), kind_(Kind::NonBlocking), is_terminal_(isatty(owned.fd) == 1) {}

HostStream::~HostStream() {
  if (fd_ >= 0) close(fd_);
}

ssize_t HostStream::read(std::span<uint8_t> into) {
  if (kind_ == Kind::Socket) return recv(fd_, into.data(), into.size(), MSG_DONTWAIT);
  if (kind_ == Kind::Blocking) {
    pollfd entry{fd_, POLLIN, 0};
    if (poll(&entry, 1, 0) == 0) {
      errno = EAGAIN;
      return -1;
    }
  }
  return ::read(fd_, into.data(), into.size());
}

ssize_t HostStream::write(std::span<const uint8_t> from) {
  if (kind_ == Kind::Socket) return send(fd_, from.data(), from.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (kind_ == Kind::Blocking) {
    pollfd entry{fd_, POLLOUT, 0};
    if (poll(&entry, 1, 0) == 0) {
      errno = EAGAIN;
      return -1;
    }
    from = from.first(std::min(from.size(), kSmallPiece));
  }
  return ::write(fd_, from.data(), from.size());
}

bool are_same_file(int a, int b) {
  struct stat first {}, second {};
  return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

}  // namespace umk::monitor

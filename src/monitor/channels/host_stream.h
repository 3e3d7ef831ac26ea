// HostStream: a descriptor that umk inherited, for use in the event loop: reads and writes never block, and nobody else notices.
//
// Descriptors are shared with the process that started umk, so O_NONBLOCK must not be set on them. Terminals, pipes and FIFOs are opened anew through
// /proc/self/fd; sockets get MSG_DONTWAIT; plain files do not block. What remains (a terminal of another user, without right to open it) is used in
// small pieces, after epoll said that it is ready.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace umk::monitor {

class HostStream {
 public:
  enum class Direction { Input, Output, Both };
  /// A descriptor that nobody shares, opened with O_NONBLOCK; it is closed at the end.
  struct Owned {
    int fd;
  };

  HostStream(int inherited_fd, Direction direction);
  explicit HostStream(Owned owned);
  ~HostStream();
  HostStream(const HostStream&) = delete;
  HostStream& operator=(const HostStream&) = delete;

  int fd() const { return fd_; }
  bool is_terminal() const { return is_terminal_; }
  /// As read(2) and write(2): -1 with errno, EAGAIN when it would block.
  ssize_t read(std::span<uint8_t> into);
  ssize_t write(std::span<const uint8_t> from);

 private:
  enum class Kind { NonBlocking, Socket, Blocking };

  int fd_;
  Kind kind_ = Kind::Blocking;
  bool is_terminal_ = false;
};

/// True when both descriptors refer to the same file, as after `2>&1`.
bool are_same_file(int a, int b);

}  // namespace umk::monitor

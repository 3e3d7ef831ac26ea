#include "monitor/channels/port_listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "monitor/channels/channel.h"

namespace umk::monitor {

namespace {

constexpr int kBacklog = 16;
/// Connections beyond that wait in the host's queue.
constexpr size_t kMostPending = 16;
constexpr std::string_view kNoLine =
    "****\r\n"
    "All consoles of this machine that use this port are taken, or nothing runs on them yet.\r\n"
    "This connection is kept: it gets the next one that is opened or becomes free.\r\n"
    "****\r\n";

}  // namespace

PortListener::PortListener(EventLoop& loop, int port, std::function<void(const std::string&)> log)
    : loop_(loop), log_(std::move(log)), again_(loop, [this] { watch_port(true); }) {
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int one = 1;
  setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  if (bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 || listen(fd_, kBacklog) < 0) {
    const int error = errno;
    if (fd_ >= 0) close(fd_);
    throw ChannelError("binding to port " + std::to_string(port) + " failed, errno = " + std::to_string(error));
  }
  watch_port(true);
}

PortListener::~PortListener() {
  while (!pending_.empty()) drop(pending_.front());
  watch_port(false);
  close(fd_);
}

void PortListener::watch_port(bool is_watched) {
  if (is_watched == is_watched_) return;
  is_watched_ = is_watched;
  if (is_watched) {
    loop_.watch(fd_, EPOLLIN, [this](uint32_t) { accept_connections(); });
  } else {
    loop_.forget(fd_);
  }
}

void PortListener::accept_connections() {
  while (pending_.size() < kMostPending) {
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (fd < 0) {
      // Out of descriptors or memory: looking again at once would not help.
      if (errno != EAGAIN) {
        watch_port(false);
        again_.start(std::chrono::seconds(1));
      }
      return;
    }
    const int one = 1;
    // Keys are sent as they are typed, and a client whose host is gone is noticed some time.
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    if (waiters_.empty()) {
      keep(fd);
      continue;
    }
    PortWaiter& waiter = *waiters_.front();
    waiters_.pop_front();
    waiter.on_connection(fd);
  }
  watch_port(false);
}

void PortListener::keep(int fd) {
  (void)!send(fd, kNoLine.data(), kNoLine.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  log_("No one waiting for port");
  pending_.push_back(fd);
  // What it sends is left alone until it has a line; only its end is waited for.
  loop_.watch(fd, EPOLLRDHUP, [this, fd](uint32_t) { drop(fd); });
}

void PortListener::drop(int fd) {
  loop_.forget(fd);
  std::erase(pending_, fd);
  close(fd);
  watch_port(true);
}

int PortListener::take_or_wait(PortWaiter& waiter) {
  if (pending_.empty()) {
    waiters_.push_back(&waiter);
    return -1;
  }
  const int fd = pending_.front();
  pending_.pop_front();
  loop_.forget(fd);
  watch_port(true);
  return fd;
}

void PortListener::stop_waiting(PortWaiter& waiter) { std::erase(waiters_, &waiter); }

std::shared_ptr<PortListener> PortListeners::get(int port) {
  std::weak_ptr<PortListener>& known = listeners_[port];
  std::shared_ptr<PortListener> listener = known.lock();
  if (!listener) known = listener = std::make_shared<PortListener>(loop_, port, log_);
  return listener;
}

}  // namespace umk::monitor

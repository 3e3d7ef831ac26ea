#include "monitor/channels/port_channel.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace umk::monitor {

namespace {
constexpr size_t kPiece = 4096;
/// A client that asks and does not read the answers is not listened to any more.
constexpr size_t kMostOutput = 64 * 1024;
}  // namespace

int PortChannel::open(ChannelUser& user) {
  user_ = &user;
  const int fd = listener_->take_or_wait(*this);
  if (fd < 0) return EINPROGRESS;
  begin(fd);
  return 0;
}

void PortChannel::on_connection(int fd) {
  begin(fd);
  user_->on_opened(*this);
}

void PortChannel::begin(int fd) {
  fd_ = fd;
  output_.clear();
  telnet_.emplace(output_);
  telnet_->start();
  (void)flush();
}

void PortChannel::close() {
  if (user_ && fd_ < 0) listener_->stop_waiting(*this);
  user_ = nullptr;
  if (fd_ < 0) return;
  (void)flush();
  ::close(fd_);
  fd_ = -1;
  telnet_.reset();
  output_.clear();
}

bool PortChannel::flush() {
  while (!output_.empty()) {
    const ssize_t count = send(fd_, output_.data(), output_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno == EAGAIN;
    output_.erase(output_.begin(), output_.begin() + count);
  }
  return true;
}

ssize_t PortChannel::read(std::span<uint8_t> into) {
  uint8_t bytes[kPiece];
  std::vector<uint8_t> input;
  // Until there is something for the line: 0 would mean the end.
  while (input.empty()) {
    if (output_.size() > kMostOutput) {
      errno = EAGAIN;
      return -1;
    }
    const ssize_t count = recv(fd_, bytes, std::min(into.size(), sizeof bytes), MSG_DONTWAIT);
    if (count <= 0) return count;
    const bool had_window = telnet_->window().has_value();
    const WindowSize before = window();
    telnet_->receive(std::span(bytes, static_cast<size_t>(count)), input);
    if (!output_.empty()) {
      if (!flush()) return -1;
      if (!output_.empty()) user_->on_output(*this);
    }
    const WindowSize now = window();
    if (telnet_->window() && (!had_window || now.rows != before.rows || now.columns != before.columns)) user_->on_window(*this);
  }
  std::copy(input.begin(), input.end(), into.begin());
  return static_cast<ssize_t>(input.size());
}

ssize_t PortChannel::write(std::span<const uint8_t> from) {
  if (!flush()) return -1;
  if (!output_.empty()) {
    errno = EAGAIN;
    return -1;
  }
  from = from.first(std::min(from.size(), kPiece));
  telnet_->send(from, output_);
  if (!flush()) return -1;
  return static_cast<ssize_t>(from.size());
}

}  // namespace umk::monitor

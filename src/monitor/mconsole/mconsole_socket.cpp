#include "monitor/mconsole/mconsole_socket.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "core/lib/mconsole_format/mconsole_format.h"

namespace umk::monitor {

namespace {

constexpr std::chrono::milliseconds kRetry{2};
constexpr std::chrono::seconds kPatience{10};
constexpr size_t kMostWaitingBytes = size_t{4} << 20;
constexpr size_t kMostClients = 32;
/// Requests that are read at one go: the console has its turn in between.
constexpr int kAtOnce = 32;

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(fmt::format("{}: {}", what, std::strerror(errno))); }

bool may_ask(const ucred* sender) { return sender && (sender->uid == 0 || sender->uid == geteuid()); }

const ucred* credentials_of(const msghdr& message, ucred& into) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control; control = CMSG_NXTHDR(const_cast<msghdr*>(&message), control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_CREDENTIALS) continue;
    std::memcpy(&into, CMSG_DATA(control), sizeof into);
    return &into;
  }
  return nullptr;
}

/// Files that a sender attached are nobody's here.
void close_attached_files(const msghdr& message) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control; control = CMSG_NXTHDR(const_cast<msghdr*>(&message), control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    for (size_t offset = CMSG_LEN(0); offset + sizeof(int) <= control->cmsg_len; offset += sizeof(int)) {
      int fd;
      std::memcpy(&fd, reinterpret_cast<const char*>(control) + offset, sizeof fd);
      close(fd);
    }
  }
}

}  // namespace

bool operator==(const MconsoleClient& a, const MconsoleClient& b) {
  return a.address_bytes == b.address_bytes && std::memcmp(&a.address, &b.address, a.address_bytes) == 0;
}

MconsoleSocket::MconsoleSocket(EventLoop& loop, const std::string& path, Handler handler) : loop_(loop), handler_(std::move(handler)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error(fmt::format("{}: the path is too long for a socket", path));
  path.copy(address.sun_path, path.size());
  fd_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) fail("socket");
  const int on = 1;
  const mode_t mask = umask(0077);
  const bool is_bound = setsockopt(fd_, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0 &&
                        bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  umask(mask);
  timer_fd_ = is_bound ? timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK) : -1;
  if (timer_fd_ < 0) {
    const int error = errno;
    close(fd_);
    errno = error;
    fail(path);
  }
  loop_.watch(fd_, EPOLLIN, [this](uint32_t) { receive(); });
  loop_.watch(timer_fd_, EPOLLIN, [this](uint32_t) {
    uint64_t count;
    (void)!read(timer_fd_, &count, sizeof count);
    send_waiting();
  });
}

MconsoleSocket::~MconsoleSocket() {
  for (const int fd : {fd_, timer_fd_}) {
    loop_.forget(fd);
    close(fd);
  }
}

void MconsoleSocket::pause(bool paused) { loop_.change(fd_, paused ? 0u : uint32_t{EPOLLIN}); }

void MconsoleSocket::receive() {
  for (int round = 0; round < kAtOnce; ++round) {
    MconsoleClient client;
    std::array<std::byte, mconsole_format::kRequestBytes> packet;
    iovec piece{packet.data(), packet.size()};
    alignas(cmsghdr) char control[256];
    msghdr message{};
    message.msg_name = &client.address;
    message.msg_namelen = sizeof client.address;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t size = recvmsg(fd_, &message, MSG_CMSG_CLOEXEC);
    if (size < 0) return;
    client.address_bytes = message.msg_namelen;
    close_attached_files(message);
    ucred sender{};
    if (may_ask(credentials_of(message, sender))) {
      serve_packet(client, std::span(packet).first(static_cast<size_t>(size)));
    } else {
      answer(client, Answer::failed(-EPERM, "Permission denied"));
    }
  }
}

void MconsoleSocket::serve_packet(const MconsoleClient& client, std::span<const std::byte> packet) {
  const mconsole_format::Request request = mconsole_format::parse_request(packet);
  switch (request.fault) {
    case mconsole_format::Request::Fault::Magic: {
      // Of the time before packets: such a client reads bare text.
      constexpr std::string_view kText = "ERR Version 0 mconsole clients are not supported by this driver";
      return send_packet(client, std::as_bytes(std::span(kText)));
    }
    case mconsole_format::Request::Fault::TooLarge: return answer(client, Answer::failed(1, "Request too large"));
    case mconsole_format::Request::Fault::Version:
      // And then does what was asked, as User Mode Linux does: a second answer follows.
      answer(client, Answer::failed(1, "This driver only supports version 2 clients"));
      break;
    case mconsole_format::Request::Fault::None: break;
  }
  handler_(client, request.text);
}

void MconsoleSocket::answer(const MconsoleClient& client, const Answer& answer) {
  std::vector<mconsole_format::Reply> replies;
  for (const std::string& whole : answer.texts) {
    std::string_view text = whole;
    do {
      const std::string_view part = text.substr(0, mconsole_format::kTextBytes - 1);
      replies.push_back({.error = 0, .has_more = true, .text = part});
      text.remove_prefix(part.size());
    } while (!text.empty());
  }
  if (answer.ends_with_empty_packet || replies.empty()) replies.push_back({.error = 0, .has_more = true, .text = {}});
  replies.front().error = answer.error;
  replies.back().has_more = false;
  for (const mconsole_format::Reply& reply : replies) {
    std::array<std::byte, mconsole_format::kReplyBytes> packet;
    send_packet(client, mconsole_format::write_reply(packet, reply));
  }
}

bool MconsoleSocket::try_to_send(const MconsoleClient& client, std::span<const std::byte> packet, bool& is_gone) {
  for (;;) {
    const ssize_t sent = sendto(fd_, packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                                reinterpret_cast<const sockaddr*>(&client.address), client.address_bytes);
    is_gone = sent < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EINTR;
    if (sent >= 0) return true;
    if (errno != EINTR) return false;
  }
}

void MconsoleSocket::send_packet(const MconsoleClient& client, std::span<const std::byte> packet) {
  // A socket without a name cannot be answered.
  if (client.address_bytes <= sizeof(sa_family_t)) return;
  const auto found = std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& entry) { return entry.client == client; });
  if (found == waiting_.end()) {
    bool is_gone = false;
    if (try_to_send(client, packet, is_gone) || is_gone) return;
    // Who has waited longest will hardly read any more.
    if (waiting_.size() >= kMostClients) waiting_.pop_front();
    waiting_.push_back({client, {Packet(packet.begin(), packet.end())}, packet.size(), std::chrono::steady_clock::now()});
    set_timer(true);
    return;
  }
  // In the order in which they were made.
  if (found->bytes + packet.size() > kMostWaitingBytes) {
    waiting_.erase(found);
    return;
  }
  found->packets.emplace_back(packet.begin(), packet.end());
  found->bytes += packet.size();
}

void MconsoleSocket::send_waiting() {
  const auto now = std::chrono::steady_clock::now();
  for (auto entry = waiting_.begin(); entry != waiting_.end();) {
    bool is_gone = false;
    while (!entry->packets.empty() && try_to_send(entry->client, entry->packets.front(), is_gone)) {
      entry->bytes -= entry->packets.front().size();
      entry->packets.pop_front();
      entry->last_progress = now;
    }
    const bool is_done = entry->packets.empty() || is_gone || now - entry->last_progress > kPatience;
    entry = is_done ? waiting_.erase(entry) : std::next(entry);
  }
  set_timer(!waiting_.empty());
}

void MconsoleSocket::set_timer(bool running) {
  itimerspec when{};
  if (running) when.it_value.tv_nsec = std::chrono::nanoseconds(kRetry).count();
  timerfd_settime(timer_fd_, 0, &when, nullptr);
}

void MconsoleSocket::drain(std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (send_waiting(); !waiting_.empty() && std::chrono::steady_clock::now() < deadline; send_waiting())
    std::this_thread::sleep_for(kRetry);
}

}  // namespace umk::monitor

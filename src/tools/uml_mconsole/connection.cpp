#include "tools/uml_mconsole/connection.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "core/lib/mconsole_format/mconsole_format.h"

namespace umk::uml_mconsole {

namespace {

/// How often a silent machine is asked whether it is still there.
constexpr std::chrono::milliseconds kLookInterval{500};

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

std::string find_socket(const std::string& name) {
  std::vector<std::string> places;
  if (const char* home = std::getenv("HOME")) places.push_back(fmt::format("{}/.uml/{}/mconsole", home, name));
  places.push_back(fmt::format("/tmp/uml/{}/mconsole", name));
  places.push_back(name);
  std::string text = fmt::format("there is no machine {}; looked for", name);
  for (const std::string& place : places) {
    struct stat status {};
    if (stat(place.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) {
      if (place.size() < sizeof sockaddr_un::sun_path) return place;
      throw ConnectionError(fmt::format("{}: the path is too long for a socket", place));
    }
    text += "\n  " + place;
  }
  throw ConnectionError(text);
}

}  // namespace

Connection::Connection(const std::string& name, std::chrono::milliseconds patience)
    : name_(name), path_(find_socket(name)), patience_(patience) {
  open_socket();
}

void Connection::open_socket() {
  fd_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  // A machine that takes no requests has a queue that is full at some time.
  const timeval limit{patience_.count() / 1000, patience_.count() % 1000 * 1000};
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  sockaddr_un own{};
  own.sun_family = AF_UNIX;
  // A name of the host's choice, in no directory: who has none is not answered.
  if (fd_ >= 0 && bind(fd_, reinterpret_cast<const sockaddr*>(&own), sizeof(sa_family_t)) == 0) return;
  const int error = errno;
  if (fd_ >= 0) close(std::exchange(fd_, -1));
  throw ConnectionError(fmt::format("no socket: {}", std::strerror(error)));
}

Connection::~Connection() {
  if (fd_ >= 0) close(fd_);
}

void Connection::give_up() {
  // The late answer goes to a socket that is no more.
  close(std::exchange(fd_, -1));
  open_socket();
  throw ConnectionError(fmt::format("{}: the machine has said nothing for {} s; -t sets how long it may", name_, patience_.count() / 1000.0));
}

void Connection::wait_for_packet() {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    auto wait = kLookInterval;
    if (patience_.count() > 0) {
      const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
      if (waited >= patience_) give_up();
      wait = std::min(wait, patience_ - waited);
    }
    pollfd entry{fd_, POLLIN, 0};
    const int ready = poll(&entry, 1, static_cast<int>(wait.count()));
    if (ready > 0) return;
    if (ready < 0 && errno != EINTR) throw ConnectionError(fmt::format("poll: {}", std::strerror(errno)));
    // A machine that ended will not answer any more.
    const sockaddr_un address = address_of(path_);
    const int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const bool is_there = connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    close(probe);
    if (!is_there) throw ConnectionError(fmt::format("{}: the machine has ended", name_));
  }
}

Outcome Connection::ask(std::string_view request, const std::function<void(std::string_view, const Outcome&)>& on_text) {
  std::array<std::byte, mconsole_format::kRequestBytes> packet;
  if (request.size() >= mconsole_format::kTextBytes)
    throw ConnectionError(fmt::format("a command has at most {} bytes", mconsole_format::kTextBytes - 1));
  mconsole_format::write_request(packet, request);
  const sockaddr_un address = address_of(path_);
  while (sendto(fd_, packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    if (errno == EAGAIN) give_up();
    if (errno != EINTR) throw ConnectionError(fmt::format("{}: {}", path_, std::strerror(errno)));
  }

  Outcome outcome;
  for (bool is_first = true;; is_first = false) {
    wait_for_packet();
    std::array<std::byte, mconsole_format::kReplyBytes> bytes;
    const ssize_t size = recv(fd_, bytes.data(), bytes.size(), 0);
    if (size < 0) throw ConnectionError(fmt::format("{}: {}", path_, std::strerror(errno)));
    const auto reply = mconsole_format::parse_reply(std::span(bytes).first(static_cast<size_t>(size)));
    if (!reply) throw ConnectionError(fmt::format("{}: an answer that cannot be understood", path_));
    if (is_first || reply->error != 0) outcome.error = reply->error;
    outcome.text += reply->text;
    if (on_text) on_text(reply->text, outcome);
    if (!reply->has_more) return outcome;
  }
}

}  // namespace umk::uml_mconsole

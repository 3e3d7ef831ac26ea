// MconsoleSocket: the socket of the management console: takes requests, sends answers, in the event loop.
//
// A request comes from a datagram socket with an address, or nobody can be answered. Who may ask is decided by the socket's permissions, and by the credentials
// that the host attaches to each datagram: only the user who runs the machine, and root.
//
// A reader's queue on the host holds few packets (net.unix.max_dgram_qlen, 10) and cannot be waited for by the sender. So what does not fit stays here, a queue
// for each reader, and is tried again every few milliseconds; a reader who takes nothing for some seconds, or for whom too much has gathered, is forgotten.
// The machine never waits for a reader.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <span>
#include <string>
#include <vector>

#include "monitor/event_loop.h"
#include "monitor/mconsole/answer.h"

namespace umk::monitor {

/// The address of who sent a request.
struct MconsoleClient {
  sockaddr_un address{};
  socklen_t address_bytes = 0;
  friend bool operator==(const MconsoleClient& a, const MconsoleClient& b);
};

class MconsoleSocket {
 public:
  /// Gets the text of a request; answers by answer(), now or later.
  using Handler = std::function<void(const MconsoleClient& client, std::string_view text)>;

  /// Binds `path`, which is removed with the directory that it is in. Throws std::runtime_error.
  MconsoleSocket(EventLoop& loop, const std::string& path, Handler handler);
  ~MconsoleSocket();
  MconsoleSocket(const MconsoleSocket&) = delete;
  MconsoleSocket& operator=(const MconsoleSocket&) = delete;

  void answer(const MconsoleClient& client, const Answer& answer);
  /// While paused, requests wait at the host, and their senders with them.
  void pause(bool paused);
  /// Sends what is left, for up to `patience`.
  void drain(std::chrono::milliseconds patience);

 private:
  using Packet = std::vector<std::byte>;
  struct Waiting {
    MconsoleClient client;
    std::deque<Packet> packets;
    size_t bytes = 0;
    std::chrono::steady_clock::time_point last_progress;
  };

  void receive();
  void serve_packet(const MconsoleClient& client, std::span<const std::byte> packet);
  void send_packet(const MconsoleClient& client, std::span<const std::byte> packet);
  bool try_to_send(const MconsoleClient& client, std::span<const std::byte> packet, bool& is_gone);
  void send_waiting();
  void set_timer(bool running);

  EventLoop& loop_;
  Handler handler_;
  int fd_ = -1, timer_fd_ = -1;
  std::list<Waiting> waiting_;
};

}  // namespace umk::monitor

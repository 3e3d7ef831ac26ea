// Connection: a way to ask one machine, by its name or the path of its socket.
#pragma once

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace umk::uml_mconsole {

/// What goes wrong between us and the machine, for people.
class ConnectionError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Outcome {
  int error = 0;     // 0, 1, or a negative errno
  std::string text;  // all packets
};

class Connection {
 public:
  /// Looks in ~/.uml/NAME/mconsole, /tmp/uml/NAME/mconsole and at NAME itself. Throws ConnectionError.
  /// `patience` is how long the machine may say nothing; zero: for ever.
  Connection(const std::string& name, std::chrono::milliseconds patience);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  const std::string& name() const { return name_; }
  const std::string& socket_path() const { return path_; }
  std::chrono::milliseconds patience() const { return patience_; }
  /// Sends a request and waits for the whole answer. `on_text` gets each packet's text as it comes. Throws ConnectionError when the machine is gone,
  /// or silent for too long; an answer that comes later is not taken for that of the next request.
  Outcome ask(std::string_view request, const std::function<void(std::string_view text, const Outcome& so_far)>& on_text = {});

 private:
  void open_socket();
  void wait_for_packet();
  [[noreturn]] void give_up();

  std::string name_, path_;
  std::chrono::milliseconds patience_;
  int fd_ = -1;
};

}  // namespace umk::uml_mconsole

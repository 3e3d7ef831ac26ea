// Connection: a way to ask one machine, by its name or the path of its socket.
#pragma once

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
  explicit Connection(const std::string& name);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  const std::string& name() const { return name_; }
  const std::string& socket_path() const { return path_; }
  /// Sends a request and waits for the whole answer. `on_text` gets each packet's text as it comes. Throws ConnectionError when the machine is gone.
  Outcome ask(std::string_view request, const std::function<void(std::string_view text, const Outcome& so_far)>& on_text = {});

 private:
  void wait_for_packet();

  std::string name_, path_;
  int fd_ = -1;
};

}  // namespace umk::uml_mconsole

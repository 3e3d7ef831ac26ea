// Notifier: tells a socket of the host's what happens to the machine: mconsole=notify:PATH.
#pragma once

#include <string>
#include <string_view>

#include "core/lib/mconsole_format/mconsole_format.h"

namespace umk::monitor {

class Notifier {
 public:
  explicit Notifier(std::string path) : path_(std::move(path)) {}
  ~Notifier();
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  const std::string& path() const { return path_; }
  /// Returns 0 or an errno: nobody listens, or too slowly. Never waits.
  int send(mconsole_format::Notice type, std::string_view bytes);

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace umk::monitor

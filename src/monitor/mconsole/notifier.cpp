#include "monitor/mconsole/notifier.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace umk::monitor {

Notifier::~Notifier() {
  if (fd_ >= 0) close(fd_);
}

int Notifier::send(mconsole_format::Notice type, std::string_view bytes) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof address.sun_path) return ENAMETOOLONG;
  path_.copy(address.sun_path, path_.size());
  if (fd_ < 0) fd_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return errno;
  std::array<std::byte, mconsole_format::kNotificationBytes> buffer;
  const auto packet = mconsole_format::write_notification(buffer, {type, bytes});
  const ssize_t sent =
      sendto(fd_, packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  return sent < 0 ? errno : 0;
}

}  // namespace umk::monitor

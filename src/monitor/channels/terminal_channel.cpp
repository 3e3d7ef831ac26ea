#include "monitor/channels/terminal_channel.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace umk::monitor {

int TerminalChannel::open(ChannelUser& user) {
  const int access = use_.direction == Direction::Input ? O_RDONLY : use_.direction == Direction::Output ? O_WRONLY : O_RDWR;
  // Without O_NOCTTY it would become ours; with O_NONBLOCK a serial line's open does not wait for the modem.
  const int fd = ::open(path_.c_str(), access | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  int error = fd < 0 ? errno : 0;
  if (fd >= 0 && !isatty(fd)) {
    ::close(fd);
    error = ENOTTY;
  }
  if (error != 0) {
    context_.log("tty_open : cannot open '" + path_ + "': " + std::strerror(error));
    return error == ENOTTY ? ENODEV : error;
  }
  stream_ = std::make_unique<LineStream>(context_.loop, std::make_unique<HostStream>(HostStream::Owned{fd}), use_.is_raw,
                                         [this, &user] { user.on_window(*this); });
  return 0;
}

}  // namespace umk::monitor

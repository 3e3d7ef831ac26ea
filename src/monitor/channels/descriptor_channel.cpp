#include "monitor/channels/descriptor_channel.h"

#include <dirent.h>
#include <fcntl.h>

#include <cerrno>
#include <cstdlib>

namespace umk::monitor {

int DescriptorChannel::open(ChannelUser& user) {
  // Any other descriptor is umk's own, and some of those are the machine's memory.
  if (!context_.inherited.contains(number_)) {
    context_.log("fd_open : umk was not started with descriptor " + std::to_string(number_));
    return EBADF;
  }
  const auto direction = use_.direction == Direction::Input    ? HostStream::Direction::Input
                         : use_.direction == Direction::Output ? HostStream::Direction::Output
                                                               : HostStream::Direction::Both;
  stream_ = std::make_unique<LineStream>(context_.loop, std::make_unique<HostStream>(number_, direction), use_.is_raw,
                                         [this, &user] { user.on_window(*this); });
  return 0;
}

std::set<int> find_inherited_descriptors() {
  std::set<int> found;
  DIR* const directory = opendir("/proc/self/fd");
  if (!directory) return {0, 1, 2};
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] == '.') continue;
    const int fd = std::atoi(entry->d_name);
    const int flags = fcntl(fd, F_GETFD);
    if (fd != dirfd(directory) && flags >= 0 && !(flags & FD_CLOEXEC)) found.insert(fd);
  }
  closedir(directory);
  return found;
}

}  // namespace umk::monitor

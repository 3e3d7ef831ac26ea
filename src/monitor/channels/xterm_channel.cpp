#include "monitor/channels/xterm_channel.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace umk::monitor {

namespace {

/// What the helper sent: its terminal, or -1, and its pid.
int take_terminal(int socket, pid_t& pid) {
  int32_t said = -1;
  iovec piece{&said, sizeof said};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 4)];
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t size = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (size < 0) return -1;
  int terminal = -1;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      if (terminal < 0 && isatty(fd)) {
        terminal = fd;
      } else {
        close(fd);
      }
    }
  }
  if (size == sizeof said) pid = said;
  return terminal;
}

}  // namespace

std::string find_port_helper() {
  if (const char* const chosen = std::getenv("UML_PORT_HELPER")) return chosen;
  constexpr const char* kOfUml = "/usr/lib/uml/port-helper";
  if (access(kOfUml, X_OK) == 0) return kOfUml;
  char self[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", self, sizeof self);
  if (size > 0) {
    std::string path(self, static_cast<size_t>(size));
    path.replace(path.rfind('/') + 1, std::string::npos, "port-helper");
    if (access(path.c_str(), X_OK) == 0) return path;
  }
  return find_program("port-helper");
}

XtermChannel::XtermChannel(const ChannelUse& use, ChannelContext& context)
    : use_(use),
      context_(context),
      patience_(context.loop, [this] { fail("xterm_open : '" + context_.xterm.emulator + "' ended without a window"); }) {}

int XtermChannel::listen() {
  char name[] = "/tmp/xterm-pipeXXXXXX";
  const int file = mkstemp(name);
  if (file < 0) return errno;
  ::close(file);
  unlink(name);
  socket_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  // The mode of a socket is that of the name it is bound to: nobody else may send a terminal.
  fchmod(socket_, 0600);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, name);
  if (socket_ < 0 || bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    const int error = errno;
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
    return error;
  }
  socket_path_ = name;
  context_.loop.watch(socket_, EPOLLIN, [this](uint32_t) { receive(); });
  return 0;
}

void XtermChannel::stop_listening() {
  if (socket_ < 0) return;
  context_.loop.forget(socket_);
  ::close(socket_);
  unlink(socket_path_.c_str());
  socket_ = -1;
}

int XtermChannel::open(ChannelUser& user) {
  user_ = &user;
  const auto refuse = [&](const std::string& why, int error) {
    close();
    context_.log(why);
    return error;
  };
  if (!std::getenv("DISPLAY")) return refuse("xterm_open: $DISPLAY not set.", ENODEV);
  const std::string helper = find_port_helper();
  if (helper.empty()) return refuse("xterm_open : port-helper is not there: it belongs beside umk, or into /usr/lib/uml", ENOENT);
  if (const int error = listen()) return refuse(std::string("xterm_open : no socket in /tmp: ") + std::strerror(error), error);
  std::string title = use_.line.title();
  if (!context_.machine_name.empty()) title += " (" + context_.machine_name + ")";
  const XtermCommand& command = context_.xterm;
  emulator_ =
      HelperProcess::start({command.emulator, command.title_switch, title, command.execute_switch, helper, "-uml-socket", socket_path_});
  if (!emulator_) {
    const int error = errno;
    return refuse("xterm_open : cannot start '" + command.emulator + "': " + std::strerror(error), error);
  }
  context_.on_helper(emulator_->pid());
  context_.loop.watch(emulator_->end_fd(), EPOLLIN, [this](uint32_t) {
    context_.loop.forget(emulator_->end_fd());
    // It may have handed the window over to another process, which needs a moment.
    if (!stream_) patience_.start(context_.patience);
  });
  return EINPROGRESS;
}

void XtermChannel::receive() {
  pid_t pid = -1;
  const int terminal = take_terminal(socket_, pid);
  if (terminal < 0) return;  // from somebody who is no helper
  patience_.stop();
  stop_listening();
  helper_ = HelperProcess::adopt(pid);
  auto stream = std::make_unique<HostStream>(terminal, HostStream::Direction::Both);
  ::close(terminal);
  // When umk is killed the emulator ends by itself; a helper in it would not hear of that.
  const pid_t helper_pid = helper_ ? helper_->pid() : -1;
  auto on_monitor_death = [helper_pid] {
    if (helper_pid > 1) kill(helper_pid, SIGKILL);
  };
  stream_ = std::make_unique<LineStream>(
      context_.loop, std::move(stream), use_.is_raw, [this] { user_->on_window(*this); }, on_monitor_death);
  user_->on_opened(*this);
}

void XtermChannel::fail(const std::string& why) {
  context_.log(why);
  ChannelUser* const user = user_;
  close();
  user->on_failed(*this, ENODEV);
}

void XtermChannel::close() {
  patience_.stop();
  stop_listening();
  stream_.reset();
  if (helper_) helper_->signal(SIGKILL);
  helper_.reset();
  if (emulator_) {
    context_.loop.forget(emulator_->end_fd());
    context_.ending.end(std::move(emulator_), context_.patience);
  }
  user_ = nullptr;
}

}  // namespace umk::monitor

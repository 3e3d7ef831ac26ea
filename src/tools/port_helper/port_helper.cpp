// port-helper: what runs inside a window that umk opens for a console. It sends the window's terminal to umk and then only keeps the window open.
// port-helper(1). As User Mode Linux's program of this name it also takes the place of login(1) under telnetd, with the socket as descriptor 3.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kGivenSocket = 3;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  // Long enough to be read in a window that closes with this program.
  sleep(5);
  std::exit(1);
}

int connect_to(const char* path) {
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (std::strlen(path) >= sizeof address.sun_path) {
    std::fprintf(stderr, "port-helper: %s: the path is too long for a socket\n", path);
    std::exit(1);
  }
  std::strcpy(address.sun_path, path);
  if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) fail("port-helper: connect");
  return fd;
}

/// Standard input, with our pid as the bytes that go along.
void send_terminal(int socket) {
  int32_t pid = static_cast<int32_t>(getpid());
  iovec piece{&pid, sizeof pid};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int terminal = STDIN_FILENO;
  std::memcpy(CMSG_DATA(header), &terminal, sizeof terminal);
  if (sendmsg(socket, &message, 0) != static_cast<ssize_t>(sizeof pid)) fail("port-helper: sendmsg");
}

}  // namespace

int main(int argc, char** argv) {
  int socket = -1;
  if (argc == 3 && std::strcmp(argv[1], "-uml-socket") == 0) {
    socket = connect_to(argv[2]);
  } else if (argc == 1 || fcntl(kGivenSocket, F_GETFD) >= 0) {
    // telnetd calls it as it would call login, with arguments of its own.
    socket = kGivenSocket;
  } else {
    std::fputs("Usage: port-helper [-uml-socket SOCKET]\n", stderr);
    return 1;
  }
  // What is typed is for umk: no key of the window may stop or end this program, and umk makes the terminal that of a session of its own.
  signal(SIGHUP, SIG_IGN);
  ioctl(STDIN_FILENO, TIOCNOTTY);
  send_terminal(socket);
  close(socket);
  // Until umk ends it, or the window is gone.
  pollfd window{STDIN_FILENO, 0, 0};
  while (poll(&window, 1, -1) <= 0 || !(window.revents & (POLLHUP | POLLERR | POLLNVAL))) {
  }
  return 0;
}

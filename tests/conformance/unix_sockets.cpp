// AF_UNIX: addresses, connections, shutdown, options.
#include "check.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>

namespace {

struct Address {
  sockaddr_un name{};
  socklen_t length = sizeof(sa_family_t);
  explicit Address(const char* path) {
    name.sun_family = AF_UNIX;
    if (path == nullptr) return;
    if (path[0] == '@') {  // abstract
      memcpy(name.sun_path + 1, path + 1, strlen(path) - 1);
      length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + strlen(path));
    } else {
      strcpy(name.sun_path, path);
      length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + strlen(path) + 1);
    }
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&name); }
};

int make(int type) { return static_cast<int>(must("socket", socket(AF_UNIX, type, 0))); }
long bind_to(int fd, const char* path) {
  const Address a(path);
  return bind(fd, a.get(), a.length);
}
long connect_to(int fd, const char* path) {
  const Address a(path);
  return connect(fd, a.get(), a.length);
}
void shown_name(const char* what, int fd, int (*call)(int, sockaddr*, socklen_t*)) {
  sockaddr_un name{};
  socklen_t length = sizeof name;
  if (call(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0) {
    shown(what, -1);
    return;
  }
  say("%s: length %u", what, length);
  if (length > 2) shown_data("  path", name.sun_path, static_cast<long>(length) - 2);
}
// glibc declares getsockname with a transparent union.
int own(int fd, sockaddr* a, socklen_t* l) { return getsockname(fd, a, l); }
int peer(int fd, sockaddr* a, socklen_t* l) { return getpeername(fd, a, l); }

}  // namespace

CASE(creation) {
  opened("stream", socket(AF_UNIX, SOCK_STREAM, 0));
  opened("datagram", socket(AF_UNIX, SOCK_DGRAM, 0));
  opened("seqpacket", socket(AF_UNIX, SOCK_SEQPACKET, 0));
  opened("raw is a datagram", socket(AF_UNIX, SOCK_RAW, 0));
  opened("rdm", socket(AF_UNIX, SOCK_RDM, 0));
  opened("bad type", socket(AF_UNIX, 77, 0));
  opened("protocol 1", socket(AF_UNIX, SOCK_STREAM, 1));
  opened("protocol 2", socket(AF_UNIX, SOCK_STREAM, 2));
  opened("bad family", socket(99, SOCK_STREAM, 0));
  const int fd = ifd("flags", socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  say("%x %d", static_cast<unsigned>(fcntl(fd, F_GETFL)), fcntl(fd, F_GETFD));
  opened("bad flags", socket(AF_UNIX, SOCK_STREAM | 0x100000, 0));
  int pair[2];
  shown("pair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  shown("pair bad pointer", socketpair(AF_UNIX, SOCK_STREAM, 0, bad<int>()));
  struct stat st{};
  fstat(pair[0], &st);
  say("%o", st.st_mode);
  shown("seek", lseek(pair[0], 0, SEEK_SET));
  int value = 0;
  socklen_t length = sizeof value;
  shown("SO_TYPE", getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length));
  shown("type", value);
  getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &length);
  shown("domain", value);
  getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &value, &length);
  shown("protocol", value);
  shown("unknown option", getsockopt(fd, SOL_SOCKET, 9999, &value, &length));
  shown("unknown level", getsockopt(fd, 200, 1, &value, &length));
  const int file = open("f", O_CREAT | O_RDWR, 0600);
  shown("not a socket", listen(file, 1));
  shown("bad descriptor", listen(99, 1));
}

CASE(stream_by_path) {
  const int server = make(SOCK_STREAM);
  shown_name("unbound", server, own);
  shown("bind", bind_to(server, "s"));
  shown_name("bound", server, own);
  struct stat st{};
  stat("s", &st);
  say("%o", st.st_mode);
  shown("bind again", bind_to(server, "t"));
  shown("bind of a used name", bind_to(make(SOCK_STREAM), "s"));
  shown("connect before listen", connect_to(make(SOCK_STREAM), "s"));
  shown("accept before listen", accept(server, nullptr, nullptr));
  shown("listen", listen(server, 1));
  shown("listening", fcntl(server, F_GETFL) >= 0);
  const int client = make(SOCK_STREAM);
  shown("connect", connect_to(client, "s"));
  shown("connect again", connect_to(client, "s"));
  sockaddr_un name{};
  socklen_t length = sizeof name;
  const int other = ifd("accept", accept4(server, reinterpret_cast<sockaddr*>(&name), &length, SOCK_CLOEXEC));
  say("length %u cloexec %d", length, fcntl(other, F_GETFD));
  shown_name("client's peer", client, peer);
  shown_name("accepted's own", other, own);
  shown_name("accepted's peer", other, peer);
  char buffer[32];
  write(client, "hello", 5);
  shown_data("read", buffer, read(other, buffer, 32));
  shown("unlink", unlink("s"));
  write(other, "still", 5);
  shown_data("read", buffer, read(client, buffer, 32));
  shown("connect to the removed name", connect_to(make(SOCK_STREAM), "s"));
  make_file("file", "");
  shown("connect to a file", connect_to(make(SOCK_STREAM), "file"));
  shown("connect of another type", (bind_to(make(SOCK_DGRAM), "dg"), connect_to(make(SOCK_STREAM), "dg")));
  shown("bad accept flags", accept4(server, nullptr, nullptr, 0x1000));
  shown("listen on a datagram", listen(make(SOCK_DGRAM), 1));
  const int name_less = make(SOCK_STREAM);
  shown("listen unbound", listen(name_less, 1));
}

CASE(backlog) {
  const int server = make(SOCK_STREAM);
  bind_to(server, "s");
  listen(server, 1);
  for (int i = 0; i < 4; i++) {
    const int client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    shown("connect", connect_to(client, "s"));
  }
  pollfd one{server, POLLIN, 0};
  shown("poll", poll(&one, 1, 0));
  fcntl(server, F_SETFL, O_NONBLOCK);
  shown("accept", accept(server, nullptr, nullptr) >= 0);
  shown("accept", accept(server, nullptr, nullptr) >= 0);
  shown("accept", accept(server, nullptr, nullptr));
  const int client = make(SOCK_STREAM);
  shown("connect", connect_to(client, "s"));
  close(server);
  char c = 0;
  shown("read after the server went", read(client, &c, 1));
}

CASE(abstract_names) {
  char name[64];
  snprintf(name, sizeof name, "@umk-test-%d", getpid());
  const int server = make(SOCK_STREAM);
  shown("bind", bind_to(server, name));
  shown("again", bind_to(make(SOCK_STREAM), name));
  shown("listen", listen(server, 5));
  shown("connect", connect_to(make(SOCK_STREAM), name));
  close(server);
  shown("gone", connect_to(make(SOCK_STREAM), name));
  const int automatic = make(SOCK_STREAM);
  shown("autobind", bind_to(automatic, nullptr));
  sockaddr_un own_name{};
  socklen_t length = sizeof own_name;
  getsockname(automatic, reinterpret_cast<sockaddr*>(&own_name), &length);
  say("length %u first %d", length, own_name.sun_path[0]);
  sockaddr_un wrong{};
  wrong.sun_family = AF_INET;
  shown("wrong family", bind(make(SOCK_STREAM), reinterpret_cast<sockaddr*>(&wrong), sizeof wrong));
  wrong.sun_family = AF_UNIX;
  shown("too long", bind(make(SOCK_STREAM), reinterpret_cast<sockaddr*>(&wrong), sizeof wrong + 1));
  shown("too short", bind(make(SOCK_STREAM), reinterpret_cast<sockaddr*>(&wrong), 1));
  shown("bad pointer", bind(make(SOCK_STREAM), bad<sockaddr>(), 10));
  shown("missing directory", bind_to(make(SOCK_STREAM), "no/s"));
}

CASE(shutdowns) {
  int pair[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  signal(SIGPIPE, SIG_IGN);
  char buffer[16];
  write(pair[0], "last", 4);
  shown("shutdown write", shutdown(pair[0], SHUT_WR));
  shown("write", write(pair[0], "x", 1));
  shown_data("peer reads the rest", buffer, read(pair[1], buffer, 16));
  shown("then the end", read(pair[1], buffer, 16));
  pollfd fds[2] = {{pair[0], POLLIN | POLLOUT | POLLRDHUP, 0}, {pair[1], POLLIN | POLLOUT | POLLRDHUP, 0}};
  poll(fds, 2, 0);
  say("poll %x %x", static_cast<unsigned>(fds[0].revents), static_cast<unsigned>(fds[1].revents));
  shown("other direction", write(pair[1], "back", 4));
  shown_data("read", buffer, read(pair[0], buffer, 16));
  shown("shutdown read", shutdown(pair[0], SHUT_RD));
  shown("read", read(pair[0], buffer, 16));
  shown("peer writes", write(pair[1], "x", 1));
  shown("both", shutdown(pair[1], SHUT_RDWR));
  poll(fds, 2, 0);
  say("poll %x %x", static_cast<unsigned>(fds[0].revents), static_cast<unsigned>(fds[1].revents));
  shown("bad", shutdown(pair[1], 7));
  shown("unconnected", shutdown(make(SOCK_STREAM), SHUT_WR));
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  write(pair[1], "unread", 6);
  write(pair[0], "data", 4);
  close(pair[0]);
  shown_data("data before the reset", buffer, read(pair[1], buffer, 16));
  shown("reset since data was not read", read(pair[1], buffer, 16));
  shown("then the end", read(pair[1], buffer, 16));
  in_child("SIGPIPE", [&] {
    signal(SIGPIPE, SIG_DFL);
    write(pair[1], "x", 1);
  });
  shown("MSG_NOSIGNAL", send(pair[1], "x", 1, MSG_NOSIGNAL));
}

CASE(datagrams) {
  const int a = make(SOCK_DGRAM);
  const int b = make(SOCK_DGRAM);
  bind_to(a, "a");
  bind_to(b, "b");
  const Address to_b("b");
  shown("sendto", sendto(a, "one", 3, 0, to_b.get(), to_b.length));
  shown("sendto", sendto(a, "two2", 4, 0, to_b.get(), to_b.length));
  shown("empty", sendto(a, "", 0, 0, to_b.get(), to_b.length));
  int bytes = 0;
  ioctl(b, FIONREAD, &bytes);
  shown("FIONREAD is the first message", bytes);
  char buffer[16];
  sockaddr_un from{};
  socklen_t length = sizeof from;
  shown_data("recvfrom", buffer, recvfrom(b, buffer, 16, 0, reinterpret_cast<sockaddr*>(&from), &length));
  say("from %s length %u", from.sun_path, length);
  shown("cut, with its true length", recv(b, buffer, 2, MSG_TRUNC));
  shown("empty message", recv(b, buffer, 16, MSG_DONTWAIT));
  shown("none", recv(b, buffer, 16, MSG_DONTWAIT));
  shown("send without destination", send(a, "x", 1, 0));
  shown("connect", connect_to(a, "b"));
  shown("send", send(a, "con", 3, 0));
  shown("b is not connected back", send(b, "x", 1, 0));
  shown("connect b to another", (connect_to(b, "b"), 0));
  shown("b takes only from its peer", send(a, "x", 1, MSG_DONTWAIT));
  shown("to nobody", sendto(make(SOCK_DGRAM), "x", 1, 0, Address("zz").get(), Address("zz").length));
  close(b);
  shown("peer closed", send(a, "x", 1, 0));
  shown("peer closed, again", send(a, "x", 1, 0));
  sockaddr unspecified{};
  shown("disconnect", connect(a, &unspecified, sizeof unspecified));
}

CASE(sequenced_packets) {
  int pair[2];
  socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair);
  char buffer[16];
  write(pair[0], "first", 5);
  write(pair[0], "second", 6);
  shown_data("cut", buffer, read(pair[1], buffer, 3));
  shown_data("next", buffer, read(pair[1], buffer, 16));
  msghdr message{};
  iovec part{buffer, 2};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  write(pair[0], "third", 5);
  shown("recvmsg", recvmsg(pair[1], &message, 0));
  say("flags %x", static_cast<unsigned>(message.msg_flags));
  close(pair[0]);
  shown("end", read(pair[1], buffer, 16));
}

CASE(options) {
  int pair[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  timeval wait{0, 30000};
  shown("SO_RCVTIMEO", setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait));
  char c = 0;
  shown("times out", recv(pair[0], &c, 1, 0));
  int value = 0;
  socklen_t length = sizeof value;
  shown("SO_ERROR", getsockopt(pair[0], SOL_SOCKET, SO_ERROR, &value, &length));
  shown("value", value);
  value = 20000;
  shown("SO_SNDBUF", setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &value, sizeof value));
  getsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &value, &length);
  shown("doubled", value);
  static char data[1 << 20];
  fcntl(pair[0], F_SETFL, O_NONBLOCK);
  long total = 0;
  long n = 0;
  while ((n = write(pair[0], data, 4096)) > 0) total += n;
  shown("full", n);
  say("some %d", total >= 4096 && total < 100000);
  ucred credentials{};
  length = sizeof credentials;
  shown("SO_PEERCRED", getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &credentials, &length));
  say("mine %d uid %u gid %u", credentials.pid == getpid(), credentials.uid, credentials.gid);
  int accepting = 9;
  length = sizeof accepting;
  getsockopt(pair[0], SOL_SOCKET, SO_ACCEPTCONN, &accepting, &length);
  shown("SO_ACCEPTCONN", accepting);
}

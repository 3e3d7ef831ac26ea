// AF_UNIX: passing descriptors and credentials, MSG_* flags, many messages at once.
#include "check.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace {

struct Message {
  char data[64] = {};
  alignas(cmsghdr) char control[256] = {};
  iovec part{data, sizeof data};
  msghdr header{};
  Message() {
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
  }
};

long send_fds(int socket, const char* text, const int* fds, int count) {
  Message m;
  strcpy(m.data, text);
  m.part.iov_len = strlen(text);
  m.header.msg_controllen = CMSG_SPACE(sizeof(int) * static_cast<size_t>(count));
  cmsghdr* control = CMSG_FIRSTHDR(&m.header);
  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_RIGHTS;
  control->cmsg_len = CMSG_LEN(sizeof(int) * static_cast<size_t>(count));
  memcpy(CMSG_DATA(control), fds, sizeof(int) * static_cast<size_t>(count));
  return sendmsg(socket, &m.header, 0);
}

int receive_fds(const char* what, int socket, int* fds, int flags = 0, size_t control_size = 256) {
  Message m;
  m.header.msg_controllen = control_size;
  const ssize_t n = recvmsg(socket, &m.header, flags);
  shown_data(what, m.data, n);
  if (n < 0) return 0;
  int count = 0;
  for (cmsghdr* control = CMSG_FIRSTHDR(&m.header); control != nullptr; control = CMSG_NXTHDR(&m.header, control)) {
    if (control->cmsg_type == SCM_RIGHTS) {
      count = static_cast<int>((control->cmsg_len - CMSG_LEN(0)) / sizeof(int));
      memcpy(fds, CMSG_DATA(control), sizeof(int) * static_cast<size_t>(count));
    } else if (control->cmsg_type == SCM_CREDENTIALS) {
      ucred credentials;
      memcpy(&credentials, CMSG_DATA(control), sizeof credentials);
      say("  credentials: mine %d uid %u gid %u", credentials.pid == getpid(), credentials.uid, credentials.gid);
    }
  }
  say("  flags %x descriptors %d", static_cast<unsigned>(m.header.msg_flags), count);
  return count;
}

long send_credentials(int socket, pid_t pid, uid_t uid, gid_t gid) {
  Message m;
  m.data[0] = 'c';
  m.part.iov_len = 1;
  m.header.msg_controllen = CMSG_SPACE(sizeof(ucred));
  cmsghdr* control = CMSG_FIRSTHDR(&m.header);
  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_CREDENTIALS;
  control->cmsg_len = CMSG_LEN(sizeof(ucred));
  const ucred credentials{pid, uid, gid};
  memcpy(CMSG_DATA(control), &credentials, sizeof credentials);
  return sendmsg(socket, &m.header, 0);
}

}  // namespace

CASE(descriptors) {
  int pair[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  make_file("f", "content");
  int fds[8];
  fds[0] = open("f", O_RDONLY);
  int p[2];
  pipe(p);
  fds[1] = p[1];
  shown("send two", send_fds(pair[0], "two", fds, 2));
  close(fds[0]);
  close(p[1]);
  int got[8];
  if (receive_fds("receive", pair[1], got) == 2) {
    char buffer[16];
    shown_data("file", buffer, read(got[0], buffer, 16));
    write(got[1], "through", 7);
    shown_data("pipe", buffer, read(p[0], buffer, 16));
    shown("cloexec", fcntl(got[0], F_GETFD));
    close(got[1]);
    shown("pipe ends with the last copy", read(p[0], buffer, 16));
  }
  fds[0] = open("f", O_RDONLY);
  send_fds(pair[0], "x", fds, 1);
  if (receive_fds("MSG_CMSG_CLOEXEC", pair[1], got, MSG_CMSG_CLOEXEC) == 1) shown("cloexec", fcntl(got[0], F_GETFD));
  fds[1] = fds[0];
  send_fds(pair[0], "y", fds, 2);
  receive_fds("control too small", pair[1], got, 0, CMSG_SPACE(sizeof(int)) - 4);
  send_fds(pair[0], "z", fds, 1);
  char buffer[16];
  shown_data("plain read drops them", buffer, read(pair[1], buffer, 16));
  fds[0] = 99;
  shown("bad descriptor", send_fds(pair[0], "w", fds, 1));
  static int many[300];
  for (int& fd : many) fd = pair[0];
  Message m;
  m.part.iov_len = 1;
  static char large[CMSG_SPACE(sizeof many)];
  m.header.msg_control = large;
  m.header.msg_controllen = sizeof large;
  cmsghdr* control = CMSG_FIRSTHDR(&m.header);
  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_RIGHTS;
  control->cmsg_len = CMSG_LEN(sizeof many);
  memcpy(CMSG_DATA(control), many, sizeof many);
  shown("too many", sendmsg(pair[0], &m.header, 0));
}

CASE(descriptor_borders) {
  int pair[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  const int fd = open("/dev/null", O_RDONLY);
  write(pair[0], "aa", 2);
  send_fds(pair[0], "bb", &fd, 1);
  write(pair[0], "cc", 2);
  int got[8];
  receive_fds("up to the descriptor", pair[1], got);
  receive_fds("rest", pair[1], got);
  receive_fds("none", pair[1], got, MSG_DONTWAIT);
  // A socket that holds itself, and one that is on its way when all its names are gone.
  send_fds(pair[0], "self", &pair[1], 1);
  close(pair[1]);
  close(pair[0]);
  say("closed");
}

CASE(credentials) {
  int pair[2];
  socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
  int got[8];
  write(pair[0], "x", 1);
  receive_fds("without SO_PASSCRED", pair[1], got);
  int on = 1;
  shown("SO_PASSCRED", setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
  write(pair[0], "y", 1);
  receive_fds("with", pair[1], got);
  shown("own credentials", send_credentials(pair[0], getpid(), 0, 0));
  receive_fds("own", pair[1], got);
  shown("root may claim another uid", send_credentials(pair[0], getpid(), 1000, 1000));
  receive_fds("other", pair[1], got);
  shown("missing pid", send_credentials(pair[0], 999999, 0, 0));
  in_child("nobody", [&] {
    setresgid(65534, 65534, 65534);
    setresuid(65534, 65534, 65534);
    shown("may not", send_credentials(pair[0], getpid(), 0, 65534));
    shown("own", send_credentials(pair[0], getpid(), 65534, 65534));
  });
  receive_fds("from nobody", pair[1], got);
}

CASE(flags) {
  int pair[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  char buffer[16] = {};
  shown("MSG_DONTWAIT", recv(pair[1], buffer, 16, MSG_DONTWAIT));
  write(pair[0], "abcdef", 6);
  shown_data("MSG_PEEK", buffer, recv(pair[1], buffer, 3, MSG_PEEK));
  shown_data("again", buffer, recv(pair[1], buffer, 16, 0));
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 4; i++) {
      write(pair[0], "12", 2);
      sleep_ms(10);
    }
    _exit(0);
  }
  shown_data("MSG_WAITALL", buffer, recv(pair[1], buffer, 8, MSG_WAITALL));
  waitpid(child, nullptr, 0);
  shown("MSG_OOB", send(pair[0], "o", 1, MSG_OOB) >= -1);
  shown("peek offset", recv(pair[1], buffer, 0, MSG_DONTWAIT) >= -1);
  int on = 5;
  shown("SO_PEEK_OFF", setsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &on, sizeof on));
  shown("sendto with an address when connected", sendto(pair[0], "x", 1, 0, reinterpret_cast<const sockaddr*>("\1\0x"), 3));
  shown("bad buffer", send(pair[0], bad(), 4, 0));
  shown("bad message", sendmsg(pair[0], bad<msghdr>(), 0));
}

CASE(peek_offset) {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    say("type %d", type);
    int pair[2];
    socketpair(AF_UNIX, type, 0, pair);
    int offset = 0;
    socklen_t length = sizeof offset;
    shown("get", getsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &offset, &length));
    shown("offset", offset);
    offset = 1;
    shown("set", setsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset));
    write(pair[0], "abcdef", 6);
    write(pair[0], "ghi", 3);
    char buffer[16];
    shown_data("peek", buffer, recv(pair[1], buffer, 2, MSG_PEEK | MSG_DONTWAIT));
    shown_data("peek on", buffer, recv(pair[1], buffer, 2, MSG_PEEK | MSG_DONTWAIT));
    shown_data("peek more", buffer, recv(pair[1], buffer, 16, MSG_PEEK | MSG_DONTWAIT));
    shown_data("peek further", buffer, recv(pair[1], buffer, 16, MSG_PEEK | MSG_DONTWAIT));
    shown_data("peek the end", buffer, recv(pair[1], buffer, 16, MSG_PEEK | MSG_DONTWAIT));
    getsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &offset, &length);
    shown("offset", offset);
    shown_data("read", buffer, recv(pair[1], buffer, 4, MSG_DONTWAIT));
    getsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &offset, &length);
    shown("offset", offset);
    shown_data("peek", buffer, recv(pair[1], buffer, 16, MSG_PEEK | MSG_DONTWAIT));
    offset = -1;
    shown("off", setsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset));
    shown_data("peek", buffer, recv(pair[1], buffer, 16, MSG_PEEK | MSG_DONTWAIT));
    close(pair[0]);
    close(pair[1]);
  }
}

CASE(many_messages) {
  int pair[2];
  socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
  mmsghdr list[3] = {};
  iovec parts[3] = {{const_cast<char*>("one"), 3}, {const_cast<char*>("two"), 3}, {bad(), 3}};
  for (int i = 0; i < 3; i++) {
    list[i].msg_hdr.msg_iov = &parts[i];
    list[i].msg_hdr.msg_iovlen = 1;
  }
  shown("sendmmsg stops at the bad one", sendmmsg(pair[0], list, 3, 0));
  say("%u %u", list[0].msg_len, list[1].msg_len);
  shown("sendmmsg of a bad one", sendmmsg(pair[0], list + 2, 1, 0));
  mmsghdr in[4] = {};
  char buffers[4][8] = {};
  iovec in_parts[4];
  for (int i = 0; i < 4; i++) {
    in_parts[i] = {buffers[i], 8};
    in[i].msg_hdr.msg_iov = &in_parts[i];
    in[i].msg_hdr.msg_iovlen = 1;
  }
  shown("recvmmsg", recvmmsg(pair[1], in, 4, MSG_DONTWAIT, nullptr));
  shown_data("first", buffers[0], in[0].msg_len);
  shown_data("second", buffers[1], in[1].msg_len);
  shown("none", recvmmsg(pair[1], in, 4, MSG_DONTWAIT, nullptr));
  write(pair[0], "w", 1);
  shown("wait for one", recvmmsg(pair[1], in, 4, MSG_WAITFORONE, nullptr));
  timespec wait{0, 20000000};
  write(pair[0], "t", 1);
  write(pair[0], "u", 1);
  shown("time limit", recvmmsg(pair[1], in, 2, 0, &wait));
  wait.tv_nsec = -5;
  shown("bad time", recvmmsg(pair[1], in, 2, 0, &wait));
}

CASE(between_processes) {
  int pair[2];
  socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
  const pid_t child = fork();
  if (child == 0) {
    close(pair[0]);
    long sum = 0;
    unsigned char buffer[3000];
    ssize_t n = 0;
    while ((n = read(pair[1], buffer, sizeof buffer)) > 0) {
      for (ssize_t i = 0; i < n; i++) sum += buffer[i];
    }
    shown("sum", sum);
    _exit(0);
  }
  close(pair[1]);
  static unsigned char block[100000];
  for (size_t i = 0; i < sizeof block; i++) block[i] = static_cast<unsigned char>(i * 3);
  long written = 0;
  for (int i = 0; i < 10; i++) written += write(pair[0], block, sizeof block);
  shown("written", written);
  close(pair[0]);
  int status = 0;
  waitpid(child, &status, 0);
  shown_status("reader", status);
}

CASE(control_without_room) {
  int ends[2];
  socketpair(AF_UNIX, SOCK_DGRAM, 0, ends);
  const int descriptors[3] = {0, 1, 2};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof descriptors)] = {};
  char byte = 'x';
  iovec data{&byte, 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof descriptors);
  memcpy(CMSG_DATA(header), descriptors, sizeof descriptors);
  for (const size_t room : {0, 8, 16, 20, 23, 24, 28, 40}) {
    const int lowest = dup(0);
    close(lowest);
    shown("send", sendmsg(ends[0], &message, 0));
    alignas(cmsghdr) char got[64];
    msghdr received{};
    received.msg_iov = &data;
    received.msg_iovlen = 1;
    received.msg_control = got;
    received.msg_controllen = room;
    shown("receive", recvmsg(ends[1], &received, 0));
    const int next = dup(0);
    say("room %zu: flags %x, %zu bytes, header says %zu, %d descriptors", room, static_cast<unsigned>(received.msg_flags), received.msg_controllen,
        received.msg_controllen >= sizeof(cmsghdr) ? reinterpret_cast<cmsghdr*>(got)->cmsg_len : 0, next - lowest);
    for (int fd = lowest; fd <= next; fd++) close(fd);
  }
}

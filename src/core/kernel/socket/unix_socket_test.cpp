// AF_UNIX sockets against the host's own: the same calls in the same order must have the same results.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "core/kernel/socket/socket_layer.h"
#include "core/kernel/socket/unix_endpoint.h"
#include "core/kernel/vfs/anonymous_inode.h"
#include "core/kernel/vfs/pipe.h"

namespace umk::socket {
namespace {

int64_t raw(Result<size_t> result) { return result.ok() ? static_cast<int64_t>(result.value()) : -result.failure().code; }
int code(const Result<void>& result) { return -result.code(); }
int64_t host(ssize_t result) { return result < 0 ? -errno : result; }

class UnixSockets : public ::testing::Test {
 protected:
  RefPtr<vfs::AnonymousSuperblock> superblock = vfs::AnonymousSuperblock::create(vfs::AnonymousKind::Socket, {0, 8}).take();
  SocketLayer layer{nullptr};
  RefPtr<Credentials> credentials = Credentials::root().take();
  RefPtr<vfs::FsContext> fs = make_ref<vfs::FsContext>(vfs::Path(), vfs::Path(), 022u).take();
  vfs::Caller vfs_caller{*credentials, *fs};
  SocketCaller caller{vfs_caller, credentials, 77};

  RefPtr<vfs::Inode> inode() { return vfs::AnonymousInode::create(*superblock, 0140777, 0, 0).take(); }
  RefPtr<Socket> make(int type, uint32_t flags = 0) { return layer.family(AF_UNIX).value().create(inode(), type, 0, flags, caller).take(); }
  std::pair<RefPtr<Socket>, RefPtr<Socket>> make_pair(int type, uint32_t flags = 0) {
    std::pair<RefPtr<Socket>, RefPtr<Socket>> pair{make(type, flags), make(type, flags)};
    EXPECT_TRUE(layer.family(AF_UNIX).value().join(*pair.first, *pair.second, caller).ok());
    return pair;
  }

  int64_t send(Socket& socket, std::span<const char> data, uint32_t flags = 0, const SocketAddress* to = nullptr) {
    UserInBuffer buffer = UserInBuffer::kernel(std::as_bytes(data));
    Outgoing message{buffer, flags, to, {}, {}};
    return raw(socket.send(&caller, message));
  }
  int64_t receive(Socket& socket, std::span<char> into, uint32_t flags = 0, Incoming** out = nullptr) {
    UserOutBuffer buffer = UserOutBuffer::kernel(std::as_writable_bytes(into));
    static thread_local std::optional<Incoming> message;
    message.emplace(Incoming{buffer, flags, 0, {}, {}, {}});
    const int64_t result = raw(socket.receive(*message));
    if (out) {
      *out = &*message;
    } else {
      message.reset();
    }
    return result;
  }
  int64_t send_files(Socket& socket, std::vector<RefPtr<vfs::OpenFile>> files, uint64_t limit = 100) {
    Vector<RefPtr<vfs::OpenFile>> list;
    for (RefPtr<vfs::OpenFile>& file : files) EXPECT_TRUE(list.push_back(file).ok());
    Result<std::unique_ptr<PassedFiles>> passed = PassedFiles::create(layer.in_flight(), std::move(list), 0, limit);
    if (!passed.ok()) return -passed.failure().code;
    char byte = 'f';
    UserInBuffer buffer = UserInBuffer::kernel(std::as_bytes(std::span(&byte, 1)));
    Outgoing message{buffer, 0, nullptr, {}, passed.take()};
    return raw(socket.send(&caller, message));
  }
};

SocketAddress abstract(std::string_view name) {
  SocketAddress address;
  const uint16_t family = AF_UNIX;
  memcpy(address.bytes.data(), &family, 2);
  memcpy(address.bytes.data() + 3, name.data(), name.size());
  address.length = 3 + name.size();
  return address;
}

// The host's sockets share one name space with everybody: names carry the process number.
struct HostName {
  explicit HostName(const std::string& name) : address(abstract(name + std::to_string(getpid()))) {}
  const sockaddr* pointer() const { return reinterpret_cast<const sockaddr*>(address.bytes.data()); }
  socklen_t length() const { return static_cast<socklen_t>(address.length); }
  SocketAddress address;
};

constexpr short kPolled = POLLIN | POLLOUT | POLLRDHUP | POLLPRI;
short ours(vfs::OpenFile& file) { return static_cast<short>(file.poll(nullptr) & (kPolled | POLLERR | POLLHUP)); }
short theirs(int fd) {
  pollfd item{fd, kPolled, 0};
  EXPECT_GE(::poll(&item, 1, 0), 0);
  return item.revents;
}

TEST_F(UnixSockets, PairsBehaveAsTheHostsOverRandomCalls) {
  std::mt19937 random(99);
  for (int round = 0; round < 200; ++round) {
    const int type = round % 3 == 0 ? SOCK_STREAM : round % 3 == 1 ? SOCK_DGRAM : SOCK_SEQPACKET;
    auto pair = make_pair(type, O_NONBLOCK);
    RefPtr<Socket> mine[2] = {pair.first, pair.second};
    pair = {};
    int fds[2];
    ASSERT_EQ(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fds), 0);
    std::vector<char> data(4000);
    for (char& byte : data) byte = static_cast<char>(random());
    for (int step = 0; step < 120; ++step) {
      const size_t end = random() % 2;
      if (!mine[end]) continue;
      const size_t size = random() % 4 == 0 ? 0 : random() % 3000;
      const std::string where = "round " + std::to_string(round) + " step " + std::to_string(step);
      switch (random() % 10) {
        case 0:
        case 1:
        case 2: ASSERT_EQ(send(*mine[end], std::span(data).first(size), 0), host(::send(fds[end], data.data(), size, MSG_NOSIGNAL))) << where; break;
        case 3:
        case 4:
        case 5:
        case 6: {
          int flags = 0;
          if (random() % 3 == 0) flags |= MSG_PEEK;
          if (random() % 3 == 0 && type != SOCK_STREAM) flags |= MSG_TRUNC;
          if (random() % 5 == 0) flags |= MSG_WAITALL;
          std::vector<char> a(4000), b(4000);
          iovec piece{b.data(), size};
          msghdr header{};
          header.msg_iov = &piece;
          header.msg_iovlen = 1;
          const int64_t count = host(recvmsg(fds[end], &header, flags));
          Incoming* message = nullptr;
          ASSERT_EQ(receive(*mine[end], std::span(a).first(size), static_cast<uint32_t>(flags), &message), count) << where << " size " << size << " flags " << flags;
          ASSERT_EQ(a, b) << where;
          if (count >= 0) { ASSERT_EQ(message->returned_flags & MSG_TRUNC, static_cast<uint32_t>(header.msg_flags) & MSG_TRUNC) << where; }
          break;
        }
        case 7: {
          int bytes = 0;
          ASSERT_EQ(ioctl(fds[end], FIONREAD, &bytes), 0);
          ASSERT_EQ(mine[end]->readable_bytes().value_or(0), static_cast<uint64_t>(bytes)) << where;
          ASSERT_EQ(ours(*mine[end]), theirs(fds[end])) << where << " type " << type;
          break;
        }
        case 8:
          if (random() % 12 == 0) {
            const int how = static_cast<int>(random() % 3);
            ASSERT_EQ(code(mine[end]->shutdown(how)), host(shutdown(fds[end], how)));
          }
          break;
        case 9:
          if (random() % 20 == 0) {
            mine[end] = nullptr;
            ::close(fds[end]);
          } else {
            Vector<std::byte> value;
            ASSERT_TRUE(mine[end]->get_option(SOL_SOCKET, SO_ERROR, value).ok());
            int a, b;
            memcpy(&a, value.data(), sizeof a);
            socklen_t length = sizeof b;
            ASSERT_EQ(getsockopt(fds[end], SOL_SOCKET, SO_ERROR, &b, &length), 0);
            ASSERT_EQ(a, b) << where;
          }
          break;
      }
    }
    for (int end = 0; end < 2; ++end)
      if (mine[end]) ::close(fds[end]);
  }
}

TEST_F(UnixSockets, UnconnectedSocketsAnswerAsTheHosts) {
  for (int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    RefPtr<Socket> mine = make(type, O_NONBLOCK);
    const int fd = ::socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
    char data[8] = {};
    EXPECT_EQ(ours(*mine), theirs(fd)) << type;
    EXPECT_EQ(send(*mine, data), host(::send(fd, data, 8, MSG_NOSIGNAL))) << type;
    EXPECT_EQ(receive(*mine, data), host(::recv(fd, data, 8, 0))) << type;
    EXPECT_EQ(code(mine->listen(caller, 4)), host(::listen(fd, 4))) << type;
    HostName nobody("nobody");
    EXPECT_EQ(code(mine->connect(caller, nobody.address)), host(::connect(fd, nobody.pointer(), nobody.length()))) << type;
    EXPECT_EQ(send(*mine, data, 0, &nobody.address), host(::sendto(fd, data, 8, MSG_NOSIGNAL, nobody.pointer(), nobody.length()))) << type;
    sockaddr_un raw_name{};
    socklen_t length = sizeof raw_name;
    EXPECT_EQ(-mine->peer_address().code(), host(getpeername(fd, reinterpret_cast<sockaddr*>(&raw_name), &length)));
    length = sizeof raw_name;
    EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&raw_name), &length), 0);
    EXPECT_EQ(mine->local_address().value().length, length);
    SocketAddress bad = nobody.address;
    bad.length = 1;
    EXPECT_EQ(code(mine->bind(caller, bad)), host(::bind(fd, nobody.pointer(), 1)));
    ::close(fd);
  }
  EXPECT_EQ(layer.family(AF_INET).code(), EAFNOSUPPORT);
  EXPECT_EQ(layer.family(AF_UNIX).value().create(inode(), 4, 0, 0, caller).code(), ESOCKTNOSUPPORT);
  EXPECT_EQ(layer.family(AF_UNIX).value().create(inode(), SOCK_STREAM, 6, 0, caller).code(), EPROTONOSUPPORT);
}

TEST_F(UnixSockets, ListenersAcceptRefuseAndLimitAsTheHosts) {
  for (int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    HostName name("listener" + std::to_string(type));
    RefPtr<Socket> listener = make(type, O_NONBLOCK);
    const int fd = ::socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
    EXPECT_EQ(code(listener->bind(caller, name.address)), host(::bind(fd, name.pointer(), name.length())));
    EXPECT_EQ(code(listener->bind(caller, name.address)), host(::bind(fd, name.pointer(), name.length())));
    RefPtr<Socket> early = make(type, O_NONBLOCK);
    const int early_fd = ::socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
    EXPECT_EQ(code(early->connect(caller, name.address)), host(::connect(early_fd, name.pointer(), name.length())));
    EXPECT_EQ(code(listener->listen(caller, 2)), host(::listen(fd, 2)));
    EXPECT_EQ(-listener->accept(inode(), 0).code(), host(::accept(fd, nullptr, nullptr)));
    EXPECT_EQ(ours(*listener), theirs(fd));

    std::vector<RefPtr<Socket>> clients;
    std::vector<int> fds;
    for (int i = 0; i < 5; ++i) {
      clients.push_back(make(type, O_NONBLOCK));
      fds.push_back(::socket(AF_UNIX, type | SOCK_NONBLOCK, 0));
      EXPECT_EQ(code(clients.back()->connect(caller, name.address)), host(::connect(fds.back(), name.pointer(), name.length()))) << i;
    }
    EXPECT_EQ(code(clients[0]->connect(caller, name.address)), host(::connect(fds[0], name.pointer(), name.length())));
    EXPECT_EQ(ours(*listener), theirs(fd));
    EXPECT_EQ(ours(*clients[0]), theirs(fds[0]));

    char data[4] = "abc";
    EXPECT_EQ(send(*clients[0], data), host(::send(fds[0], data, 4, MSG_NOSIGNAL)));
    RefPtr<Socket> accepted = listener->accept(inode(), O_NONBLOCK).take();
    const int accepted_fd = ::accept4(fd, nullptr, nullptr, SOCK_NONBLOCK);
    char into[4] = {};
    EXPECT_EQ(receive(*accepted, into), host(::recv(accepted_fd, into, 4, 0)));
    EXPECT_STREQ(into, "abc");
    EXPECT_EQ(accepted->local_address().value().length, name.address.length);
    EXPECT_EQ(clients[0]->peer_address().value().length, name.address.length);
    EXPECT_EQ(accepted->peer_address().value().length, 2u);

    // Those who were not accepted are reset.
    listener = nullptr;
    ::close(fd);
    EXPECT_EQ(ours(*clients[1]), theirs(fds[1]));
    EXPECT_EQ(receive(*clients[1], into), host(::recv(fds[1], into, 4, 0)));
    EXPECT_EQ(receive(*clients[1], into), host(::recv(fds[1], into, 4, 0)));
    EXPECT_EQ(send(*clients[1], data), host(::send(fds[1], data, 4, MSG_NOSIGNAL)));
    EXPECT_EQ(code(early->connect(caller, name.address)), host(::connect(early_fd, name.pointer(), name.length())));
    ::close(early_fd);
    ::close(accepted_fd);
    for (int client : fds) ::close(client);
  }
}

TEST_F(UnixSockets, DatagramQueuesFillAndDestinationsDieAsTheHosts) {
  HostName name("datagrams");
  RefPtr<Socket> server = make(SOCK_DGRAM, O_NONBLOCK), client = make(SOCK_DGRAM, O_NONBLOCK);
  const int server_fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0), client_fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  EXPECT_EQ(code(server->bind(caller, name.address)), host(::bind(server_fd, name.pointer(), name.length())));
  EXPECT_EQ(code(client->connect(caller, name.address)), host(::connect(client_fd, name.pointer(), name.length())));
  char data[4] = "abc", into[4];
  for (int i = 0; i < 14; ++i) EXPECT_EQ(send(*client, data), host(::send(client_fd, data, 4, 0))) << i;
  EXPECT_EQ(ours(*client), theirs(client_fd));
  EXPECT_EQ(receive(*server, into), host(::recv(server_fd, into, 4, 0)));
  EXPECT_EQ(ours(*client), theirs(client_fd));
  std::vector<char> large(300'000);
  EXPECT_EQ(send(*client, large), host(::send(client_fd, large.data(), large.size(), 0)));
  server = nullptr;
  ::close(server_fd);
  EXPECT_EQ(ours(*client), theirs(client_fd));
  EXPECT_EQ(send(*client, data), host(::send(client_fd, data, 4, 0)));
  EXPECT_EQ(send(*client, data), host(::send(client_fd, data, 4, 0)));
  ::close(client_fd);
}

TEST_F(UnixSockets, BuffersHoldAsManySmallMessagesAsTheHosts) {
  for (int type : {SOCK_STREAM, SOCK_DGRAM})
    for (size_t size : {1, 100, 1000, 4000}) {
      auto [sender, receiver] = make_pair(type, O_NONBLOCK);
      int fds[2];
      ASSERT_EQ(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fds), 0);
      std::vector<char> data(size);
      int a = 0, b = 0;
      while (send(*sender, data) > 0) ++a;
      while (::send(fds[0], data.data(), size, 0) > 0) ++b;
      EXPECT_NEAR(a, b, b / 10 + 2) << type << " " << size;
      EXPECT_EQ(ours(*sender), theirs(fds[0]));
      for (int fd : fds) ::close(fd);
    }
}

TEST_F(UnixSockets, AutomaticNamesAreFoundAndFreed) {
  RefPtr<Socket> server = make(SOCK_DGRAM, O_NONBLOCK);
  SocketAddress bare = abstract("");
  bare.length = 2;
  ASSERT_TRUE(server->bind(caller, bare).ok());
  const SocketAddress name = server->local_address().take();
  EXPECT_EQ(name.length, 2 + 6u);
  RefPtr<Socket> client = make(SOCK_DGRAM, O_NONBLOCK);
  char data[4] = "abc";
  EXPECT_EQ(send(*client, data, 0, &name), 4);
  server = nullptr;
  EXPECT_EQ(send(*client, data, 0, &name), -ECONNREFUSED);
}

TEST_F(UnixSockets, CredentialsAndOptionsAreKept) {
  auto [a, b] = make_pair(SOCK_STREAM, O_NONBLOCK);
  const int on = 1;
  EXPECT_EQ(code(b->set_option(caller, SOL_SOCKET, SO_PASSCRED, std::as_bytes(std::span(&on, 1)))), 0);
  char data[4] = "abc";
  EXPECT_EQ(send(*a, data), 4);
  Incoming* message;
  EXPECT_EQ(receive(*b, data, 0, &message), 4);
  ASSERT_TRUE(message->identity);
  EXPECT_EQ(message->identity->pid, 77);
  Vector<std::byte> value;
  ASSERT_TRUE(a->get_option(SOL_SOCKET, SO_PEERCRED, value).ok());
  ucred peer;
  ASSERT_EQ(value.size(), sizeof peer);
  memcpy(&peer, value.data(), sizeof peer);
  EXPECT_EQ(peer.pid, 77);

  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  for (int option = 0; option < 64; ++option) {
    if (option == SO_PEERSEC || option == SO_PEERCRED || option == SO_PEERGROUPS || option == SO_PASSCRED) continue;
    int number = 0;
    socklen_t length = sizeof number;
    const int64_t expected = host(getsockopt(fd, SOL_SOCKET, option, &number, &length));
    RefPtr<Socket> fresh = make(SOCK_STREAM);
    Vector<std::byte> got;
    const int result = code(fresh->get_option(SOL_SOCKET, option, got));
    // Options that only other families have an effect of are refused here.
    if (result == -ENOPROTOOPT) continue;
    EXPECT_EQ(result, expected) << option;
    if (result == 0) { EXPECT_EQ(memcmp(got.data(), &number, sizeof number), 0) << option; }
  }
  ::close(fd);
}

TEST_F(UnixSockets, FilesTravelAndEndReads) {
  auto [a, b] = make_pair(SOCK_STREAM, O_NONBLOCK);
  RefPtr<Socket> passed = make(SOCK_DGRAM);
  char data[8] = "abc", into[8];
  EXPECT_EQ(send(*a, std::span(data).first(3)), 3);
  EXPECT_EQ(send_files(*a, {passed, passed}), 1);
  EXPECT_EQ(send(*a, std::span(data).first(3)), 3);
  Incoming* message;
  EXPECT_EQ(receive(*b, into, MSG_PEEK, &message), 4);
  EXPECT_EQ(message->files.size(), 2u);
  EXPECT_EQ(receive(*b, into, 0, &message), 4);
  ASSERT_EQ(message->files.size(), 2u);
  EXPECT_TRUE(message->files[0] == passed);
  EXPECT_EQ(receive(*b, into), 3);
}

TEST_F(UnixSockets, TooManyFilesInFlightAreRefused) {
  auto [a, b] = make_pair(SOCK_STREAM, O_NONBLOCK);
  RefPtr<Socket> passed = make(SOCK_DGRAM);
  EXPECT_EQ(send_files(*a, {passed, passed, passed}, 2), 1);
  EXPECT_EQ(send_files(*a, {passed}, 2), -ETOOMANYREFS);
}

// A file whose end can be seen.
class Flag final : public vfs::OpenFile {
 public:
  Flag(RefPtr<vfs::Inode> inode, bool& gone) : OpenFile(std::move(inode), 0), gone_(gone) {}
  ~Flag() override { gone_ = true; }

 private:
  bool& gone_;
};

TEST_F(UnixSockets, SocketsThatKeepEachOtherAliveAreCollected) {
  bool gone = false;
  auto [a, b] = make_pair(SOCK_STREAM);
  auto [c, d] = make_pair(SOCK_DGRAM);
  // b's queue holds d and b itself, d's queue holds b and the flag.
  EXPECT_EQ(send_files(*a, {d, b}), 1);
  EXPECT_EQ(send_files(*c, {b, make_ref<Flag>(inode(), gone).take()}), 1);
  a = nullptr;
  b = nullptr;
  c = nullptr;
  EXPECT_FALSE(gone) << "d is still held";
  d = nullptr;
  // The next close of a socket finds them.
  (void)make(SOCK_STREAM);
  EXPECT_TRUE(gone);
}

TEST_F(UnixSockets, WhatCanStillBeReceivedIsNotCollected) {
  bool gone = false;
  auto [a, b] = make_pair(SOCK_STREAM, O_NONBLOCK);
  auto [c, d] = make_pair(SOCK_STREAM, O_NONBLOCK);
  EXPECT_EQ(send_files(*c, {make_ref<Flag>(inode(), gone).take(), d}), 1);
  EXPECT_EQ(send_files(*a, {d}), 1);
  c = nullptr;
  d = nullptr;
  (void)make(SOCK_STREAM);  // closes at once, which collects
  EXPECT_FALSE(gone);
  char into[4];
  Incoming* message;
  EXPECT_EQ(receive(*b, into, 0, &message), 1);
  d = RefPtr<Socket>(static_cast<Socket*>(message->files[0].get()));
  message->files.clear();
  EXPECT_EQ(receive(*d, into, 0, &message), 1);
  EXPECT_EQ(message->files.size(), 2u);
  message->files.clear();
  EXPECT_TRUE(gone);
}

// --- threads

TEST_F(UnixSockets, StreamsCarryEverythingBetweenThreads) {
  auto [a, b] = make_pair(SOCK_STREAM);
  constexpr size_t kTotal = 4'000'000;
  uint64_t sent = 0, received = 0;
  std::thread writer([&, socket = a] {
    std::mt19937 random(5);
    std::vector<char> data(90'000);
    for (size_t left = kTotal; left > 0;) {
      const size_t size = std::min<size_t>(left, 1 + random() % data.size());
      for (size_t i = 0; i < size; ++i) sent += static_cast<unsigned char>(data[i] = static_cast<char>(random()));
      ASSERT_EQ(send(*socket, std::span(data).first(size)), static_cast<int64_t>(size));
      left -= size;
    }
    ASSERT_TRUE(socket->shutdown(1).ok());
  });
  std::vector<char> into(50'000);
  std::mt19937 random(6);
  size_t total = 0;
  for (;;) {
    const int64_t count = receive(*b, std::span(into).first(1 + random() % into.size()), random() % 2 ? MSG_WAITALL : 0);
    ASSERT_GE(count, 0);
    if (count == 0) break;
    total += static_cast<size_t>(count);
    for (int64_t i = 0; i < count; ++i) received += static_cast<unsigned char>(into[static_cast<size_t>(i)]);
  }
  writer.join();
  EXPECT_EQ(total, kTotal);
  EXPECT_EQ(sent, received);
}

TEST_F(UnixSockets, ManyClientsConnectSendAndClose) {
  const SocketAddress name = abstract("busy");
  RefPtr<Socket> listener = make(SOCK_STREAM);
  ASSERT_TRUE(listener->bind(caller, name).ok());
  ASSERT_TRUE(listener->listen(caller, 2).ok());
  constexpr int kClients = 3, kConnections = 200;
  std::vector<std::thread> threads;
  for (int t = 0; t < kClients; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < kConnections; ++i) {
        RefPtr<Socket> client = make(SOCK_STREAM);
        ASSERT_TRUE(client->connect(caller, name).ok());
        char data[4] = "abc";
        ASSERT_EQ(send(*client, data), 4);
        ASSERT_EQ(receive(*client, data), 4);
      }
    });
  for (int i = 0; i < kClients * kConnections; ++i) {
    RefPtr<Socket> accepted = listener->accept(inode(), 0).take();
    char data[4];
    ASSERT_EQ(receive(*accepted, data), 4);
    ASSERT_EQ(send(*accepted, data), 4);
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(UnixSockets, DatagramSendersWaitForRoom) {
  const SocketAddress name = abstract("slow");
  RefPtr<Socket> server = make(SOCK_DGRAM);
  ASSERT_TRUE(server->bind(caller, name).ok());
  constexpr int kSenders = 3, kMessages = 300;
  std::vector<std::thread> threads;
  for (int t = 0; t < kSenders; ++t)
    threads.emplace_back([&] {
      RefPtr<Socket> client = make(SOCK_DGRAM);
      ASSERT_TRUE(client->connect(caller, name).ok());
      char data[4] = "abc";
      for (int i = 0; i < kMessages; ++i) ASSERT_EQ(send(*client, data), 4);
    });
  char into[4];
  for (int i = 0; i < kSenders * kMessages; ++i) ASSERT_EQ(receive(*server, into), 4);
  for (std::thread& thread : threads) thread.join();
}

TEST_F(UnixSockets, PassingAndCollectingInManyThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 150; ++i) {
        auto [a, b] = make_pair(SOCK_STREAM, O_NONBLOCK);
        auto [c, d] = make_pair(SOCK_STREAM, O_NONBLOCK);
        ASSERT_EQ(send_files(*a, {b, d}, 10'000), 1);
        ASSERT_EQ(send_files(*c, {b, a}, 10'000), 1);
        if (i % 3 == 0) {
          char into[4];
          ASSERT_EQ(receive(*b, into), 1);
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  (void)make(SOCK_STREAM);
}

}  // namespace
}  // namespace umk::socket

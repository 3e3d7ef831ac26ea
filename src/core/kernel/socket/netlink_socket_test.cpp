// AF_NETLINK sockets; what the host can be asked without a device that comes or goes is compared with its answers.
#include "core/kernel/socket/netlink_socket.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <thread>

#include "core/kernel/vfs/anonymous_inode.h"

namespace umk::socket {
namespace {

int code(const Result<void>& result) { return result.code(); }
int64_t raw(Result<size_t> result) { return result.ok() ? static_cast<int64_t>(result.value()) : -result.failure().code; }

SocketAddress address_of(uint32_t port, uint32_t groups, uint16_t family = AF_NETLINK, size_t length = sizeof(KernelNetlinkAddress)) {
  const KernelNetlinkAddress address{family, 0, port, groups};
  SocketAddress spelled;
  memcpy(spelled.bytes.data(), &address, sizeof address);
  spelled.length = length;
  return spelled;
}

struct Received {
  int64_t result = 0;
  std::string text;
  KernelNetlinkAddress from{};
  uint32_t flags = 0;
  std::optional<Identity> identity;
};

class NetlinkSockets : public testing::Test {
 protected:
  NetlinkSockets() {
    ordinary_credentials->effective = {};
    ordinary_credentials->uid = ordinary_credentials->euid = 1000;
  }

  RefPtr<vfs::AnonymousSuperblock> superblock = vfs::AnonymousSuperblock::create(vfs::AnonymousKind::Socket, {0, 8}).take();
  NetlinkFamily family;
  RefPtr<Credentials> credentials = Credentials::root().take();
  RefPtr<Credentials> ordinary_credentials = Credentials::root().take();
  RefPtr<vfs::FsContext> fs = make_ref<vfs::FsContext>(vfs::Path(), vfs::Path(), 022u).take();
  vfs::Caller vfs_caller{*credentials, *fs};
  SocketCaller caller{vfs_caller, credentials, 77};
  SocketCaller ordinary{vfs_caller, ordinary_credentials, 78};

  RefPtr<vfs::Inode> inode() { return vfs::AnonymousInode::create(*superblock, 0140777, 0, 0).take(); }
  RefPtr<Socket> make(uint32_t flags = vfs::open_flags::kNonBlock) {
    return family.create(inode(), SOCK_RAW, netlink::kObjectEvents, flags, caller).take();
  }
  RefPtr<Socket> make_bound(uint32_t port, uint32_t groups) {
    RefPtr<Socket> socket = make();
    EXPECT_TRUE(socket->bind(caller, address_of(port, groups)).ok());
    return socket;
  }
  int64_t send(Socket& socket, const std::string& text, const SocketAddress* to = nullptr, const SocketCaller* who = nullptr,
               uint32_t flags = 0) {
    UserInBuffer buffer = UserInBuffer::kernel(std::as_bytes(std::span(text)));
    Outgoing message{buffer, flags, to, {}, {}};
    return raw(socket.send(who ? who : &caller, message));
  }
  Received receive(Socket& socket, uint32_t flags = 0, size_t room = 4096) {
    Received received;
    received.text.resize(room);
    UserOutBuffer buffer = UserOutBuffer::kernel(std::as_writable_bytes(std::span(received.text)));
    Incoming message{buffer, flags, 0, {}, {}, {}};
    received.result = raw(socket.receive(message));
    received.text.resize(received.result < 0 ? 0 : std::min<size_t>(room, static_cast<size_t>(received.result)));
    memcpy(&received.from, message.from.bytes.data(), sizeof received.from);
    received.flags = message.returned_flags;
    received.identity = message.identity;
    return received;
  }
  void happen(const std::string& text) { family.receive(make_ref<device::UeventMessage>(String::from(text).take()).take()); }
  KernelNetlinkAddress name(Socket& socket) {
    KernelNetlinkAddress address;
    memcpy(&address, socket.local_address().take().bytes.data(), sizeof address);
    return address;
  }
};

TEST_F(NetlinkSockets, OnlyTheProtocolOfDeviceEventsIsThere) {
  EXPECT_EQ(family.create(inode(), SOCK_RAW, 0, 0, caller).code(), EPROTONOSUPPORT);
  EXPECT_EQ(family.create(inode(), SOCK_STREAM, netlink::kObjectEvents, 0, caller).code(), ESOCKTNOSUPPORT);
  EXPECT_TRUE(family.create(inode(), SOCK_DGRAM, netlink::kObjectEvents, 0, caller).ok());
}

TEST_F(NetlinkSockets, MembersOfGroupOneHearOfDevicesFromPortZero) {
  EXPECT_FALSE(family.is_listening());
  RefPtr<Socket> member = make_bound(0, 1), other = make_bound(0, 2);
  EXPECT_TRUE(family.is_listening());
  const int32_t on = 1;
  EXPECT_EQ(code(member->set_option(caller, SOL_SOCKET, SO_PASSCRED, std::as_bytes(std::span(&on, 1)))), 0);
  happen("add@/devices/x");
  const Received received = receive(*member);
  EXPECT_EQ(received.text, "add@/devices/x");
  EXPECT_EQ(received.from.family, AF_NETLINK);
  EXPECT_EQ(received.from.port, 0u);
  EXPECT_EQ(received.from.groups, 1u);
  ASSERT_TRUE(received.identity);
  EXPECT_EQ(received.identity->pid, 0);
  EXPECT_EQ(received.identity->uid, 0u);
  EXPECT_EQ(receive(*member).result, -EAGAIN);
  EXPECT_EQ(receive(*other).result, -EAGAIN);
  member = nullptr;
  EXPECT_FALSE(family.is_listening());
}

TEST_F(NetlinkSockets, AFilterLetsInWhatItWantsAndAsMuchOfIt) {
  RefPtr<Socket> member = make_bound(0, 1);
  sock_filter program[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x6164645f, 0, 1),  // add_
                           BPF_STMT(BPF_RET | BPF_K, 5), BPF_STMT(BPF_RET | BPF_K, 0)};
  sock_fprog given{std::size(program), program};
  const auto attach = [&](size_t bytes = sizeof given) {
    return code(member->set_option(caller, SOL_SOCKET, SO_ATTACH_FILTER, std::as_bytes(std::span(&given, 1)).first(bytes)));
  };
  EXPECT_EQ(code(member->set_option(caller, SOL_SOCKET, SO_DETACH_FILTER, {})), ENOENT);
  EXPECT_EQ(attach(8), EINVAL);
  given.len = 0;
  EXPECT_EQ(attach(), EINVAL);
  given.len = 3;  // a jump out of it
  EXPECT_EQ(attach(), EINVAL);
  given.len = 4;
  EXPECT_EQ(attach(), 0);
  happen("remove_a");
  happen("add_bcd");
  EXPECT_EQ(receive(*member).text, "add_b");
  EXPECT_EQ(receive(*member).result, -EAGAIN);
  // What is sent to it alone meets the filter, too, and the sender does not hear of it.
  RefPtr<Socket> sender = make_bound(0, 0);
  const KernelNetlinkAddress own = name(*member);
  SocketAddress to;
  memcpy(to.bytes.data(), &own, sizeof own);
  to.length = sizeof own;
  EXPECT_EQ(send(*sender, "no", &to), 2);
  EXPECT_EQ(receive(*member).result, -EAGAIN);
  EXPECT_EQ(code(member->set_option(caller, SOL_SOCKET, SO_DETACH_FILTER, {})), 0);
  happen("remove_a");
  EXPECT_EQ(receive(*member).text, "remove_a");
}

TEST_F(NetlinkSockets, AMessageThatDoesNotFitIsCut) {
  RefPtr<Socket> member = make_bound(0, 1);
  happen("0123456789");
  Received peeked = receive(*member, MSG_PEEK, 4);
  EXPECT_EQ(peeked.text, "0123");
  EXPECT_EQ(peeked.flags, uint32_t{MSG_TRUNC});
  EXPECT_EQ(receive(*member, MSG_TRUNC, 4).result, 10);
  EXPECT_EQ(receive(*member).result, -EAGAIN);
}

TEST_F(NetlinkSockets, ASlowReaderIsToldOnceWhatWasLost) {
  RefPtr<Socket> member = make_bound(0, 1);
  const int32_t bytes = 4096;
  EXPECT_EQ(code(member->set_option(caller, SOL_SOCKET, SO_RCVBUF, std::as_bytes(std::span(&bytes, 1)))), 0);
  for (int i = 0; i < 100; ++i) happen("event " + std::to_string(i));
  EXPECT_TRUE(member->poll(nullptr) & POLLERR);
  EXPECT_EQ(receive(*member).result, -ENOBUFS);
  EXPECT_FALSE(member->poll(nullptr) & POLLERR);
  int heard = 0;
  while (receive(*member).result > 0) ++heard;
  // 8192 bytes of messages of 768, and one beyond.
  EXPECT_EQ(heard, 11);
  happen("again");
  EXPECT_EQ(receive(*member).text, "again");
}

TEST_F(NetlinkSockets, WhoDoesNotWantToHearOfLossesDoesNot) {
  RefPtr<Socket> member = make_bound(0, 1);
  const int32_t bytes = 4096, on = 1;
  EXPECT_EQ(code(member->set_option(caller, SOL_SOCKET, SO_RCVBUF, std::as_bytes(std::span(&bytes, 1)))), 0);
  EXPECT_EQ(code(member->set_option(caller, netlink::kLevel, netlink::kNoOverrunError, std::as_bytes(std::span(&on, 1)))), 0);
  for (int i = 0; i < 100; ++i) happen("event");
  EXPECT_EQ(receive(*member).text, "event");
}

TEST_F(NetlinkSockets, ProgramsTellGroupsAndPorts) {
  RefPtr<Socket> manager = make_bound(500, 1), monitor = make_bound(501, 2), worker = make_bound(502, 0);
  const SocketAddress to_group = address_of(0, 2), to_port = address_of(502, 0), to_nobody = address_of(999, 0);
  EXPECT_EQ(send(*manager, "libudev", &to_group), 7);
  const Received heard = receive(*monitor);
  EXPECT_EQ(heard.text, "libudev");
  EXPECT_EQ(heard.from.port, 500u);
  EXPECT_EQ(heard.from.groups, 2u);
  EXPECT_EQ(receive(*manager).result, -EAGAIN);
  EXPECT_EQ(send(*manager, "work", &to_port), 4);
  EXPECT_EQ(receive(*worker).from.groups, 0u);
  EXPECT_EQ(send(*manager, "work", &to_nobody), -ECONNREFUSED);
  EXPECT_EQ(send(*manager, "libudev", &to_group, &ordinary), -EPERM);
  EXPECT_EQ(send(*manager, "", &to_group), -ENODATA);
  EXPECT_EQ(send(*manager, std::string(300000, 'x'), &to_group), -EMSGSIZE);
  // The sender's own group does not hear of itself.
  const SocketAddress own_group = address_of(0, 1);
  EXPECT_EQ(send(*manager, "libudev", &own_group), 7);
  EXPECT_EQ(receive(*manager).result, -EAGAIN);
}

TEST_F(NetlinkSockets, AConnectedSocketHearsItsPeerAlone) {
  RefPtr<Socket> first = make_bound(10, 0), second = make_bound(11, 0), third = make_bound(12, 0);
  EXPECT_EQ(code(first->connect(ordinary, address_of(11, 0))), EPERM);
  EXPECT_EQ(code(first->connect(caller, address_of(11, 0))), 0);
  const SocketAddress to_first = address_of(10, 0);
  EXPECT_EQ(send(*second, "yes", &to_first), 3);
  EXPECT_EQ(send(*third, "no", &to_first), -ECONNREFUSED);
  EXPECT_EQ(send(*first, "hello"), 5);
  EXPECT_EQ(receive(*second).text, "hello");
}

TEST_F(NetlinkSockets, ASenderToAPortWaitsForRoom) {
  RefPtr<Socket> receiver = make_bound(20, 0);
  RefPtr<Socket> sender = make(0);
  const int32_t bytes = 2048;
  EXPECT_EQ(code(receiver->set_option(caller, SOL_SOCKET, SO_RCVBUF, std::as_bytes(std::span(&bytes, 1)))), 0);
  const SocketAddress to = address_of(20, 0);
  int sent = 0;
  while (send(*sender, "x", &to, nullptr, MSG_DONTWAIT) == 1) ++sent;
  EXPECT_EQ(send(*sender, "x", &to, nullptr, MSG_DONTWAIT), -EAGAIN);
  std::thread reader([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    for (int i = 0; i < sent; ++i) EXPECT_EQ(receive(*receiver).text, "x");
  });
  EXPECT_EQ(send(*sender, "y", &to), 1);
  reader.join();
  EXPECT_EQ(receive(*receiver).text, "y");
}

// The same questions to this machine's own sockets.
TEST_F(NetlinkSockets, NamesAreCheckedAsTheHostChecksThem) {
  const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, netlink::kObjectEvents);
  if (fd < 0) GTEST_SKIP() << "the host has no such sockets";
  RefPtr<Socket> ours = make();
  const auto compare = [&](const SocketAddress& address, const char* what) {
    const int theirs =
        ::bind(fd, reinterpret_cast<const sockaddr*>(address.bytes.data()), static_cast<socklen_t>(address.length)) == 0 ? 0 : errno;
    EXPECT_EQ(code(ours->bind(caller, address)), theirs) << what;
  };
  compare(address_of(0, 0, AF_NETLINK, 8), "too short");
  compare(address_of(0, 0, AF_UNIX), "another family");
  compare(address_of(1234567, 0), "a port");
  compare(address_of(7654321, 0), "another port");
  compare(address_of(0, 2), "no port, when there is one");
  compare(address_of(1234567, 2), "the same port, with a group");
  KernelNetlinkAddress theirs{};
  socklen_t length = sizeof theirs;
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&theirs), &length), 0);
  EXPECT_EQ(name(*ours).port, theirs.port);
  EXPECT_EQ(name(*ours).groups, theirs.groups);
  EXPECT_EQ(send(*ours, ""), ::send(fd, "", 0, 0) < 0 ? -errno : 0);
  EXPECT_EQ(send(*ours, "nonsense"), ::send(fd, "nonsense", 8, 0));
  ::close(fd);
}

TEST_F(NetlinkSockets, AFreePortIsChosen) {
  RefPtr<Socket> first = make_bound(0, 0), second = make_bound(0, 0);
  EXPECT_EQ(name(*first).port, 77u);
  EXPECT_GT(name(*second).port, 0x80000000u);
  EXPECT_EQ(code(make()->bind(caller, address_of(77, 0))), EADDRINUSE);
  first = nullptr;
  EXPECT_EQ(code(make()->bind(caller, address_of(77, 0))), 0);
}

}  // namespace
}  // namespace umk::socket

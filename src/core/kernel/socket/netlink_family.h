// AF_NETLINK: messages between the kernel and programs, and among programs, in datagrams. netlink(7).
//
// Of its protocols only NETLINK_KOBJECT_UEVENT is there: the kernel tells group 1 of devices (device/uevents.h), udevd tells group 2 what it made of that, and
// sends its workers messages of their own. There is nothing that a program could ask this protocol's kernel for.
//
// Life of a socket: bind, connect or its first send gives it a port, by which the family knows it until it is closed. A message to a group is shared by all who
// get it. A receiver who is too slow loses messages and is told once by ENOBUFS; a sender to one port waits for room.
//
// Locks: the family's `mutex_` guards ports and the list of sockets, and comes before a socket's own; both are LockRank::Socket.
#pragma once

#include "core/abi/netlink.h"
#include "core/base/list.h"
#include "core/kernel/device/uevents.h"
#include "core/kernel/socket/socket_layer.h"

namespace umk::socket {

class NetlinkSocket;

struct NetlinkMessage final : public RefCounted {
  Vector<std::byte> bytes;
  uint32_t sender_port = 0;
  uint32_t group = 0;  // 0: it was sent to a port
  Identity identity{0, 0, 0};
  /// What it costs of a receiver's buffer: a buffer head, and its bytes with a trailer rounded up to a power of two, as on Linux.
  uint32_t cost() const;
};

class NetlinkFamily final : public SocketFamily, public device::UeventReceiver {
 public:
  NetlinkFamily();
  ~NetlinkFamily();
  int number() const override { return address_families::kNetlink; }
  Result<RefPtr<Socket>> create(RefPtr<vfs::Inode> inode, int type, int protocol, uint32_t flags, const SocketCaller& caller) override;
  Result<void> join(Socket&, Socket&, const SocketCaller&) override { return error(EOPNOTSUPP); }

  bool is_listening() override { return listeners_.load(std::memory_order_relaxed) != 0; }
  void receive(RefPtr<device::UeventMessage> message) override;

  /// Gives an unbound socket a port: `wanted`, or when that is 0 one of the family's choice, if possible the process's number. EADDRINUSE; EINVAL when it has
  /// another one.
  Result<void> bind(NetlinkSocket& socket, uint32_t wanted, int32_t pid) EXCLUDES(mutex_);
  void set_groups(NetlinkSocket& socket, uint32_t groups) EXCLUDES(mutex_);
  void remove(NetlinkSocket& socket) EXCLUDES(mutex_);
  /// To all members of its group but the sender.
  void broadcast(const RefPtr<NetlinkMessage>& message) EXCLUDES(mutex_);
  /// The socket with that port; null when there is none.
  RefPtr<NetlinkSocket> find(uint32_t port) EXCLUDES(mutex_);

 private:
  static constexpr uint32_t kDeviceGroup = 1;
  NetlinkSocket* find_locked(uint32_t port) REQUIRES(mutex_);

  Mutex mutex_{LockRank::Socket};
  List<NetlinkSocket> sockets_ GUARDED_BY(mutex_);
  uint32_t last_chosen_ GUARDED_BY(mutex_) = ~uint32_t{4095};  // counts down, away from the numbers of processes
  std::atomic<uint32_t> listeners_{0};  // members of the kernel's group
};

}  // namespace umk::socket
